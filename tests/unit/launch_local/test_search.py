"""The search of a tuning job, with training jobs that the tests play: no containers, no waiting."""

import json
import math
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution

from byoc_vision.local import containers, process, ranges, run_tuning, training, tuning
from byoc_vision.local.store import Lock, Record, ServiceError, Store, now

METRIC = "validation_accuracy"
CHOICES = CategoricalDistribution(["8", "16", "32"])
LISTS = {"CategoricalParameterRanges": [{"Name": "batch-size", "Values": ["8", "16", "32"]}]}
RATES = {
    "ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}]
}

NewSearch = Callable[..., "Played"]


class Played:
    """A tuning job and its trials; `say` and `end` are what their containers would do."""

    def __init__(
        self, store: Store, parent: str | None = None, several: dict[str, Any] | None = None, **config: Any
    ) -> None:
        self.config = {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": METRIC},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": RATES,
        } | config
        request: dict[str, Any] = {
            "HyperParameterTuningJobName": "warm" if parent else "tuning",
            "HyperParameterTuningJobConfig": self.config,
            "TrainingJobDefinition": {
                "StaticHyperParameters": {"epochs": "3"},
                "AlgorithmSpecification": {
                    "TrainingImage": "image",
                    "MetricDefinitions": [{"Name": METRIC, "Regex": ""}],
                },
                "OutputDataConfig": {"S3OutputPath": store.root.as_uri()},
                "ResourceConfig": {"InstanceType": "local", "InstanceCount": 1},
                "CheckpointConfig": {"S3Uri": f"{store.root.as_uri()}/checkpoints"},
            },
        }
        if parent:
            request["WarmStartConfig"] = {
                "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent}],
                "WarmStartType": "TransferLearning",
            }
        if several:
            definition = request.pop("TrainingJobDefinition")
            objective = self.config.pop("HyperParameterTuningJobObjective")
            del self.config["ParameterRanges"]
            request["TrainingJobDefinitions"] = [
                {**definition, "DefinitionName": name, "TuningObjective": objective, "HyperParameterRanges": ranges}
                for name, ranges in several.items()
            ]
        tuning.create(store, request)
        self.record = store.find(tuning.KIND, request["HyperParameterTuningJobName"])
        self.search = run_tuning.Search(self.record)

    @property
    def trials(self) -> list[Record]:
        mine = (each for each in self.record.store.all(training.KIND) if each.status["TuningJobArn"] == self.record.arn)
        return sorted(mine, key=lambda each: each.name)

    @property
    def running(self) -> list[Record]:
        return [each for each in self.trials if each.status["TrainingJobStatus"] == "InProgress"]

    def say(self, trial: Record, *values: float) -> None:
        """Report an epoch for each value."""
        epoch = sum("Epoch" in each for each in training.metrics(trial))
        for number, value in enumerate(values, epoch + 1):
            self._write(trial, {"MetricName": METRIC, "Value": value, "Timestamp": now(), "Epoch": number})

    def end(self, trial: Record, status: str = "Completed", *values: float) -> None:
        self.say(trial, *values)
        trial.update(TrainingJobStatus=status)

    def sum_up(self, trial: Record, value: float) -> None:
        """Report the figure of the epoch that was kept, as the job does at its end."""
        self._write(trial, {"MetricName": METRIC, "Value": value, "Timestamp": now()})

    def _write(self, trial: Record, entry: dict[str, Any]) -> None:
        with (trial.folder / "metrics.jsonl").open("a") as file:
            print(json.dumps(entry), file=file)

    def run(self, value: Callable[[dict[str, str]], float]) -> None:
        """Play the whole search: each trial reports `value` of its hyperparameters."""
        while self.search.step():
            for trial in self.running:
                self.end(trial, "Completed", value(trial.request["HyperParameters"]))


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewSearch:
    locks: list[Lock] = []
    monkeypatch.setattr(process, "start", lambda record, lock: locks.append(lock))
    monkeypatch.setattr(containers, "require", lambda image: None)
    return lambda parent=None, several=None, **config: Played(Store(tmp_path / "store"), parent, several, **config)


def test_no_more_trials_than_asked_for_and_no_more_at_a_time(play: NewSearch) -> None:
    played = play()
    assert played.search.step()
    assert len(played.running) == 2
    assert played.search.step()
    assert len(played.trials) == 2
    played.run(lambda _: 0.5)
    assert len(played.trials) == 4
    names = [trial.name.split("-")[1] for trial in played.trials]
    assert names == ["001", "002", "003", "004"]
    request = played.trials[0].request
    assert set(request["HyperParameters"]) == {"epochs", "lr", "_tuning_objective_metric"}
    assert request["CheckpointConfig"]["S3Uri"].endswith(f"/checkpoints/{played.trials[0].name}")


