"""What the profiler rules share: a rule judges a whole `Profile` and keeps the evidence."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from byoc_vision.debugger.profile import Profile, Series, Steps, System
from byoc_vision.debugger.rules.base import Finding, NotApplicableError, NotRecordedError, Rule


class ProfilerRule(Rule):
    """A rule over a job's profile. Subclasses implement `judge`; `judged` is False where there was too little data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.judged = False
        self.statistics: dict[str, Any] = {}

    def judge(self, profile: Profile) -> Iterable[Finding]:
        """Yield what is wrong. Raises `NotRecordedError` and `NotApplicableError`."""
        raise NotImplementedError


def system(profile: Profile) -> System:
    """Return the utilisation, or raise `NotRecordedError`."""
    if profile.system is None:
        raise NotRecordedError("Utilisation was not recorded.")
    return profile.system


def system_with_gpu(profile: Profile) -> System:
    """Return the utilisation of a job that had a GPU, or raise `NotApplicableError`."""
    metrics = system(profile)
    if metrics.gpu.shape[1] == 0:
        raise NotApplicableError("The job had no GPU.")
    return metrics


def steps(profile: Profile) -> Steps:
    """Return the times of the steps, or raise `NotRecordedError`."""
    if profile.steps is None:
        raise NotRecordedError("The times of single steps were not recorded.")
    return profile.steps


def gpus(table: Series) -> Iterator[tuple[str, Series]]:
    """Yield each GPU's name and samples."""
    for k in range(table.shape[1]):
        yield f"GPU {k}", table[:, k][np.isfinite(table[:, k])]


def windows(samples: int, window: int, patience: int) -> Iterator[slice]:
    """Yield the windows that are judged: the last `window` samples once `patience` samples are there, then after every
    further `window`, and at the end. A job's managed rules look every minute; this looks as often as there is a window
    of new samples.
    """
    first = max(window, patience)
    ends = list(range(first, samples + 1, window))
    if ends and ends[-1] != samples:
        ends.append(samples)
    for end in ends:
        yield slice(end - window, end)
