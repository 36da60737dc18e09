"""Tuning jobs of the local engine: real trials, real processes that are killed."""

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from byoc_vision.local.files import path
from byoc_vision.requests import operations
from tests.e2e.conftest import CHECKOUT
from tests.e2e.local_engine import FOREVER, SETTINGS, Local
from tests.e2e.small_training import ONE_THREAD

RANGES = {
    "ContinuousParameterRanges": [
        {"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    ],
    "CategoricalParameterRanges": [{"Name": "batch-size", "Values": ["8", "16"]}],
}
SPACE = {
    "strategy": "Bayesian",
    "objective": "validation_accuracy",
    "direction": "Maximize",
    "max_jobs": 3,
    "parallel_jobs": 2,
    "early_stopping": True,
}


def test_a_tuning_job_survives_its_processes(local: Local) -> None:
    name = "tuning"
    trial = local.training_job("", {name: value for name, value in SETTINGS.items() if name != "batch-size"})
    local.sagemaker.create_hyper_parameter_tuning_job(**operations.tuning_job(name, SPACE, RANGES, trial))
    while (job := local.describe("HyperParameterTuningJob", name))["TrainingJobStatusCounters"]["InProgress"] < 2:
        assert job["HyperParameterTuningJobStatus"] == "InProgress", job
        time.sleep(0.2)
    local.kill("hyper-parameter-tuning-job", name)
    local.kill("training-job", f"{name}-001")
    job = local.ended("HyperParameterTuningJob", name)
    assert job["HyperParameterTuningJobStatus"] == "Completed", job
    trials = local.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)[
        "TrainingJobSummaries"
    ]
    assert len(trials) == 3
    assert sum(job["TrainingJobStatusCounters"].values()) == 3
    for each in trials:
        assert 0.0001 <= float(each["TunedHyperParameters"]["lr"]) <= 0.1
        assert each["TunedHyperParameters"]["batch-size"] in ("8", "16")
    completed = [each for each in trials if each["TrainingJobStatus"] == "Completed"]
    values = [each["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for each in completed]
    best = job["BestTrainingJob"]
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == max(values)
    described = local.describe("TrainingJob", best["TrainingJobName"])
    assert described["HyperParameters"] == trial["HyperParameters"] | best["TunedHyperParameters"] | {
        "_tuning_objective_metric": "validation_accuracy"
    }
    ranked = local.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, SortBy="FinalObjectiveMetricValue", SortOrder="Descending", MaxResults=1
    )
    assert len(ranked["TrainingJobSummaries"]) == 1
    assert ranked["NextToken"]
    listed = local.sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
    assert [each["HyperParameterTuningJobName"] for each in listed] == [name]


def test_trials_of_a_head_share_the_features_that_one_job_computes(
    local: Local, pictures: Path, real_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text("strategy: Grid\nhyperparameters: {lr: [0.001, 0.01]}\n", encoding="utf-8")
    weights = real_data / "weights" / "mobilenet_v2-9dda7561.pth"
    command = [sys.executable, "-m", "launch.tune", tmp_path / "space.yaml", "--local", "--data", pictures]
    command += ["--data", f"weights={weights}", "--set", "image-size=32", "--set", "epochs=2"]
    (tmp_path / "one_thread.yaml").write_text(ONE_THREAD, encoding="utf-8")
    command += ["--request", tmp_path / "one_thread.yaml"]
    environment = os.environ | {"BYOC_LOCAL": str(local.engine.root)}
    said = subprocess.check_output(
        [*command, "--set", "arch=mobilenet_v2", "--best", tmp_path / "best.json"],
        text=True,
        cwd=CHECKOUT,
        env=environment,
    )
    assert json.loads((tmp_path / "best.json").read_text())["lr"] in ("0.001", "0.01"), said
    jobs = local.sagemaker.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]
    (extraction,) = [each["TrainingJobName"] for each in jobs if each["TrainingJobName"].startswith("byoc-features-")]
    kept = path(local.describe("TrainingJob", extraction)["CheckpointConfig"]["S3Uri"])
    (digests,) = kept.glob("features/*/digests")
    assert digests.stat().st_size == 32 * len(list(pictures.glob("*/*/*.jpg")))
    trials = [each["TrainingJobName"] for each in jobs if each["TrainingJobName"].startswith("byoc-vision-")]
    assert len(trials) == 2
    for name in trials:
        trial = local.describe("TrainingJob", name)
        channels = {each["ChannelName"]: each["DataSource"] for each in trial["InputDataConfig"]}
        assert path(channels["features"]["S3DataSource"]["S3Uri"]) == kept / "features"
        archive = path(trial["ModelArtifacts"]["S3ModelArtifacts"])
        with tarfile.open(archive) as model:
            parts = {part for name in model.getnames() for part in Path(name).parts}
        assert "model.json" in parts
        assert "cpu" not in parts  # the graphs for CPUs
        assert not (archive.parent / "data" / "report.html").exists()


def test_a_tuning_job_is_stopped_with_its_trials(local: Local) -> None:
    trial = local.training_job("", {name: value for name, value in FOREVER.items() if name != "batch-size"})
    local.sagemaker.create_hyper_parameter_tuning_job(**operations.tuning_job("unwanted", SPACE, RANGES, trial))
    list_trials = local.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job
    while not list_trials(HyperParameterTuningJobName="unwanted", SortBy="FinalObjectiveMetricValue")[
        "TrainingJobSummaries"
    ]:
        time.sleep(0.2)  # until a first trial has said what it has reached
    local.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="unwanted")
    job = local.ended("HyperParameterTuningJob", "unwanted")
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert job["TrainingJobStatusCounters"]["InProgress"] == 0
