"""launch.tune: search spaces, the request, the trials, and the best of them."""

import html
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.contract import hyperparameters
from tests.cloud.conftest import ROOT, Run
from tests.cloud.fake_aws import FakeAws

EXAMPLES = ROOT / "launch" / "examples"


@pytest.fixture(autouse=True)
def _pushed(pushed: None) -> None:
    """All of these find their images pushed."""


def trial(name: str, status: str, value: float | None = None, **tuned: str) -> dict[str, Any]:
    """Return a trial's summary, with values quoted as the service quotes them."""
    summary: dict[str, Any] = {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}",
        "CreationTime": 0,
        "TrainingJobStatus": status,
        "TunedHyperParameters": {key.replace("_", "-"): f'"{text}"' for key, text in tuned.items()},
    }
    if value is not None:
        metric = {"MetricName": "validation_accuracy", "Value": value}
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = metric
    return summary


def described(status: str, best: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    """Return what DescribeHyperParameterTuningJob answers."""
    return {
        "HyperParameterTuningJobStatus": status,
        "TrainingJobDefinition": {
            "StaticHyperParameters": {
                "epochs": "4",
                "export": "false",
                "report": "false",
                "_tuning_objective_metric": "x",
            }
        },
        **({"BestTrainingJob": best} if best else {}),
        **more,
    }


def space(folder: Path, text: str) -> Path:
    """Write a search space."""
    file = folder / "space.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("tune*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_search_space_makes_a_request(run: Run, data: Path, example: Path) -> None:
    done = run("tune", example, "--data", data, "--dry-run")
    assert done.code == 0, done.err
    request = json.loads(done.out)["CreateHyperParameterTuningJob"]
    assert request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"] == {
        "Type": "Maximize",
        "MetricName": "validation_accuracy",
    }


