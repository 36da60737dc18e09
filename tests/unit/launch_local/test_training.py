"""What a training job's description says of metrics and rules."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.contract import metrics
from byoc_vision.local import client, containers, operations, process, training
from byoc_vision.local.store import Lock, Record, Store

NewJob = Callable[..., Record]


@pytest.fixture
def new_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewJob:
    """Return a function that creates a training job which no process sees through."""
    locks: list[Lock] = []
    monkeypatch.setattr(process, "start", lambda record, lock: locks.append(lock))
    monkeypatch.setattr(containers, "require", lambda image: None)

    def create(**fields: Any) -> Record:
        store = Store(tmp_path / "store")
        request = {
            "TrainingJobName": "job",
            "AlgorithmSpecification": {"TrainingImage": "image", "MetricDefinitions": metrics.DEFINITIONS},
            "OutputDataConfig": {"S3OutputPath": (tmp_path / "results").as_uri()},
            "ResourceConfig": {"InstanceType": "local", "InstanceCount": 1},
        }
        training.create(store, request | fields)
        return store.find(training.KIND, "job")

    return create


def test_a_job_is_tried_again_as_often_as_it_asks(new_job: NewJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "start", lambda record, lock: lock.release())  # each is killed at once
    monkeypatch.setattr(training, "clear", lambda record: None)
    job = new_job(RetryStrategy={"MaximumRetryAttempts": 2})
    assert [training.describe(job)["TrainingJobStatus"] for _ in range(2)] == ["InProgress"] * 2
    failed = training.describe(job)
    assert (failed["TrainingJobStatus"], failed["FailureReason"]) == ("Failed", process.KILLED)


def test_metrics_are_found_in_the_lines_that_training_prints() -> None:
    line = metrics.line({"epoch": 3, "train_loss": 0.25, "validation_loss": 1e-7, "validation_accuracy": 1.0})
    found = dict(training.parse(metrics.DEFINITIONS, line))
    assert found == {"train_loss": 0.25, "validation_loss": 1e-7, "validation_accuracy": 1.0}
    assert list(training.parse([{"Name": "x", "Regex": "x=(.*)"}], "x=nothing")) == []
    assert list(training.parse([{"Name": "x", "Regex": "x="}], "x=1")) == []  # an expression without a group


@pytest.mark.parametrize(
    ("report", "status", "details"),
    [
        (None, "Error", "no report"),
        ("{", "Error", "no report"),
        ({"rules": []}, "Error", "no such rule"),
        (
            {
                "rules": [
                    {
                        "RuleConfigurationName": "Overfit",
                        "RuleEvaluationStatus": "IssuesFound",
                        "StatusDetails": "at step 7",
                    }
                ]
            },
            "IssuesFound",
            "step 7",
        ),
    ],
)
def test_rule_statuses_are_the_reports(new_job: NewJob, report: Any, status: str, details: str) -> None:
    rule = {"RuleConfigurationName": "Mine", "RuleParameters": {"rule_to_invoke": "Overfit"}}
    record = new_job(DebugRuleConfigurations=[rule], ProfilerRuleConfigurations=[rule])
    running = training.describe(record)
    assert running["DebugRuleEvaluationStatuses"][0]["RuleEvaluationStatus"] == "InProgress"
    record.update(TrainingJobStatus="Completed")
    if report is not None:
        data = training.results(record) / "data"
        data.mkdir(parents=True)
        (data / "report.json").write_text(report if isinstance(report, str) else json.dumps(report))
    for field in ("DebugRuleEvaluationStatuses", "ProfilerRuleEvaluationStatuses"):
        (found,) = training.describe(record)[field]
        assert (found["RuleConfigurationName"], found["RuleEvaluationStatus"]) == ("Mine", status)
        assert details in found["StatusDetails"]


def test_what_botocore_knows_nothing_of_stays_here(new_job: NewJob) -> None:
    record = new_job()
    record.update(Work="/nowhere", Restarts=1)
    sagemaker = client.sagemaker(lambda operation, request: operations.answer(record.store, operation, request))
    described = sagemaker.describe_training_job(TrainingJobName="job")
    assert described["TrainingJobStatus"] == "InProgress"
    assert not {"Work", "Restarts"} & set(described)
    with pytest.raises(sagemaker.exceptions.ClientError, match="has no ListDomains"):
        sagemaker.list_domains()