def test_bayesian_search_finds_the_better_region(play: NewSearch) -> None:
    limits = {"MaxNumberOfTrainingJobs": 30, "MaxParallelTrainingJobs": 1}
    played = play(ResourceLimits=limits, RandomSeed=7)
    played.run(lambda settings: -abs(math.log10(float(settings["lr"])) + 3))  # best at 0.001
    rates = [float(trial.request["HyperParameters"]["lr"]) for trial in played.trials]
    distances = [abs(math.log10(rate) + 3) for rate in rates]
    assert sum(distances[-10:]) < sum(distances[:10])
    best = tuning.describe(played.record)["BestTrainingJob"]
    assert min(distances) < 0.2
    assert float(best["TunedHyperParameters"]["lr"]) == rates[distances.index(min(distances))]


def test_a_warm_start_begins_with_the_trials_of_its_parent(play: NewSearch) -> None:
    limits = {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 1}
    ranges = RATES | {
        "IntegerParameterRanges": [{"Name": "workers", "MinValue": "1", "MaxValue": "9"}],
        "CategoricalParameterRanges": LISTS["CategoricalParameterRanges"],
    }
    parent = play(ParameterRanges=ranges, ResourceLimits=limits, RandomSeed=7)
    with pytest.raises(ServiceError, match="has not ended"):
        play("tuning", ParameterRanges=ranges)
    parent.run(lambda settings: -abs(math.log10(float(settings["lr"])) + 3))  # best at 0.001
    parent.record.update(HyperParameterTuningJobStatus="Completed")
    warm = play("tuning", ParameterRanges=ranges, RandomSeed=7)
    known = warm.search.studies[0]._study.get_trials()
    assert [trial.value for trial in known] == [
        each["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for each in tuning.summaries(parent.record)
    ]
    warm.run(lambda settings: -abs(math.log10(float(settings["lr"])) + 3))
    assert len(warm.trials) == 4  # of its own
    assert len(warm.search.studies[0]._study.get_trials()) == 24
    with pytest.raises(ServiceError, match="tunable plus static HyperParameter names is not the same"):
        play("tuning", ParameterRanges=RATES)


def test_of_the_same_data_and_algorithm_the_best_of_all_trials_is_told(play: NewSearch) -> None:
    parent = play()
    parent.run(lambda _: 0.9)
    parent.record.update(HyperParameterTuningJobStatus="Completed")
    warm = play("tuning")
    warm.run(lambda _: 0.8)
    assert "OverallBestTrainingJob" not in tuning.describe(warm.record)
    request = warm.record.request
    request["WarmStartConfig"]["WarmStartType"] = "IdenticalDataAndAlgorithm"
    (warm.record.folder / "request.json").write_text(json.dumps(request))
    told = tuning.describe(warm.record)
    assert told["BestTrainingJob"]["TrainingJobName"].startswith("warm-")
    assert told["OverallBestTrainingJob"]["TrainingJobName"].startswith("tuning-")
    assert told["OverallBestTrainingJob"]["TuningJobName"] == "tuning"
    parent.record.remove()
    assert tuning.describe(warm.record)["OverallBestTrainingJob"]["TrainingJobName"].startswith("warm-")


def test_grid_tries_each_combination_once_whatever_happens(play: NewSearch) -> None:
    played = play(Strategy="Grid", ParameterRanges=LISTS, ResourceLimits={"MaxParallelTrainingJobs": 2})
    played.search.studies[0]._study.ask({"batch-size": CHOICES})  # and then the process was killed
    played.search = run_tuning.Search(played.record)
    played.run(lambda _: 0.5)
    assert sorted(trial.request["HyperParameters"]["batch-size"] for trial in played.trials) == ["16", "32", "8"]


def test_a_search_goes_on_after_its_process(play: NewSearch) -> None:
    played = play(RandomSeed=1)
    played.search.step()
    first, _ = played.running
    played.end(first, "Completed", 0.7)
    # It was killed while it wrote, which it does under a lock.
    with (played.record.folder / "study.log").open("a", encoding="utf-8") as log:
        log.write('{"op_code":')
    (played.record.folder / "study.log.lock").symlink_to(played.record.folder / "study.log")
    played.search = run_tuning.Search(played.record)  # as another process would
    played.search.step()
    assert len(played.trials) == 3
    played.run(lambda _: 0.5)
    assert len(played.trials) == 4
    rates = [trial.request["HyperParameters"]["lr"] for trial in played.trials]
    assert len(set(rates)) == 4
    assert tuning.describe(played.record)["BestTrainingJob"]["TrainingJobName"] == first.name


def test_a_trial_worse_than_the_median_is_stopped(play: NewSearch) -> None:
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1}
    played = play(TrainingJobEarlyStoppingType="Auto", ResourceLimits=limits)
    for _ in range(3):
        played.search.step()
        (trial,) = played.running
        played.say(trial, 0.5, 0.7, 0.9)
        played.search.step()
        played.end(trial)
    played.search.step()
    (bad,) = played.running
    played.say(bad, 0.1)
    played.search.step()
    assert not bad.stopping  # its first epoch proves nothing
    played.say(bad, 0.1, 0.1)
    played.search.step()
    assert bad.stopping
    played.end(bad, "Stopped")
    assert not played.search.step()
    described = tuning.describe(played.record)
    assert described["TrainingJobStatusCounters"]["Stopped"] == 1
    assert described["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == 0.9


def test_the_figure_of_the_epoch_kept_is_no_further_epoch(play: NewSearch) -> None:
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1}
    played = play(TrainingJobEarlyStoppingType="Auto", ResourceLimits=limits)
    for _ in range(3):
        played.search.step()
        played.end(played.running[0], "Completed", 0.5, 0.7, 0.9)
    played.search.step()
    (trial,) = played.running
    played.say(trial, 0.1, 0.1)
    played.sum_up(trial, 0.1)
    played.search.step()
    assert not trial.stopping


