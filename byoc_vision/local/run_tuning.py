"""Sees one tuning job through, in a process of its own: Optuna says what to try next, training jobs try it.

Both keep what they know on disk, so a process that is killed at any moment can be followed by another: trials that were
under way have gone on meanwhile, or are begun again when they were interrupted, too.
"""

import math
from datetime import datetime
from operator import attrgetter

import optuna

from byoc_vision.local import tuning
from byoc_vision.local.process import woken_by_children
from byoc_vision.local.store import Record, Request, now
from byoc_vision.local.studies import Study

#: Seconds between two looks at the trials, unless one ends: a look costs milliseconds of what they compute with.
_PAUSE = 0.5

#: After so many failed trials and not one that succeeded, the next ones would fail, too.
_HOPELESS = 3


def run(record: Record) -> None:
    """Run the trials; the status tells how the job ended."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = Search(record)
    try:
        with woken_by_children() as wait:
            while search.step():
                wait(_PAUSE)
    except BaseException:
        search.stop()
        raise
    summaries = tuning.summaries(record)
    ended: Request = {"HyperParameterTuningJobStatus": "Stopped" if record.stopping else "Completed"}
    if not record.stopping and tuning.best(record, summaries) is None:
        failed = next((summary for summary in summaries if summary["TrainingJobStatus"] == "Failed"), {})
        metric = tuning.definitions(record.request)[0]["TuningObjective"]["MetricName"]
        reason = failed.get("FailureReason", f"no log line gave the objective metric {metric}")
        reason = f"No training job succeeded: {reason}"[:1024]
        ended = {"HyperParameterTuningJobStatus": "Failed", "FailureReason": reason}
    record.update(HyperParameterTuningEndTime=now(), **ended)


class Search:
    """The trials of one tuning job, of all its definitions of training jobs."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._config = record.request["HyperParameterTuningJobConfig"]
        limits = self._config["ResourceLimits"]
        self._parallel = limits["MaxParallelTrainingJobs"]
        self._total = limits.get("MaxNumberOfTrainingJobs", math.inf)
        definitions = tuning.definitions(record.request)
        self.studies = [Study(record, definition, self._total / len(definitions)) for definition in definitions]
        self._judged, self._enough = 0, False

    def step(self) -> bool:
        """Look after the trials under way and begin the next ones; return whether there is more to do."""
        running = sum(study.follow() for study in self.studies)
        over = self._over(self._begun() - running)
        while not over and running < self._parallel and (study := self._next()):
            study.begin(f"{self._record.name}-{self._begun() + 1:03}")
            running += 1
        if over:
            self.stop()
        return bool(running)

    def stop(self) -> None:
        """Ask all trials under way for their end."""
        for study in self.studies:
            study.stop()

    def _begun(self) -> int:
        return sum(study.begun for study in self.studies)

    def _next(self) -> Study | None:
        """Return the study that is to begin a trial: the definitions take turns."""
        if self._begun() >= self._total:
            return None
        return min((study for study in self.studies if study.begun < study.size), key=attrgetter("begun"), default=None)

    def _over(self, ended: int) -> bool:
        """Return whether no more trials are to begin, and those under way are to end, now that so many have `ended`."""
        if self._record.stopping:
            return True
        limit = self._config["ResourceLimits"].get("MaxRuntimeInSeconds")
        if limit and (_seconds(now()) - _seconds(self._record.status["CreationTime"])) > limit:
            return True
        if ended != self._judged:
            self._judged, self._enough = ended, self._is_enough()
        return self._enough

    def _is_enough(self) -> bool:
        """Return whether the trials that have ended are enough, for better or worse."""
        summaries = tuning.summaries(self._record)
        failed = sum(summary["ObjectiveStatus"] == "Failed" for summary in summaries)
        if failed >= _HOPELESS and not any(summary["ObjectiveStatus"] == "Succeeded" for summary in summaries):
            return True
        criteria = self._config.get("TuningJobCompletionCriteria", {})
        best = tuning.best(self._record, summaries)
        if best is None:
            return False
        patience = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving", math.inf)
        ended = [summary for summary in summaries if summary["ObjectiveStatus"] != "Pending"]
        if sum(summary["CreationTime"] > best["CreationTime"] for summary in ended) >= patience:
            return True
        target = criteria.get("TargetObjectiveMetricValue")
        if target is None:
            return False
        value = best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
        return bool(value >= target if tuning.maximises(self._record) else value <= target)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
