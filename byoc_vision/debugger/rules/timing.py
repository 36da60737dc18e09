"""Rules over steps and start-up: steps that take far longer than others, a late start, too few loader workers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from byoc_vision.contract.job import PHASES
from byoc_vision.debugger.profile import Profile, Series
from byoc_vision.debugger.rules.base import Finding, NotApplicableError, NotRecordedError, ParameterError
from byoc_vision.debugger.rules.profiling import ProfilerRule, steps, system

#: Steps of a mode that must have been seen before one is called an outlier.
ENOUGH_STEPS = 100


@dataclass(eq=False)
class StepOutlier(ProfilerRule):
    """Fires when more than `n_outliers` (10) steps took longer than the mean + `stddev` (5) [3] standard deviations,
    once more than 100 steps were seen; training and evaluation apart, or only `mode` (TRAIN or EVAL).
    """

    advice = (
        "Look at what happens at these steps: checkpoints, the first batches of an epoch, another job on the machine."
    )

    stddev: float = 5
    mode: str | None = None
    n_outliers: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode is not None and self.mode.lower() not in ("train", "eval"):
            raise ParameterError(f"{self.rule_name}: mode must be TRAIN or EVAL and is {self.mode!r}.")

    def judge(self, profile: Profile) -> Iterable[Finding]:
        timings = steps(profile)
        for mode in [self.mode.lower()] if self.mode else ["train", "eval"]:
            chosen = timings.mode == mode
            duration, number_of = timings.duration[chosen], timings.step[chosen]
            if len(duration) <= ENOUGH_STEPS:
                continue
            self.judged = True
            limit = float(duration.mean() + self.stddev * duration.std())
            outliers = np.flatnonzero(duration > limit)
            if len(outliers) > self.n_outliers:
                worst = outliers[np.argmax(duration[outliers])]
                longest, median = duration[worst], np.median(duration)
                detail = f"{longest:.3g} s, the longest of {len(outliers):,} such {mode} steps (median {median:.3g} s)"
                yield Finding(int(number_of[worst]), "step time", float(duration[worst]), limit, detail)


@dataclass(eq=False)
class StalledTrainingRule(ProfilerRule):
    """Fires when `threshold` seconds (1800) passed between the beginnings of two steps. On request only; the managed
    rule also stops the job, which a report made afterwards cannot.
    """

    advice = "Look in the log for what the job waited for: the network, another worker, the file system."

    threshold: float = 1800

    def judge(self, profile: Profile) -> Iterable[Finding]:
        timings = steps(profile)
        self.judged = True
        waits = np.diff(timings.begin)
        for i in np.flatnonzero(waits > self.threshold):
            yield Finding(
                int(timings.step[i + 1]),
                "step",
                float(waits[i]),
                self.threshold,
                f"{waits[i]:.0f} s after the step before",
            )


@dataclass(eq=False)
class MaxInitializationTime(ProfilerRule):
    """Fires when the first step began more than `threshold` minutes (20) after the job, or none began for so long."""

    advice = "Use FastFile instead of File mode, and move work on the whole data set out of the job."

    threshold: float = 20

    def judge(self, profile: Profile) -> Iterable[Finding]:
        started, first = profile.run.get("started"), profile.run.get("first_step")
        if not isinstance(started, int | float):
            raise NotRecordedError("The job's start was not recorded.")
        detail = "minutes to the first step"
        if not isinstance(first, int | float):
            if profile.system is None or profile.script:
                raise NotRecordedError("The first step was not recorded.")
            first, detail = float(profile.system.time.max()), "minutes, and no step began"
        self.judged = True
        minutes = (first - started) / 60
        if minutes > self.threshold:
            yield Finding(None, "start-up", minutes, self.threshold, f"{minutes:.1f} {detail}")


@dataclass(eq=False)
class Dataloader(ProfilerRule):
    """Fires when the number of loader workers is below `min_threshold` per cent (70) of the cores, or above
    `max_threshold` (200).

    The documentation takes the median over time; a job's number of workers is the same throughout.
    """

    advice = "Set workers to the number of cores, or leave it out: that is its default."

    min_threshold: float = 70
    max_threshold: float = 200

    def judge(self, profile: Profile) -> Iterable[Finding]:
        cores, workers = profile.run.get("cores"), profile.run.get("workers")
        if not isinstance(cores, int) or cores < 1:
            raise NotRecordedError("The numbers of cores and loader workers were not recorded.")
        if profile.script:
            raise NotRecordedError("The number of loader workers of a script is not recorded.")
        if workers is None:
            raise NotApplicableError("The job used no data loader.")
        self.judged = True
        share = 100 * workers / cores
        if share < self.min_threshold:
            yield Finding(None, "loader", share, self.min_threshold, f"{workers} workers for {cores} cores")
        elif share > self.max_threshold:
            yield Finding(None, "loader", share, self.max_threshold, f"{workers} workers for {cores} cores")


def spread(values: Series) -> dict[str, float]:
    """Return the percentiles of a series that the statistics have."""
    values = values[np.isfinite(values)]
    if not values.size:
        return {}
    marks = dict(zip(("min", "p50", "p95", "p99", "max"), np.percentile(values, [0, 50, 95, 99, 100]), strict=True))
    return {name: round(float(value), 4) for name, value in marks.items()}


class OverallSystemUsage(ProfilerRule):
    """Never fires: percentiles of every resource's utilisation, for the report."""

    def judge(self, profile: Profile) -> Iterable[Finding]:
        metrics = system(profile)
        self.judged = True
        table = {"cpu": metrics.cpu.mean(axis=1), "iowait": metrics.iowait, "memory": metrics.memory}
        for k in range(metrics.gpu.shape[1]):
            table[f"gpu_{k}"] = metrics.gpu[:, k]
        for k in range(metrics.gpu_memory.shape[1]):
            table[f"gpu_memory_{k}"] = metrics.gpu_memory[:, k]
        self.statistics = {name: marks for name, values in table.items() if (marks := spread(values))}
        return ()


class OverallFrameworkMetrics(ProfilerRule):
    """Never fires: seconds spent in each part of the steps, and percentiles of a step's time, for the report."""

    def judge(self, profile: Profile) -> Iterable[Finding]:
        timings = steps(profile)
        self.judged = True
        for mode in ("train", "eval"):
            chosen = timings.mode == mode
            if not chosen.any():
                continue
            facts: dict[str, Any] = {
                f"{name}_seconds": round(float(timings.parts[name][chosen].sum()), 3) for name in PHASES
            }
            self.statistics[mode] = {"steps": int(chosen.sum())} | facts | {"step": spread(timings.duration[chosen])}
        return ()
