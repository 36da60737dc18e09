"""launch.models: the model registry, from a training job to the endpoint and back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.conftest import Run
from tests.cloud.fake_aws import ACCOUNT, REGION, FakeAws

JOB = {
    "TrainingJobName": "job",
    "TrainingJobStatus": "Completed",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/job/output/model.tar.gz"},
    "FinalMetricDataList": [{"MetricName": "test_accuracy", "Value": 0.912345678, "Timestamp": 0}],
    "HyperParameters": {},
}


@pytest.fixture(autouse=True)
def _account(pushed: None, aws: FakeAws, client: Callable[[str], Any]) -> None:
    """An account with images and a trained model."""
    client("s3").create_bucket(Bucket="bucket")
    client("s3").put_object(Bucket="bucket", Key="job/output/model.tar.gz", Body=b"model")
    aws.script("DescribeTrainingJob", JOB)


def container(client: Callable[[str], Any]) -> dict[str, Any]:
    """Return the container's definition of the only model that there is."""
    (model,) = client("sagemaker").list_models()["Models"]
    return dict(client("sagemaker").describe_model(ModelName=model["ModelName"])["PrimaryContainer"])


def test_registered_approved_deployed_and_rolled_back(run: Run, aws: FakeAws, client: Callable[[str], Any]) -> None:
    for number in (1, 2):
        done = run("models", "register", "job", "--group", "dogs")
        assert done.code == 0, done.err
        assert done.out.split()[:4] == [
            f"dogs/{number}",
            "PendingManualApproval",
            "training_job=job",
            "test_accuracy=0.912346",
        ]
    assert len(aws.sent("CreateModelPackageGroup")) == 1
    package = aws.sent("CreateModelPackage")[0]["InferenceSpecification"]["Containers"][0]
    assert package["ModelDataUrl"] == JOB["ModelArtifacts"]["S3ModelArtifacts"] and "serve-cpu" in package["Image"]

    # Nothing serves before it was approved.
    aws.answers.clear()
    assert "dogs/1 is PendingManualApproval; to let it serve" in run("deploy", "--model", "dogs/1").sentence
    assert "the group dogs has no approved version" in run("deploy", "--model", "dogs").sentence
    for number in (1, 2):
        assert run("models", "approve", f"dogs/{number}").out.split()[:2] == [f"dogs/{number}", "Approved"]
    done = run("deploy", "--model", "dogs", "--instance-type", "ml.c5.large")
    assert done.code == 0, done.err
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/dogs"
    assert container(client)["ModelPackageName"] == f"{arn}/2"

    # Back to the one before, on the same instances; before that there is none.
    assert json.loads(run("models", "rollback", "--dry-run").out).keys() == {
        "CreateModel",
        "CreateEndpointConfig",
        "UpdateEndpoint",
    }
    done = run("models", "rollback")
    assert done.code == 0 and "the endpoint byoc-vision serves dogs/1" in done.out, done.err
    assert container(client)["ModelPackageName"] == f"{arn}/1"
    assert aws.sent("CreateEndpointConfig")[-1]["ProductionVariants"][0]["InstanceType"] == "ml.c5.large"
    assert "no approved version before dogs/1" in run("models", "rollback").sentence

    # What is rejected is not taken for the newest.
    assert run("models", "reject", "dogs/2").code == 0
    assert [line.split()[:2] for line in run("models").out.splitlines()] == [
        ["dogs/2", "Rejected"],
        ["dogs/1", "Approved"],
    ]
    assert run("deploy", "--model", "dogs", "--dry-run").out.count("model-package/dogs/1") == 1


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_a_dry_run_decides_nothing(run: Run, aws: FakeAws, action: str) -> None:
    assert run("models", "register", "job", "--group", "dogs").code == 0
    request = json.loads(run("models", action, "dogs/1", "--dry-run").out)["UpdateModelPackage"]
    assert request["ModelApprovalStatus"] == {"approve": "Approved", "reject": "Rejected"}[action]
    assert not aws.sent("UpdateModelPackage") and "PendingManualApproval" in run("models").out


def test_without_an_account_there_are_placeholders(run: Run) -> None:
    nobody = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_SESSION_TOKEN": None}
    done = run("models", "register", "job", "--dry-run", **nobody)
    assert list(json.loads(done.out)) == ["CreateModelPackageGroup", "CreateModelPackage"], done
    for command in (("deploy", "--model", "dogs/3"), ("models", "approve", "dogs/3")):
        done = run(*command, "--dry-run", **nobody)
        assert "model-package/dogs/3" in done.out, done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("register", "nothing"), "there is no training job 'nothing' in us-east-1"),
        (("approve", "dogs/7"), "there is no version 'dogs/7' of a model in us-east-1"),
        (("approve", "no-group"), "there is no version 'no-group'"),
        (("approve", "../x"), "there is no version '../x'"),
        (("list", "cats"), "there is no group of models 'cats' in us-east-1"),
        (("rollback",), "check the name, and where it was made; byoc deploy makes one"),
    ],
)
def test_what_is_not_there(run: Run, aws: FakeAws, arguments: tuple[str, ...], said: str) -> None:
    aws.answers.clear()
    assert said in run("models", *arguments).sentence


def test_an_empty_registry_is_said(run: Run) -> None:
    done = run("models")
    assert (done.code, done.out) == (0, "") and "there is no version of a model in us-east-1" in done.err


def test_an_endpoint_of_another_origin_is_not_rolled_back(run: Run, data: Path) -> None:
    assert run("deploy", "--model", "job").code == 0
    assert "serves no version of the registry" in run("models", "rollback").sentence
