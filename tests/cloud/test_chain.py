"""The whole way through the cloud, each step the command that a user types."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cloud.conftest import ROOT, Push, Run
from tests.cloud.engine import Engine
from tests.cloud.fake_aws import FakeAws
from tests.cloud.registry import Registry
from tests.cloud.test_predict import prediction
from tests.cloud.test_tune import described, trial

#: Stands in for the images' recipe: what is tested is the way, and the real ones are gigabytes.
DOCKERFILE = """
ARG BASE_IMAGE
FROM $BASE_IMAGE AS train
COPY train train
FROM $BASE_IMAGE AS serve
ARG RUNTIME
COPY serve serve
ENV RUNTIME=$RUNTIME
"""


def test_build_push_tune_train_deploy_predict_delete(
    run: Run,
    push: Push,
    aws: FakeAws,
    engine: Engine,
    registry: Registry,
    checkout: Path,
    environment: dict[str, str],
    data: Path,
    tmp_path: Path,
    client: Callable[[str], Any],
) -> None:
    # Build: the real script, in a repository with a commit.
    shutil.copy(ROOT / "build.sh", checkout)
    (checkout / "docker").unlink()
    shutil.copytree(ROOT / "docker", checkout / "docker")
    for name in ("train", "serve"):
        (checkout / name).mkdir()
        (checkout / name / "handler.py").write_text(f"{name} = True\n")
    (checkout / "docker" / "Dockerfile").write_text(DOCKERFILE)
    (checkout / ".gitignore").write_text("__pycache__/\n")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    engine.docker("import", "-", "test-base:latest", stdin=bytes(10240))
    its = environment | {"DOCKER_HOST": engine.host, "BASE_IMAGE": "test-base:latest"}
    built = subprocess.run(["bash", "build.sh"], cwd=checkout, env=its, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    # Push.
    pushed = push()
    assert pushed.code == 0, pushed.err
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()
    tags = registry.data / "docker/registry/v2/repositories/byoc-vision-train/_manifests/tags"
    assert {"latest", commit} <= {tag.name for tag in tags.iterdir()}
    train_image, _, lean_image = pushed.out.splitlines()[-3:]

    # Tune. Moto runs no trials: what the service would tell of them is told here.
    best = trial("trial-2", "Completed", 0.93, lr="0.0160", batch_size="64")
    aws.script("DescribeHyperParameterTuningJob", described("InProgress"), described("Completed", best))
    trials = [trial("trial-1", "Completed", 0.8, lr="0.1", batch_size="32"), best]
    aws.script("ListTrainingJobsForHyperParameterTuningJob", {"TrainingJobSummaries": trials})
    space = checkout / "launch" / "examples" / "tune.yaml"
    tuned = run("tune", space, "--data", data, "--best", "best.json")
    assert tuned.code == 0, tuned.err
    assert (
        aws.sent("CreateHyperParameterTuningJob")[0]["TrainingJobDefinition"]["AlgorithmSpecification"]["TrainingImage"]
        == train_image
    )

    # Train on the best, with the managed Debugger.
    trained = run("train", "--data", data, "--hyperparameters", "best.json", "--debugger", "managed")
    assert trained.code == 0, trained.err
    features, job = aws.sent("CreateTrainingJob")
    assert features["HyperParameters"]["extract-only"] == "true"
    assert job["HyperParameters"] == {"batch-size": "64", "lr": "0.016", "epochs": "4"}
    assert job["AlgorithmSpecification"]["TrainingImage"] == train_image
    assert "0 of 6 files sent" in trained.err  # the pictures are there from the search

    # What the job would have left.
    bucket, _, key = f"{job['OutputDataConfig']['S3OutputPath']}/{job['TrainingJobName']}/output/model.tar.gz"[
        5:
    ].partition("/")
    client("s3").put_object(Bucket=bucket, Key=key, Body=b"model")

    # Deploy.
    deployed = run("deploy", "--model", job["TrainingJobName"])
    assert deployed.code == 0, deployed.err
    (model,) = client("sagemaker").list_models()["Models"]
    container = client("sagemaker").describe_model(ModelName=model["ModelName"])["PrimaryContainer"]
    assert container["Image"] == lean_image and container["ModelDataUrl"] == f"s3://{bucket}/{key}"

    # Predict.
    aws.container = lambda body, content_type: (200, prediction(body.decode().split()[-1], 0.93))
    predicted = run("predict", "--json", data / "test")
    answers = [json.loads(line) for line in predicted.out.splitlines()]
    assert [(Path(a["picture"]).parent.name, a["label"]) for a in answers] == [("cat", "cat"), ("dog", "dog")]

    # Delete.
    deleted = run("deploy", "--delete")
    assert deleted.code == 0, deleted.err
    sagemaker = client("sagemaker")
    assert not sagemaker.list_endpoints()["Endpoints"] and not sagemaker.list_models()["Models"]
    assert not sagemaker.list_endpoint_configs()["EndpointConfigs"]