def test_the_request(run: Run, aws: FakeAws, data: Path) -> None:
    arguments = ("--data", data, "--set", "arch=resnet18", "--max-jobs", 4, "--dry-run")
    request = json.loads(run("tune", EXAMPLES / "tune.yaml", *arguments).out)["CreateHyperParameterTuningJob"]
    settings, definition = request["HyperParameterTuningJobConfig"], request["TrainingJobDefinition"]
    assert settings["Strategy"] == "Bayesian" and settings["TrainingJobEarlyStoppingType"] == "Auto"
    assert settings["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2}
    assert settings["ParameterRanges"] == {
        "ContinuousParameterRanges": [
            {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
        ],
        "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "2", "MaxValue": "10", "ScalingType": "Auto"}],
        "CategoricalParameterRanges": [{"Name": "batch-size", "Values": ["32", "64", "128", "256", "512"]}],
    }
    assert definition["StaticHyperParameters"] == {
        "arch": "resnet18",
        "test-batch-size": "100",
        "export": "false",
        "report": "false",
    }
    assert definition["AlgorithmSpecification"]["MetricDefinitions"]
    assert not aws.sent("CreateHyperParameterTuningJob")


def test_features_are_computed_once_for_all_trials(run: Run, data: Path) -> None:
    arguments = ("--data", data, "--output", "s3://mine/results", "--set", "arch=resnet18", "--dry-run")
    requests = json.loads(run("tune", EXAMPLES / "tune.yaml", *arguments).out)
    extraction = requests["CreateTrainingJob"]
    trials = requests["CreateHyperParameterTuningJob"]["TrainingJobDefinition"]
    assert extraction["HyperParameters"] == trials["StaticHyperParameters"] | {"extract-only": "true"}
    assert hyperparameters.from_sagemaker(extraction["HyperParameters"]).extract_only
    for field in ("RoleArn", "AlgorithmSpecification", "ResourceConfig", "OutputDataConfig"):
        assert extraction[field] == trials[field]
    pictures, features = trials["InputDataConfig"]
    assert extraction["InputDataConfig"] == [pictures]
    assert features["ChannelName"] == "features"
    checkpoints = f"s3://mine/results/{extraction['TrainingJobName']}/checkpoints"
    assert extraction["CheckpointConfig"] == {"S3Uri": checkpoints}
    assert features["DataSource"]["S3DataSource"]["S3Uri"] == f"{checkpoints}/features/"


@pytest.mark.parametrize("more", ["train-layers: all", "augment: basic", "arch: squeezenet1_1"])
def test_where_there_are_no_features_the_search_begins_at_once(run: Run, data: Path, tmp_path: Path, more: str) -> None:
    file = space(tmp_path, f"hyperparameters: {{batch-size: [8, 16], {more}}}")
    assert set(json.loads(run("tune", file, "--data", data, "--dry-run").out)) == {"CreateHyperParameterTuningJob"}


def test_a_search_that_changes_the_features_says_so(run: Run, data: Path, tmp_path: Path) -> None:
    file = space(tmp_path, "hyperparameters: {batch-size: [8, 16], arch: [resnet18, resnet50]}")
    done = run("tune", file, "--data", data, "--dry-run")
    assert set(json.loads(done.out)) == {"CreateHyperParameterTuningJob"}
    assert "every trial computes its own features, because arch is searched" in done.err


def test_given_features_are_not_computed(run: Run, data: Path) -> None:
    done = run("tune", EXAMPLES / "tune.yaml", "--data", data, "--data", "features=s3://mine/features/", "--dry-run")
    assert set(json.loads(done.out)) == {"CreateHyperParameterTuningJob"}


def test_a_failed_computation_of_features_ends_the_search(run: Run, aws: FakeAws, data: Path) -> None:
    aws.script("DescribeTrainingJob", {"TrainingJobStatus": "Failed", "FailureReason": "no pictures"})
    assert "no pictures" in run("tune", EXAMPLES / "tune.yaml", "--data", data).sentence
    assert not aws.sent("CreateHyperParameterTuningJob")


def test_values_are_judged_together_with_those_that_join_them(run: Run, data: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("hyperparameters: {layer-decay: [0.5, 0.8], augment: basic, pretrained: [true, false]}")
    arguments = ("tune", space, "--data", data, "--set", "flip=none", "--dry-run")
    assert run(*arguments, "--set", "train-layers=all").code == 0
    refused = run(*arguments)
    assert refused.code != 0
    assert "a trial with pretrained=false would be refused" in refused.err


def test_a_grid_has_its_own_number_of_trials(run: Run, data: Path) -> None:
    request = json.loads(run("tune", EXAMPLES / "tune-grid.yaml", "--data", data, "--dry-run").out)
    limits = request["CreateHyperParameterTuningJob"]["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert limits["MaxNumberOfTrainingJobs"] == 6


def test_hyperband_deals_out_the_epochs(run: Run, data: Path) -> None:
    request = json.loads(run("tune", EXAMPLES / "tune-hyperband.yaml", "--data", data, "--dry-run").out)
    settings = request["CreateHyperParameterTuningJob"]["HyperParameterTuningJobConfig"]
    assert settings["StrategyConfig"] == {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 20}}
    assert settings["TrainingJobEarlyStoppingType"] == "Off"


def test_a_loss_is_minimised(run: Run, data: Path, tmp_path: Path) -> None:
    file = space(tmp_path, "objective: validation_loss\nhyperparameters: {batch-size: [8, 16]}")
    request = json.loads(run("tune", file, "--data", data, "--dry-run").out)["CreateHyperParameterTuningJob"]
    objective = request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    assert objective == {"Type": "Minimize", "MetricName": "validation_loss"}


def test_trials_are_shown_and_the_best_is_saved_for_training(
    run: Run, aws: FakeAws, data: Path, tmp_path: Path
) -> None:
    best = trial("t-1", "Completed", 0.91, lr="0.0160", batch_size="256")
    aws.script("DescribeHyperParameterTuningJob", described("InProgress"), described("Completed", best))
    aws.script(
        "ListTrainingJobsForHyperParameterTuningJob",
        {"TrainingJobSummaries": [trial("t-1", "InProgress", lr="0.0160", batch_size="256")]},
        {"TrainingJobSummaries": [best], "NextToken": "more"},
        {"TrainingJobSummaries": [trial("t-2", "Failed", lr="0.1", batch_size="64")]},
    )
    done = run("tune", EXAMPLES / "tune.yaml", "--data", data, "--best", "best.json")
    assert done.code == 0, done.err
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "1 InProgress batch-size=256 lr=0.0160" in lines
    assert "1 Completed validation_accuracy=0.91 batch-size=256 lr=0.0160" in lines
    assert "2 Failed batch-size=64 lr=0.1" in lines
    assert "batch-size=256" in lines
    saved = json.loads((tmp_path / "best.json").read_text())
    assert saved == {"batch-size": "256", "lr": "0.016", "epochs": "4"}
    trained = run("train", "--data", data, "--hyperparameters", "best.json")
    assert trained.code == 0, trained.err
    assert aws.sent("CreateTrainingJob")[1]["HyperParameters"] == saved
    assert hyperparameters.from_sagemaker(saved).lr == 0.016


def test_watch_follows_a_tuning_job(run: Run, aws: FakeAws, tmp_path: Path) -> None:
    best = trial("t-1", "Completed", 0.91, lr="0.016")
    aws.script("DescribeHyperParameterTuningJob", described("Completed", best))
    aws.script("ListTrainingJobsForHyperParameterTuningJob", {"TrainingJobSummaries": [best]})
    assert run("watch", "search", "--best", "best.json").code == 0
    assert json.loads((tmp_path / "best.json").read_text())["lr"] == "0.016"


def test_the_best_of_a_script_is_trained_by_the_script(run: Run, aws: FakeAws, tmp_path: Path) -> None:
    """Without its program the line that is shown would train this project's classifier."""
    best = trial("t-1", "Completed", 0.91, lr="0.016")
    objective = {"Type": "Maximize", "MetricName": "validation_accuracy"}
    config = {"HyperParameterTuningJobObjective": objective}
    searched = described("Completed", best, HyperParameterTuningJobConfig=config)
    searched["TrainingJobDefinition"]["StaticHyperParameters"] = {"sagemaker_program": '"my train.py"'}
    aws.script("DescribeHyperParameterTuningJob", searched)
    aws.script("ListTrainingJobsForHyperParameterTuningJob", {"TrainingJobSummaries": [best]})
    line = "train --hyperparameters search --data … --source … --program 'my train.py'"
    assert line in run("watch", "search").out
    assert run("report", "search").code == 0
    assert line in html.unescape((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))


def test_ctrl_c_before_the_search_stops_the_job_that_computes_its_features(
    checkout: Path, environment: dict[str, str], aws: FakeAws, data: Path, tmp_path: Path
) -> None:
    aws.script("DescribeTrainingJob", {"TrainingJobStatus": "InProgress", "SecondaryStatus": "Training"})
    aws.script("StopTrainingJob", {})
    command = [sys.executable, "-m", "launch.tune", str(EXAMPLES / "tune.yaml"), "--data", str(data)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        while not aws.sent("DescribeTrainingJob"):
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    (job,) = aws.sent("CreateTrainingJob")
    assert (process.returncode, aws.sent("StopTrainingJob")) == (130, [{"TrainingJobName": job["TrainingJobName"]}])
    assert f"stopping {job['TrainingJobName']}" in err and "Traceback" not in err
    assert not aws.sent("CreateHyperParameterTuningJob")


def test_a_failed_search_gives_its_reason(run: Run, aws: FakeAws, data: Path) -> None:
    aws.script("DescribeHyperParameterTuningJob", described("Failed", FailureReason="All training jobs failed"))
    aws.script("ListTrainingJobsForHyperParameterTuningJob", {"TrainingJobSummaries": []})
    assert "All training jobs failed" in run("tune", EXAMPLES / "tune.yaml", "--data", data).sentence


def test_a_search_without_a_good_trial(run: Run, aws: FakeAws, data: Path) -> None:
    aws.script("DescribeHyperParameterTuningJob", described("Completed"))
    aws.script("ListTrainingJobsForHyperParameterTuningJob", {"TrainingJobSummaries": []})
    assert "has no best trial" in run("tune", EXAMPLES / "tune.yaml", "--data", data).sentence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hyperparameters: {lr: {min: 0.1, max: 0.001}}", "lr has a min of 0.1 that is not below its max of 0.001"),
        ("hyperparameters: {lr: {min: 0.1}}", "write {min: …, max: …}"),
        ("hyperparameters: {lr: {values: [0.1, 1]}}", "lr is {'values': [0.1, 1]}; write {min: …, max: …}, perhaps"),
        ("hyperparameters: {weight-decay: {min: 0, max: 1, scale: log}}", "which has no logarithm; give a min above 0"),
        ("hyperparameters: {momentum: {min: 0, max: 1, scale: linear}}", "momentum is 1; give a value from 0 to"),
        ("hyperparameters: {lr: {min: 0.1, max: 2, scale: reverse-logarithmic}}", "for values from 0 to below 1; take"),
        ("hyperparameters: {lr: {min: 0, max: 1}}", "lr is 0; give a value from"),
        ("hyperparameters: {lr: {min: a, max: b}}", "lr is 'a'; give a number"),
        ("hyperparameters: {learning-rate: [1, 2]}", "there is no hyperparameter 'learning-rate'"),
        ("hyperparameters: {batch_sze: [1, 2]}", "did you mean 'batch-size'?"),
        ("hyperparameters: {batch-size: [8, 8]}", "the same value twice"),
        ("hyperparameters: {batch-size: []}", "no values"),
        ("hyperparameters: {arch: {min: 1, max: 2}}", "arch"),
        ("hyperparameters: {lr: 0.1}", "nothing is searched"),
        ("hyperparameters: {lr: {min: 0.1, max: 1, scale: logg}}", "did you mean 'log'?"),
        ("strategy: Bayes\nhyperparameters: {lr: [0.1, 1]}", "there is no strategy 'Bayes'; did you mean 'Bayesian'?"),
        ("strategy: Grid\nhyperparameters: {lr: {min: 0.1, max: 1}}", "Grid tries lists only"),
        ("strategy: Hyperband\nearly-stopping: true\nhyperparameters: {lr: [0.1, 1]}", "Hyperband stops trials itself"),
        ("strategy: Hyperband\nhyperparameters: {epochs: [1, 2]}", "Hyperband deals out the epochs"),
        ("objective: test_accuracy\nhyperparameters: {lr: [0.1, 1]}", "there is no objective 'test_accuracy'"),
        (
            "objective: val_accuracy\nhyperparameters: {lr: [0.1, 1]}",
            "there is no objective 'val_accuracy'; did you mean",
        ),
        ("max_jobs: 3\nhyperparameters: {lr: [0.1, 1]}", "there is no field 'max_jobs'; did you mean 'max-jobs'?"),
        (
            "max-jobs: 1\nparallel-jobs: 2\nhyperparameters: {lr: [0.1, 1]}",
            "parallel-jobs is 2 and above max-jobs, 1; lower it",
        ),
        ("max-jobs: 5\nhyperparameters: {lr: [0.1, 1], epochs: {min: 2, max: 3}}", "there are 4 combinations of what"),
        ("max-jobs: lots\nhyperparameters: {lr: [0.1, 1]}", "max-jobs is 'lots'"),
        ("max-jobs: 3", "hyperparameters is missing"),
        ("hyperparameters: {lr: [0.1, 1], lr: [1, 2]}", "lr is given twice"),
        ("hyperparameters: {on: [0.1, 1]}", "a hyperparameter is named True, which YAML does not read as text"),
        ("- lr", "does not hold name: value pairs"),
    ],
)
def test_a_wrong_search_space(run: Run, aws: FakeAws, data: Path, tmp_path: Path, text: str, said: str) -> None:
    sentence = run("tune", space(tmp_path, text), "--data", data).sentence
    assert said in sentence and "space.yaml" in sentence
    assert not aws.sent("CreateHyperParameterTuningJob")


def test_fewer_trials_than_the_file_has_at_a_time(run: Run, data: Path) -> None:
    done = run("tune", EXAMPLES / "tune.yaml", "--data", data, "--max-jobs", 1, "--dry-run")
    job = json.loads(done.out)["CreateHyperParameterTuningJob"]["HyperParameterTuningJobConfig"]
    assert job["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1}


def test_without_a_number_there_are_at_most_as_many_trials_as_combinations(
    run: Run, data: Path, tmp_path: Path
) -> None:
    done = run("tune", space(tmp_path, "hyperparameters: {lr: [0.1, 1, 2]}"), "--data", data, "--dry-run")
    job = json.loads(done.out)["CreateHyperParameterTuningJob"]["HyperParameterTuningJobConfig"]
    assert job["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2}


def test_what_is_searched_cannot_be_set(run: Run, data: Path) -> None:
    said = run("tune", EXAMPLES / "tune.yaml", "--data", data, "--set", "lr=1").sentence
    assert "lr is searched in" in said


def test_a_missing_search_space(run: Run, data: Path) -> None:
    said = run("tune", "no.yaml", "--data", data).sentence
    assert said == "launch.tune: no.yaml: No such file or directory; check the name"
