"""What users of the SageMaker SDK find in the library instead of copying it by hand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import byoc_vision
from byoc_vision import UserError
from byoc_vision.aws import images
from byoc_vision.contract import metrics
from byoc_vision.service.daemon import Service
from tests.cloud.conftest import ROLE, ROOT
from tests.cloud.fake_aws import ACCOUNT, REGION


def test_the_metric_definitions_find_the_figures_that_training_prints() -> None:
    line = metrics.line({"epoch": 3, "train_loss": 0.25, "validation_loss": 1e-05, "validation_accuracy": 0.5})
    found = {each["Name"]: re.search(each["Regex"], line) for each in byoc_vision.METRIC_DEFINITIONS}
    assert {name: float(match[1]) for name, match in found.items() if match} == {
        "train_loss": 0.25,
        "validation_loss": 1e-05,
        "validation_accuracy": 0.5,
    }


@pytest.fixture
def user(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has the environment of a user of the fake AWS."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("user", "aws")
def test_images_and_role_are_the_accounts() -> None:
    uri = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/byoc-vision-train@sha256:{'0' * 64}"
    images.record(ACCOUNT, REGION, {"byoc-vision-train": uri})
    assert byoc_vision.image_uri("train") == uri
    with pytest.raises(UserError, match=r"byoc-vision-serve was not pushed .* run \./push\.sh"):
        byoc_vision.image_uri("serve")
    assert byoc_vision.role_arn() == ROLE


PROGRAM = """
import boto3, byoc_vision
print(byoc_vision.use_local_service())
print(byoc_vision.use_local_service())
print(byoc_vision.image_uri("serve-cpu"), byoc_vision.role_arn())
print(boto3.client("sagemaker").list_models()["Models"])
"""


def program(folder: Path, before: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the program as a user does who has settings of another account, too."""
    own = {"BYOC_LOCAL": str(folder), "PYTHONPATH": str(ROOT), "AWS_PROFILE": "none-of-that-name"}
    command = [sys.executable, "-c", before + PROGRAM]
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)


def test_a_process_is_led_to_this_machine(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir(parents=True)
    (tmp_path / "service" / "service.json").write_text('{"host": "127.0.0.1", "port": 0, "token": null, "pid": 1}')
    done = program(tmp_path)
    try:
        first, second, images_and_role, models = done.stdout.splitlines()
        assert first == second and first.startswith("http://127.0.0.1:"), done.stderr
        assert images_and_role == "byoc-vision-serve-cpu:latest arn:aws:iam::000000000000:role/local"
        assert models == "[]"
    finally:
        assert Service(tmp_path).stop()


def test_a_python_that_cannot_run_a_service_says_so(tmp_path: Path) -> None:
    done = program(tmp_path, "import sys; sys.modules['optuna'] = None\n")
    assert done.stderr.endswith("this Python cannot run one; start it elsewhere: byoc service start\n"), done.stderr
