"""`--dry-run` of every launcher in an environment without an account, and in one without a network."""

import json
from pathlib import Path

import pytest

from tests.cloud.conftest import ROLE, Run, archive
from tests.cloud.fake_aws import FakeAws

NOBODY: dict[str, str | None] = {
    "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_SESSION_TOKEN": None, "AWS_REGION": None,
    "AWS_ENDPOINT_URL": None, "SAGEMAKER_ROLE": None,
}  # fmt: skip
NO_NETWORK: dict[str, str | None] = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}

JOB = ["train", "--data", "data", "--spot", "--debugger", "managed"]
COMMANDS = [
    JOB,
    ["train", "--data", "s3://mine/dogs/", "--output", "s3://mine/results"],
    ["train", "--data", "data", "--hyperparameters", "my-search", "--set", "epochs=3"],
    ["tune", "space.yaml", "--data", "data"],
    ["deploy", "--model", "my-job"],
    ["deploy", "--model", "my-job", "--source", "handler"],
    ["deploy", "--model", "model.tar.gz", "--serverless"],
    ["deploy", "--delete"],
    ["models", "register", "my-job"],
    ["models", "approve", "dogs/1"],
    ["models", "rollback"],
    ["transform", "--model", "s3://mine/model.tar.gz", "--data", "data"],
    ["predict", "data/test/cat/0.jpg"],
]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, data: Path) -> None:
    """What the commands name."""
    (tmp_path / "space.yaml").write_text("hyperparameters: {lr: {min: 0.001, max: 0.1}}")
    archive(tmp_path / "model.tar.gz", {"model.json": b"{}"})
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "inference.py").write_text("")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_an_account(run: Run, aws: FakeAws, command: list[str]) -> None:
    done = run(*command, "--dry-run", **NOBODY)
    assert done.code == 0, done.err
    requests = json.loads(done.out)
    assert requests
    asks = command[0] == "predict"
    assert ("no region is chosen; set AWS_REGION" in done.err) is not asks
    if command is JOB:
        request = requests["CreateTrainingJob"]
        assert request["RoleArn"] == "arn:aws:iam::<account>:role/<role>"
        image = "<account>.dkr.ecr.<region>.amazonaws.com/byoc-vision-train:latest"
        assert request["AlgorithmSpecification"]["TrainingImage"] == image
        assert request["OutputDataConfig"]["S3OutputPath"] == "s3://sagemaker-<region>-<account>/byoc-vision"
    if "--hyperparameters" in command:
        assert requests["CreateTrainingJob"]["HyperParameters"] == {"epochs": "3"}
        assert "my-search is known to the account only" in done.err and done.err.count("no region") == 1
    assert not aws.calls


def test_without_a_network(run: Run) -> None:
    done = run(*JOB, "--dry-run", **NO_NETWORK)
    assert done.code == 0, done.err
    request = json.loads(done.out)["CreateTrainingJob"]
    assert request["RoleArn"] == ROLE
    assert request["OutputDataConfig"]["S3OutputPath"] == "s3://sagemaker-us-east-1-<account>/byoc-vision"
    assert "AWS does not answer" in done.err and len(done.err.splitlines()) == 1


def test_what_is_wrong_is_refused_all_the_same(run: Run) -> None:
    assert "did you mean 'epochs'" in run("train", "--data", "data", "--set", "epoch=1", "--dry-run", **NOBODY).sentence
    assert "nothing does not exist" in run("train", "--data", "nothing", "--dry-run", **NOBODY).sentence
    said = run("deploy", "--model", "my-job", "--endpoint", "my endpoint", "--dry-run", **NOBODY).sentence
    assert "EndpointName is 'my endpoint'" in said


@pytest.mark.parametrize("launcher", [["train"], ["tune", "space.yaml"]])
def test_this_machine_is_no_instance_type_of_sagemakers(run: Run, launcher: list[str]) -> None:
    done = run(*launcher, "--data", "data", "--instance-type", "local", "--dry-run", **NOBODY)
    assert done.code == 1 and done.err.endswith(
        ": local is no instance type of SageMaker's; add --local to stay on this machine\n"
    )


def test_what_is_no_role_is_refused_without_an_account_too(run: Run) -> None:
    done = run(*JOB, "--dry-run", **(NOBODY | {"SAGEMAKER_ROLE": "my role"}))
    assert done.code == 1 and "SAGEMAKER_ROLE is 'my role'; give a role's name, or its ARN" in done.err
