"""Sees one tuning job through, in a process of its own: Optuna says what to try next, training jobs try it.

Both keep what they know on disk, so a process that is killed at any moment can be followed by another: trials that were
under way have gone on meanwhile, or are begun again when they were interrupted, too.
"""

import math
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from byoc_vision.local import ranges, training, tuning
from byoc_vision.local.store import Record, Request, ServiceError, now

#: Seconds between two looks at the trials, in which a core may be idle; a look costs a few milliseconds.
_PAUSE = 0.2

#: After so many failed trials and not one that succeeded, the next ones would fail, too.
_HOPELESS = 3

#: Trials that must have reached an epoch before another is stopped for being worse there than their median.
_COMPARED = 3


def run(record: Record) -> None:
    """Run the trials; the status tells how the job ended."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = Search(record)
    try:
        while search.step():
            time.sleep(_PAUSE)
    except BaseException:
        search.stop()
        raise
    found = tuning.summaries(record)
    ended: Request = {"HyperParameterTuningJobStatus": "Stopped" if record.stopping else "Completed"}
    if not record.stopping and tuning.best(record, found) is None:
        failed = next((each for each in found if each["TrainingJobStatus"] == "Failed"), {})
        metric = record.request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["MetricName"]
        reason = failed.get("FailureReason", f"no log line gave the objective metric {metric}")
        reason = f"No training job succeeded: {reason}"[:1024]
        ended = {"HyperParameterTuningJobStatus": "Failed", "FailureReason": reason}
    record.update(HyperParameterTuningEndTime=now(), **ended)


class Search:
    """The trials of one tuning job."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._config = record.request["HyperParameterTuningJobConfig"]
        self._ranges = ranges.ranges(self._config["ParameterRanges"])
        self._metric = self._config["HyperParameterTuningJobObjective"]["MetricName"]
        self._early = (
            self._config["Strategy"] == "Hyperband" or self._config.get("TrainingJobEarlyStoppingType") == "Auto"
        )
        limits = self._config["ResourceLimits"]
        self._parallel = limits["MaxParallelTrainingJobs"]
        self._total = limits.get("MaxNumberOfTrainingJobs", math.inf)
        if self._config["Strategy"] == "Grid":
            self._total = min(self._total, ranges.grid_size(self._config["ParameterRanges"]))
        self._study = self._open()
        self._trials: dict[int, optuna.Trial] = {}

    def step(self) -> bool:
        """Look after the trials under way and begin the next ones; return whether there is more to do."""
        running = [trial for trial in self._running() if self._follow(trial)]
        over = self._over()
        while not over and len(running) < self._parallel and self._begun() < self._total:
            running.append(self._begin())
        if over:
            self.stop()
        return bool(running)

    def stop(self) -> None:
        """Ask all trials under way for their end."""
        for trial in self._running():
            if "job" in trial.user_attrs:
                with suppress(ServiceError):
                    self._record.store.find(training.KIND, trial.user_attrs["job"]).ask_to_stop()

    def _running(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _open(self) -> optuna.Study:
        study = optuna.create_study(
            storage=_storage(self._record.folder / "study.log"),
            study_name=self._record.name,
            load_if_exists=True,
            direction="maximize" if tuning.maximises(self._record) else "minimize",
            pruner=self._pruner(),
        )
        if not study.get_trials(deepcopy=False):
            study.add_trials(self._inherited())
        study.sampler = self._sampler(len(study.get_trials(deepcopy=False)))
        if self._config["Strategy"] == "Grid":
            for values in ranges.grid(self._config["ParameterRanges"]):
                study.enqueue_trial(values, skip_if_exists=True)
        return study

    def _inherited(self) -> Iterator[FrozenTrial]:
        """Yield the trials of the job's parents that lie in its ranges."""
        distributions = {name: each.distribution for name, each in self._ranges.items()}
        for parent in tuning.parents(self._record.store, self._record.request):
            for summary in tuning.summaries(parent):
                metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric", {})
                with suppress(KeyError, ValueError):  # another hyperparameter, or a value out of range
                    if summary["ObjectiveStatus"] == "Succeeded" and metric["MetricName"] == self._metric:
                        texts = summary["TunedHyperParameters"]
                        values = {name: each.value(texts[name]) for name, each in self._ranges.items()}
                        yield create_trial(params=values, distributions=distributions, value=metric["Value"])

    def _sampler(self, done: int) -> BaseSampler:
        # What continues a search must not draw again what its beginning has drawn.
        seed = self._config.get("RandomSeed")
        seed = None if seed is None else (seed + done) % 2**32
        if self._config["Strategy"] in ("Random", "Grid"):
            return RandomSampler(seed)
        # Optuna draws ten trials at random before it looks at results; few tuning jobs are so long.
        first = 10 if math.isinf(self._total) else max(2, min(10, self._total // 3))
        return TPESampler(seed=seed, n_startup_trials=first, constant_liar=True)

    def _pruner(self) -> BasePruner:
        if self._config["Strategy"] == "Hyperband":
            resources = self._config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
            return HyperbandPruner(resources.get("MinResource", 1), resources.get("MaxResource", "auto"))
        return MedianPruner(n_startup_trials=_COMPARED, n_warmup_steps=2) if self._early else NopPruner()

    def _begun(self) -> int:
        return sum("job" in trial.user_attrs for trial in self._study.get_trials(deepcopy=False))

    def _over(self) -> bool:
        """Return whether no more trials are to begin, and those under way are to end."""
        if self._record.stopping:
            return True
        limit = self._config["ResourceLimits"].get("MaxRuntimeInSeconds")
        created = self._record.status["CreationTime"]
        if limit and (_seconds(now()) - _seconds(created)) > limit:
            return True
        found = tuning.summaries(self._record)
        failed = sum(each["ObjectiveStatus"] == "Failed" for each in found)
        if failed >= _HOPELESS and not any(each["ObjectiveStatus"] == "Succeeded" for each in found):
            return True
        target = self._config.get("TuningJobCompletionCriteria", {}).get("TargetObjectiveMetricValue")
        best = tuning.best(self._record, found)
        if target is None or best is None:
            return False
        value = best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
        return bool(value >= target if tuning.maximises(self._record) else value <= target)

    def _begin(self) -> FrozenTrial:
        trial = self._study.ask({name: each.distribution for name, each in self._ranges.items()})
        values = {name: each.text(trial.params[name]) for name, each in self._ranges.items()}
        job = f"{self._record.name}-{self._begun() + 1:03}-{secrets.token_hex(4)}"
        # Noted before it begins: whatever happens in between, no job is begun that nobody knows of.
        trial.set_user_attr("values", values)
        trial.set_user_attr("job", job)
        self._create(job, values)
        self._trials[trial.number] = trial
        return self._study.trials[trial.number]

    def _create(self, job: str, values: dict[str, str]) -> None:
        definition = tuning.trial(self._record.request["TrainingJobDefinition"])
        definition["HyperParameters"] = definition["HyperParameters"] | values
        definition["TrainingJobName"] = job
        if "CheckpointConfig" in definition:
            checkpoints = definition["CheckpointConfig"]
            definition["CheckpointConfig"] = checkpoints | {"S3Uri": f"{checkpoints['S3Uri'].rstrip('/')}/{job}"}
        training.create(self._record.store, definition, TuningJobArn=self._record.arn)

    def _follow(self, trial: FrozenTrial) -> bool:
        """Tell Optuna what has come of the trial; return whether it still runs."""
        if "job" not in trial.user_attrs:  # killed before it could begin, so its turn comes again
            self._study.tell(trial.number, state=TrialState.FAIL)
            self._study.enqueue_trial(trial.system_attrs.get("fixed_params", trial.params))
            return False
        name = trial.user_attrs["job"]
        try:
            job = self._record.store.find(training.KIND, name)
        except ServiceError:  # killed just then
            self._create(name, trial.user_attrs["values"])
            return True
        described = training.describe(job)
        status = described["TrainingJobStatus"]
        if status == "Failed" and described.get("Interrupted") and training.restart(job):
            return True
        reported = [each for each in training.metrics(job) if each["MetricName"] == self._metric]
        if status in ("InProgress", "Stopping"):
            if self._early:
                self._report(trial, job, {each["Epoch"]: each["Value"] for each in reported if "Epoch" in each})
            return True
        value = reported[-1]["Value"] if reported else math.nan
        if status == "Completed" and math.isfinite(value):
            self._study.tell(trial.number, value)
        elif status == "Stopped" and trial.intermediate_values:
            self._study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self._study.tell(trial.number, state=TrialState.FAIL)
        self._trials.pop(trial.number, None)
        return False

    def _report(self, trial: FrozenTrial, job: Record, epochs: dict[int, float]) -> None:
        """Report the epochs that are new, and stop the trial where Optuna finds it not worth its time."""
        if trial.number not in self._trials:  # begun by the process before this one
            self._trials[trial.number] = optuna.Trial(self._study, trial._trial_id)
        live = self._trials[trial.number]
        for step, value in epochs.items():
            if step not in trial.intermediate_values and math.isfinite(value):
                live.report(value, step)
                if live.should_prune():
                    job.ask_to_stop()
                    return


def _storage(file: Path) -> JournalStorage:
    """Return what Optuna keeps the study in: lines of JSON, for a database takes ten times as long.

    Only one process at a time uses it. One that was killed may have left half a line, and its lock.
    """
    if file.exists():
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
    for lock in file.parent.glob(f"{file.name}.*"):
        lock.unlink()
    return JournalStorage(JournalFileBackend(str(file)))


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
