"""Optuna's study of one definition's training jobs: what they were tried with, and what comes next."""

import math
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from byoc_vision.local import ranges, training, tuning
from byoc_vision.local.store import Record, Request, ServiceError

#: Trials that must have reached an epoch before another is stopped for being worse there than their median.
_COMPARED = 3


class Study:
    """The trials of one definition; about `share` of the tuning job's are its own."""

    def __init__(self, record: Record, definition: Request, share: float) -> None:
        self._record, self._definition, self._share = record, definition, share
        self._config = record.request["HyperParameterTuningJobConfig"]
        self._space = definition["HyperParameterRanges"]
        self._ranges = ranges.ranges(self._space)
        self._metric = definition["TuningObjective"]["MetricName"]
        self._early = (
            self._config["Strategy"] == "Hyperband" or self._config.get("TrainingJobEarlyStoppingType") == "Auto"
        )
        self._study = self._open()
        self._live: dict[int, optuna.Trial] = {}

    @property
    def size(self) -> float:
        """The number of trials there can be."""
        return ranges.grid_size(self._space) if self._config["Strategy"] == "Grid" else math.inf

    @property
    def begun(self) -> int:
        """The number of trials that were begun."""
        return sum("job" in trial.user_attrs for trial in self.trials())

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in one of the states, or all."""
        return self._study.get_trials(deepcopy=False, states=states or None)

    def follow(self) -> int:
        """Tell Optuna what has come of the trials under way; return how many still run."""
        return sum([self._follow(trial) for trial in self.trials(TrialState.RUNNING)])

    def stop(self) -> None:
        """Ask all trials under way for their end."""
        for trial in self.trials(TrialState.RUNNING):
            if "job" in trial.user_attrs:
                with suppress(ServiceError):
                    self._record.store.find(training.KIND, trial.user_attrs["job"]).ask_to_stop()

    def begin(self, name: str) -> None:
        """Begin the next trial, a training job whose name begins with `name`."""
        trial = self._study.ask({name: range_.distribution for name, range_ in self._ranges.items()})
        values = {name: range_.text(trial.params[name]) for name, range_ in self._ranges.items()}
        job = f"{name}-{secrets.token_hex(4)}"
        # Noted before it begins: whatever happens in between, no job is begun that nobody knows of.
        trial.set_user_attr("values", values)
        trial.set_user_attr("job", job)
        self._create(job, values)
        self._live[trial.number] = trial

    @property
    def _name(self) -> str:
        name = self._definition.get("DefinitionName")
        return f"study-{name}" if name else "study"

    def _open(self) -> optuna.Study:
        study = optuna.create_study(
            storage=_storage(self._record.folder / f"{self._name}.log"),
            study_name=self._record.name,
            load_if_exists=True,
            direction="maximize" if tuning.maximises(self._record) else "minimize",
            pruner=self._pruner(),
        )
        if not study.get_trials(deepcopy=False):
            study.add_trials(self._inherited())
        study.sampler = self._sampler(len(study.get_trials(deepcopy=False)))
        if self._config["Strategy"] == "Grid":
            for values in ranges.grid(self._space):
                study.enqueue_trial(values, skip_if_exists=True)
        return study

    def _inherited(self) -> Iterator[FrozenTrial]:
        """Yield the trials of the job's parents that lie in its ranges."""
        distributions = {name: range_.distribution for name, range_ in self._ranges.items()}
        for parent in tuning.parents(self._record.store, self._record.request):
            for summary in tuning.summaries(parent):
                metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric", {})
                with suppress(KeyError, ValueError):  # another hyperparameter, or a value out of range
                    if summary["ObjectiveStatus"] == "Succeeded" and metric["MetricName"] == self._metric:
                        texts = summary["TunedHyperParameters"]
                        values = {name: range_.value(texts[name]) for name, range_ in self._ranges.items()}
                        yield create_trial(params=values, distributions=distributions, value=metric["Value"])

    def _sampler(self, done: int) -> BaseSampler:
        # What continues a search must not draw again what its beginning has drawn.
        seed = self._config.get("RandomSeed")
        seed = None if seed is None else (seed + done) % 2**32
        if self._config["Strategy"] in ("Random", "Grid"):
            return RandomSampler(seed)
        # Optuna draws ten trials at random before it looks at results; few tuning jobs are so long.
        first = 10 if math.isinf(self._share) else max(2, min(10, int(self._share) // 3))
        return TPESampler(seed=seed, n_startup_trials=first, constant_liar=True)

    def _pruner(self) -> BasePruner:
        if self._config["Strategy"] == "Hyperband":
            resources = self._config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
            return HyperbandPruner(resources.get("MinResource", 1), resources.get("MaxResource", "auto"))
        return MedianPruner(n_startup_trials=_COMPARED, n_warmup_steps=2) if self._early else NopPruner()

    def _create(self, job: str, values: dict[str, str]) -> None:
        definition = tuning.trial(self._definition)
        definition["HyperParameters"] = definition["HyperParameters"] | values
        definition["TrainingJobName"] = job
        if "CheckpointConfig" in definition:
            checkpoints = definition["CheckpointConfig"]
            definition["CheckpointConfig"] = checkpoints | {"S3Uri": f"{checkpoints['S3Uri'].rstrip('/')}/{job}"}
        named = {field: self._definition[field] for field in ("DefinitionName",) if field in self._definition}
        training.create(self._record.store, definition, TuningJobArn=self._record.arn, **named)

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
        reported = [metric for metric in training.metrics(job) if metric["MetricName"] == self._metric]
        if status in ("InProgress", "Stopping"):
            if self._early:
                self._report(trial, job, {metric["Epoch"]: metric["Value"] for metric in reported if "Epoch" in metric})
            return True
        value = reported[-1]["Value"] if reported else math.nan
        if status == "Completed" and math.isfinite(value):
            self._study.tell(trial.number, value)
        elif status == "Stopped" and trial.intermediate_values:
            self._study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self._study.tell(trial.number, state=TrialState.FAIL)
        self._live.pop(trial.number, None)
        return False

    def _report(self, trial: FrozenTrial, job: Record, epochs: dict[int, float]) -> None:
        """Report the epochs that are new, and stop the trial where Optuna finds it not worth its time."""
        if trial.number not in self._live:  # begun by the process before this one
            self._live[trial.number] = optuna.Trial(self._study, trial._trial_id)
        live = self._live[trial.number]
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
