"""Training jobs of the local engine, as launchers use it: real containers, tiny drawn pictures."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from byoc_vision.contract.errors import UserError
from tests.e2e.conftest import CHECKOUT
from tests.e2e.local_engine import FOREVER, SETTINGS, Local


def test_a_training_job_is_described_as_the_service_does(local: Local, trained: dict[str, Any]) -> None:
    assert (trained["TrainingJobStatus"], trained["SecondaryStatus"]) == ("Completed", "Completed")
    assert [each["Status"] for each in trained["SecondaryStatusTransitions"]] == [
        "Starting",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert trained["HyperParameters"] == SETTINGS
    assert trained["CreationTime"] < trained["TrainingStartTime"] < trained["TrainingEndTime"]
    assert trained["TrainingTimeInSeconds"] >= 1
    archive = Path(trained["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://").replace("%20", " "))
    with tarfile.open(archive) as model:
        assert {"model.json", "model.safetensors"} <= set(model.getnames())
    figures = json.loads((archive.parent / "data" / "metrics.json").read_text())
    found = {each["MetricName"]: each["Value"] for each in trained["FinalMetricDataList"]}
    assert found["test_accuracy"] == pytest.approx(figures["test_accuracy"], rel=1e-3)
    assert found["validation_accuracy"] == pytest.approx(figures["validation_accuracy"], rel=1e-3)
    assert trained["DebugRuleEvaluationStatuses"][0]["RuleEvaluationStatus"] in ("IssuesFound", "NoIssuesFound")
    assert any(line.startswith("epoch=2 ") for line in local.engine.logs("training", "trained")())


def test_another_process_finds_the_job(local: Local, trained: dict[str, Any]) -> None:
    code = (
        "from byoc_vision.local import open_engine; client = open_engine().sagemaker\n"
        "print(*[job['TrainingJobName'] for job in client.list_training_jobs()['TrainingJobSummaries']])\n"
        "print(client.describe_training_job(TrainingJobName='trained')['TrainingJobStatus'])"
    )
    environment = os.environ | {"BYOC_LOCAL": str(local.engine.root)}
    said = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=CHECKOUT, env=environment)
    assert "trained" in said.splitlines()[0].split()
    assert said.splitlines()[1] == "Completed"


def test_the_report_is_made_again(local: Local, trained: dict[str, Any], tmp_path: Path) -> None:
    environment = os.environ | {"BYOC_LOCAL": str(local.engine.root)}
    command = [sys.executable, "-m", "launch.report", "--local", "trained", "--rules", "Overfit", "--out", tmp_path]
    said = subprocess.check_output(command, text=True, cwd=CHECKOUT, env=environment)
    assert said.endswith(f"wrote {tmp_path}/report.html\n")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [rule["Rule"] for rule in report["rules"]] == ["Overfit"]
    assert report["settings"]["arch"] == SETTINGS["arch"] and report["step_losses"]["x"]


def test_a_failed_job_says_why(local: Local) -> None:
    job = local.train("failing", SETTINGS | {"epochs": "-3"})
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: epochs is -3")
    assert job["FailureReason"].endswith("exit code: 1")
    assert "S3ModelArtifacts" not in job.get("ModelArtifacts", {})


def test_requests_that_the_service_would_refuse(local: Local, trained: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="already existing") as taken:
        local.sagemaker.create_training_job(**local.training_job("trained"))
    assert taken.value.response["Error"]["Code"] == "ResourceInUse"
    with pytest.raises(ClientError, match="Could not find") as unknown:
        local.describe("TrainingJob", "unknown")
    assert unknown.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError, match="is no name"):
        local.describe("TrainingJob", "../trained")
    elsewhere = local.training_job("elsewhere")
    elsewhere["OutputDataConfig"]["S3OutputPath"] = "s3://bucket/results"
    with pytest.raises(ClientError, match="not on this machine"):
        local.sagemaker.create_training_job(**elsewhere)
    unbuilt = local.training_job("unbuilt")
    unbuilt["AlgorithmSpecification"]["TrainingImage"] = "byoc-vision-unbuilt:latest"
    with pytest.raises(UserError, match=r"build\.sh"):
        local.sagemaker.create_training_job(**unbuilt)


def test_a_stopped_job_goes_on_from_its_checkpoint(local: Local, tmp_path: Path) -> None:
    request = local.training_job("stopped", FOREVER)
    request["CheckpointConfig"] = {"S3Uri": (tmp_path / "kept: here").as_uri()}
    local.sagemaker.create_training_job(**request)
    local.wait_for_line("stopped", "epoch=", 2)
    local.sagemaker.stop_training_job(TrainingJobName="stopped")
    assert local.describe("TrainingJob", "stopped")["TrainingJobStatus"] in ("Stopping", "Stopped")
    job = local.ended("TrainingJob", "stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    with pytest.raises(ClientError, match="is Stopped already"):
        local.sagemaker.stop_training_job(TrainingJobName="stopped")

    local.sagemaker.create_training_job(**request | {"TrainingJobName": "continued"})
    local.wait_for_line("continued", "continuing at epoch")
    local.sagemaker.stop_training_job(TrainingJobName="continued")
    local.ended("TrainingJob", "continued")


def test_two_containers_train_one_model(local: Local) -> None:
    job = local.train("two", instance_count=2)
    assert job["TrainingJobStatus"] == "Completed", job
    hosts = {line.partition(":")[0] for line in local.engine.logs("training", "two")()}
    assert hosts == {"algo-1", "algo-2"}
    assert job["ModelArtifacts"]["S3ModelArtifacts"]
    # The report's bar of time has the first host's parts, from its container's start on.
    output = Path(job["OutputDataConfig"]["S3OutputPath"].removeprefix("file://").replace("%20", " "))
    report = json.loads((output / "two" / "output" / "data" / "report.json").read_text(encoding="utf-8"))
    assert report["identity"]["machine"].startswith("2 hosts, ")
    spent = report["time"]["phases"]
    assert [spent[0][0], spent[-1][0]] == ["start and imports", "report"]
    whole = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
    assert 0.5 * whole < sum(seconds for _, seconds in spent) < whole + 1
