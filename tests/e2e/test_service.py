"""SageMaker on this machine with real containers, asked by boto3; `test_clients` asks it with all other clients."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from byoc_vision.contract import metrics
from byoc_vision.service import env
from byoc_vision.service.daemon import Service
from local_test import draw
from tests.e2e.local_engine import SETTINGS
from tests.e2e.small_training import ENVIRONMENT, FEW

ROLE = "arn:aws:iam::000000000000:role/local"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "SPLITS", FEW)
        draw.draw_set(root)
    return root


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("service"))
    with pytest.MonkeyPatch.context() as patch:
        address = service.start(None, 0)
        for name in env.UNSET:
            patch.delenv(name, raising=False)
        for name, value in env.variables(service.root, address.url, address.token).items():
            patch.setenv(name, value)
        yield service
        service.stop()


def until(look: Callable[[], dict[str, Any]], field: str, *states: str) -> dict[str, Any]:
    while (found := look())[field] in states:
        time.sleep(0.3)
    return found


def test_tune_kill_go_on_deploy_and_ask(service: Service, pictures: Path) -> None:
    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    for file in pictures.rglob("*.jpg"):
        s3.upload_file(str(file), env.BUCKET, f"pictures/{file.relative_to(pictures)}")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{env.BUCKET}/pictures/"}
    sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="search",
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation_accuracy"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.1"}]},
        },
        TrainingJobDefinition={
            "StaticHyperParameters": SETTINGS | {"epochs": "1"},
            "Environment": ENVIRONMENT,
            "AlgorithmSpecification": {
                "TrainingImage": "byoc-vision-train:latest",
                "TrainingInputMode": "FastFile",
                "MetricDefinitions": metrics.DEFINITIONS,
            },
            "RoleArn": ROLE,
            "InputDataConfig": [{"ChannelName": "training", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": f"s3://{env.BUCKET}/results"},
            "HyperParameterTuningResourceConfig": {
                "InstanceType": "ml.g4dn.xlarge",
                "InstanceCount": 1,
                "VolumeSizeInGB": 30,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        },
    )
    search = {"HyperParameterTuningJobName": "search"}
    list_trials = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job
    while not list_trials(**search)["TrainingJobSummaries"]:
        time.sleep(0.2)

    address = service.address
    assert address
    os.kill(address.pid, signal.SIGKILL)
    command = f"byoc_vision.local.process {service.root} hyper-parameter-tuning-job search"
    for pid in subprocess.check_output(["pgrep", "--full", command], text=True).split():
        os.kill(int(pid), signal.SIGKILL)
    while service.address:
        time.sleep(0.1)
    assert service.start(None, None).url == address.url

    ended = until(
        lambda: sagemaker.describe_hyper_parameter_tuning_job(**search), "HyperParameterTuningJobStatus", "InProgress"
    )
    assert ended["HyperParameterTuningJobStatus"] == "Completed"
    trials = list_trials(**search)["TrainingJobSummaries"]
    assert [trial["TrainingJobStatus"] for trial in trials] == ["Completed", "Completed"]
    best = sagemaker.describe_training_job(TrainingJobName=ended["BestTrainingJob"]["TrainingJobName"])
    assert best["ResourceConfig"]["InstanceType"] == "ml.g4dn.xlarge"

    logs, group = boto3.client("logs"), "/aws/sagemaker/TrainingJobs"
    (stream,) = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=best["TrainingJobName"])["logStreams"]
    events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
    assert [event for event in events["events"] if event["message"].startswith("epoch=1 ")]

    container = {
        "Image": "byoc-vision-serve:latest",
        "ModelDataUrl": best["ModelArtifacts"]["S3ModelArtifacts"],
    }
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "best",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_model(ModelName="best", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    sagemaker.create_endpoint_config(EndpointConfigName="best", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="best", EndpointConfigName="best")
    try:
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="best", WaiterConfig={"Delay": 1})
        picture = next(pictures.glob("test/*/*.jpg")).read_bytes()
        runtime = boto3.client("sagemaker-runtime")
        answer = runtime.invoke_endpoint(EndpointName="best", ContentType="image/jpeg", Body=picture)
        assert b'"predictions"' in answer["Body"].read()
        with pytest.raises(runtime.exceptions.ModelError, match="400"):
            runtime.invoke_endpoint(EndpointName="best", ContentType="image/jpeg", Body=b"no picture")
    finally:
        sagemaker.delete_endpoint(EndpointName="best")


def test_a_processing_job_reads_and_writes_objects(service: Service) -> None:
    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    s3.put_object(Bucket=env.BUCKET, Key="code/a b.txt", Body=b"content")
    place = {"S3Uri": f"s3://{env.BUCKET}/code/", "LocalPath": "/opt/ml/processing/input"}
    target = {"S3Uri": f"s3://{env.BUCKET}/processed", "LocalPath": "/opt/ml/processing/output"}
    # As the SDK's FrameworkProcessor has it, the script unpacks what it is given where that lies.
    script = (
        'echo "$GREETING"; cd /opt/ml/processing/input; echo changed >>"a b.txt"; touch more;'
        'cp -r . /opt/ml/processing/output; printf "a note" >/opt/ml/output/message; exit "$CODE"'
    )
    states = []
    for name, code in (("good", "0"), ("bad", "3")):
        sagemaker.create_processing_job(
            ProcessingJobName=name,
            RoleArn=ROLE,
            AppSpecification={
                "ImageUri": "byoc-vision-serve-cpu:latest",
                "ContainerEntrypoint": ["sh", "-c"],
                "ContainerArguments": [script],
            },
            Environment={"GREETING": "good morning", "CODE": code},
            ProcessingInputs=[
                {"InputName": "code", "S3Input": place | {"S3DataType": "S3Prefix", "S3InputMode": "File"}}
            ],
            ProcessingOutputConfig={
                "Outputs": [{"OutputName": "out", "S3Output": target | {"S3UploadMode": "EndOfJob"}}]
            },
            ProcessingResources={
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
            },
        )
        look = partial(sagemaker.describe_processing_job, ProcessingJobName=name)
        states.append(until(look, "ProcessingJobStatus", "InProgress", "Stopping"))
    assert [state["ProcessingJobStatus"] for state in states] == ["Completed", "Failed"]
    assert [state["ExitMessage"] for state in states] == ["a note"] * 2
    assert states[1]["FailureReason"].endswith("exit code: 3")
    assert s3.get_object(Bucket=env.BUCKET, Key="processed/a b.txt")["Body"].read() == b"contentchanged\n"
    assert s3.get_object(Bucket=env.BUCKET, Key="code/a b.txt")["Body"].read() == b"content"
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=env.BUCKET, Prefix="code/")["Contents"]] == [
        "code/a b.txt"
    ]
    assert not (service.root / "processing-job" / "good" / "inputs").exists()
    logs = boto3.client("logs").filter_log_events(
        logGroupName="/aws/sagemaker/ProcessingJobs", logStreamNamePrefix="good/"
    )
    assert [event["message"] for event in logs["events"]] == ["good morning"]