def test_hyperband_stops_trials_that_fall_behind(play: NewSearch) -> None:
    limits = {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 4}
    band = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 9}}
    played = play(Strategy="Hyperband", StrategyConfig=band, ResourceLimits=limits, RandomSeed=3)
    while played.search.step():
        for trial in played.running:
            said = len(list(training.metrics(trial)))
            if trial.stopping:
                played.end(trial, "Stopped")
            elif said == 9:
                played.end(trial)
            else:
                played.say(trial, -abs(math.log10(float(trial.request["HyperParameters"]["lr"])) + 3))
    statuses = [trial.status["TrainingJobStatus"] for trial in played.trials]
    assert len(statuses) == 20
    assert statuses.count("Stopped") >= 5
    assert statuses.count("Completed") >= 3


def test_a_hopeless_search_ends(play: NewSearch) -> None:
    played = play(ResourceLimits={"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1})
    while played.search.step():
        for trial in played.running:
            played.end(trial, "Completed")  # without a line that gives the objective
    assert len(played.trials) == 3
    run_tuning.run(played.record)
    described = tuning.describe(played.record)
    assert described["HyperParameterTuningJobStatus"] == "Failed"
    assert METRIC in described["FailureReason"]
    assert described["ObjectiveStatusCounters"]["Failed"] == 3


def test_trials_are_judged_when_one_has_ended(play: NewSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    played, judged, real = play(), list[Record](), tuning.summaries

    def summaries(record: Record) -> list[dict[str, Any]]:
        judged.append(record)
        return real(record)

    monkeypatch.setattr(tuning, "summaries", summaries)
    for _ in range(5):
        assert played.search.step()
    assert not judged
    played.end(played.running[0], "Completed", 0.5)
    for _ in range(5):
        assert played.search.step()
    assert len(judged) == 1


def test_the_end_of_a_process_wakes() -> None:
    with process.woken_by_children() as wait:
        child = subprocess.Popen(["true"])
        wait(3600)
        assert child.wait() == 0
        wait(0)
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


def test_a_search_ends_at_its_target(play: NewSearch) -> None:
    criteria = {"TargetObjectiveMetricValue": 0.9}
    limits = {"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1}
    played = play(TuningJobCompletionCriteria=criteria, ResourceLimits=limits)
    played.run(lambda _: 0.95)
    assert len(played.trials) == 1


def test_a_search_ends_when_it_finds_nothing_better(play: NewSearch) -> None:
    criteria = {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}
    limits = {"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1}
    played = play(TuningJobCompletionCriteria=criteria, ResourceLimits=limits)
    played.run(lambda _: 0.5)
    assert len(played.trials) == 4
    with pytest.raises(ServiceError, match="no ConvergenceDetected"):
        play(TuningJobCompletionCriteria={"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}})


def test_several_definitions_take_turns_and_the_best_trial_is_one_of_all(play: NewSearch) -> None:
    limits = {"MaxNumberOfTrainingJobs": 7, "MaxParallelTrainingJobs": 2}
    several = {"head": RATES, "sizes": LISTS}
    played = play(several=several, Strategy="Random", ResourceLimits=limits)
    played.search.step()
    played.search = run_tuning.Search(played.record)  # as another process would
    played.run(lambda settings: float(settings.get("batch-size", 0)))
    described = tuning.describe(played.record)
    assert [each["DefinitionName"] for each in described["TrainingJobDefinitions"]] == ["head", "sizes"]
    assert all(each["OutputDataConfig"]["KmsKeyId"] == "" for each in described["TrainingJobDefinitions"])
    trials = tuning.summaries(played.record)
    assert [trial["TrainingJobDefinitionName"] for trial in trials].count("head") == 4
    assert {tuple(trial["TunedHyperParameters"]) for trial in trials} == {("lr",), ("batch-size",)}
    best = described["BestTrainingJob"]
    assert best["TrainingJobDefinitionName"] == "sizes"
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == max(
        float(trial["TunedHyperParameters"].get("batch-size", 0)) for trial in trials
    )


def test_each_definition_has_a_grid_of_its_own(play: NewSearch) -> None:
    limits = {"MaxParallelTrainingJobs": 2}
    played = play(several={"a": LISTS, "b": LISTS}, Strategy="Grid", ResourceLimits=limits)
    played.run(lambda _: 0.5)
    assert len(played.trials) == 6


def test_definitions_that_do_not_go_together(play: NewSearch, tmp_path: Path) -> None:
    request = play(several={"a": RATES, "b": LISTS}).record.request
    first, second = request["TrainingJobDefinitions"]
    config = request["HyperParameterTuningJobConfig"]
    for wrong, said in (
        ({"TrainingJobDefinitions": [first, first]}, "one DefinitionName"),
        ({"TrainingJobDefinition": first}, "nowhere else"),
        ({"HyperParameterTuningJobConfig": config | {"ParameterRanges": RATES}}, "nowhere else"),
        (
            {
                "TrainingJobDefinitions": [
                    first,
                    second | {"TuningObjective": {"Type": "Minimize", "MetricName": METRIC}},
                ]
            },
            "all maximized",
        ),
        ({"TrainingJobDefinitions": [{**first, "HyperParameterRanges": {}}]}, "nothing to search"),
        (
            {
                "TrainingJobDefinitions": [second],
                "HyperParameterTuningJobConfig": config
                | {"ResourceLimits": {"MaxNumberOfTrainingJobs": 99, "MaxParallelTrainingJobs": 1}},
            },
            "combinations, fewer than MaxNumberOfTrainingJobs, 99",
        ),
        (
            {"TrainingJobDefinitions": [{**first, "TuningObjective": {"Type": "Maximize", "MetricName": "none"}}]},
            "none",
        ),
        (
            {"TrainingJobDefinitions": [{**first, "DefinitionName": None}, {"DefinitionName": "b"}]},
            "needs DefinitionName",
        ),
    ):
        with pytest.raises(ServiceError, match=said):
            tuning.create(Store(tmp_path / "store"), request | {"HyperParameterTuningJobName": "other"} | wrong)


@pytest.mark.parametrize(
    ("scaling", "low", "high"),
    [("Auto", "0.5", "3"), ("Linear", "0", "1"), ("Logarithmic", "1e-5", "1"), ("ReverseLogarithmic", "0.9", "0.999")],
)
def test_values_keep_within_their_range(play: NewSearch, scaling: str, low: str, high: str) -> None:
    searched = {"Name": "momentum", "MinValue": low, "MaxValue": high, "ScalingType": scaling}
    played = play(
        Strategy="Random",
        ParameterRanges={"ContinuousParameterRanges": [searched]},
        ResourceLimits={"MaxNumberOfTrainingJobs": 15, "MaxParallelTrainingJobs": 5},
    )
    played.run(lambda _: 0.5)
    values = [float(trial.request["HyperParameters"]["momentum"]) for trial in played.trials]
    assert all(float(low) <= value <= float(high) for value in values)
    assert len(set(values)) > 10


def test_wide_ranges_are_searched_by_orders_of_magnitude() -> None:
    def log(low: str, high: str, scaling: str = "Auto") -> bool:
        each = {"Name": "lr", "MinValue": low, "MaxValue": high, "ScalingType": scaling}
        found = ranges.ranges({"ContinuousParameterRanges": [each]})["lr"].distribution
        return bool(found.log)  # type: ignore[attr-defined]

    assert log("0.0001", "0.1")
    assert not log("0.01", "0.1")
    assert not log("0.0001", "0.1", "Linear")
    integers = {"Name": "epochs", "MinValue": "1", "MaxValue": "9", "ScalingType": "Linear"}
    found = ranges.ranges({"IntegerParameterRanges": [integers]})["epochs"]
    assert found.text(5) == "5"
