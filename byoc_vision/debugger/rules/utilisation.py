"""Rules over utilisation: GPUs that wait, for the CPU, for the disk or for bigger batches; memory that grows.

Percentages of a sample are of the 500 ms before it. Thresholds are the documented defaults (developer guide, "List of
Debugger built-in rules"); the last public code differed in a few, which stand in brackets.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from byoc_vision.debugger.profile import Profile, Series, System
from byoc_vision.debugger.rules.base import Finding, at_least
from byoc_vision.debugger.rules.profiling import ProfilerRule, gpus, system_with_gpu, windows

#: Width in per cent of the bars of LoadBalancing's histograms.
BAR = 2


@dataclass(eq=False)
class LowGPUUtilization(ProfilerRule):
    """Fires when over a `window` (500 samples) the 95th percentile of a GPU's load is below `threshold_p95` (70: under-
    used), or above it while the 5th is below `threshold_p5` (10: fluctuating); not before `patience` (1000) samples.
    """

    advice = (
        "Use more loader workers or cheaper augmentation where the CPU is busy; else a larger batch or a smaller GPU."
    )

    threshold_p95: float = 70
    threshold_p5: float = 10
    window: int = at_least(1, 500)
    patience: int = 1000

    def judge(self, profile: Profile) -> Iterable[Finding]:
        for name, load in gpus(system_with_gpu(profile).gpu):
            for part in windows(len(load), self.window, self.patience):
                self.judged = True
                low, high = np.percentile(load[part], [5, 95])
                if high < self.threshold_p95:
                    detail = f"under-used, p95 {high:.0f} %, up to sample {part.stop:,}"
                    yield Finding(None, name, high, self.threshold_p95, detail)
                elif high > self.threshold_p95 and low < self.threshold_p5:
                    detail = f"fluctuating, p5 {low:.0f} % and p95 {high:.0f} %, up to sample {part.stop:,}"
                    yield Finding(None, name, low, self.threshold_p5, detail)


class _Bottleneck(ProfilerRule):
    """Fires when in more than `threshold` per cent of all samples a GPU is idle while something else is busy."""

    threshold: float
    gpu_threshold: float
    patience: int
    what: ClassVar[str]

    def busy(self, metrics: System) -> tuple[Series, float]:
        """Return the load [N] that keeps the GPUs waiting, and the load above which it does."""
        raise NotImplementedError

    def judge(self, profile: Profile) -> Iterable[Finding]:
        metrics = system_with_gpu(profile)
        if len(metrics.time) < max(1, self.patience):
            return
        self.judged = True
        load, limit = self.busy(metrics)
        idle = (metrics.gpu < self.gpu_threshold).any(axis=1)
        share = 100 * float(np.mean((load > limit) & idle))
        if share > self.threshold:
            detail = f"above {limit:g} % while a GPU is below {self.gpu_threshold:g} %, in {share:.0f} % of the samples"
            yield Finding(None, self.what, share, self.threshold, detail)


@dataclass(eq=False)
class CPUBottleneck(_Bottleneck):
    """Fires when in more than `threshold` per cent (50) of the samples a GPU is below `gpu_threshold` (10) while a core
    is above `cpu_threshold` (90); not before `patience` (100) samples [1000].
    """

    advice = "Use a machine with more cores per GPU, more loader workers, or smaller pictures prepared beforehand."
    what = "CPU"

    threshold: float = 50
    gpu_threshold: float = 10
    cpu_threshold: float = 90
    patience: int = 100

    def busy(self, metrics: System) -> tuple[Series, float]:
        return metrics.cpu.max(axis=1, initial=0), self.cpu_threshold


@dataclass(eq=False)
class IOBottleneck(_Bottleneck):
    """Fires when in more than `threshold` per cent (50) of the samples a GPU is below `gpu_threshold` (70) [10] while
    the wait for I/O is above `io_threshold` (50); not before `patience` (1000) samples.
    """

    advice = "Use FastFile or a larger volume, or store fewer, larger files."
    what = "waiting for I/O"

    threshold: float = 50
    gpu_threshold: float = 70
    io_threshold: float = 50
    patience: int = 1000

    def busy(self, metrics: System) -> tuple[Series, float]:
        return metrics.iowait, self.io_threshold


@dataclass(eq=False)
class BatchSize(ProfilerRule):
    """Fires when over a `window` (500 samples) the 95th percentiles of the mean load of the cores, of a GPU's load and
    of its memory are all below their thresholds (70 each); not before `patience` (100) samples [1000].
    """

    advice = "Use a larger batch, or a smaller instance."

    cpu_threshold_p95: float = 70
    gpu_threshold_p95: float = 70
    gpu_memory_threshold_p95: float = 70
    patience: int = 100
    window: int = at_least(1, 500)

    def judge(self, profile: Profile) -> Iterable[Finding]:
        metrics = system_with_gpu(profile)
        cpu = metrics.cpu.mean(axis=1)
        for part in windows(len(metrics.time), self.window, self.patience):
            self.judged = True
            for (name, load), (_, memory) in zip(gpus(metrics.gpu[part]), gpus(metrics.gpu_memory[part]), strict=False):
                if not load.size or not memory.size:
                    continue
                high = [float(np.percentile(series, 95)) for series in (cpu[part], load, memory)]
                limits = self.cpu_threshold_p95, self.gpu_threshold_p95, self.gpu_memory_threshold_p95
                if all(value < limit for value, limit in zip(high, limits, strict=True)):
                    detail = f"p95 {high[1]:.0f} %, memory {high[2]:.0f} %, CPU {high[0]:.0f} %, up to {part.stop:,}"
                    yield Finding(None, name, high[1], self.gpu_threshold_p95, detail)


@dataclass(eq=False)
class GPUMemoryIncrease(ProfilerRule):
    """Fires when the mean of a GPU's memory over a `window` (500 samples) [10] is more than `increase` per cent points
    (10) [5] above that of the window before; not before `patience` (100) samples [1000].
    """

    advice = "Look for tensors kept from step to step: losses added up without .item() or .detach(), growing lists."

    increase: float = 10
    patience: int = 100
    window: int = at_least(1, 500)

    def judge(self, profile: Profile) -> Iterable[Finding]:
        for name, memory in gpus(system_with_gpu(profile).gpu_memory):
            for part in windows(len(memory), self.window, max(self.patience, 2 * self.window)):
                self.judged = True
                before = memory[part.start - self.window : part.start]
                increase = float(memory[part].mean() - before.mean())
                if increase > self.increase:
                    detail = f"memory up by {increase:.3g} points at sample {part.stop:,}"
                    yield Finding(None, name, increase, self.increase, detail)


@dataclass(eq=False)
class LoadBalancing(ProfilerRule):
    """Fires when the Jensen-Shannon distance of the histograms of two GPUs' loads is above `threshold` (0.5) [0.2]; not
    before `patience` (10) samples [1000].

    Bars are 2 per cent wide and the logarithm is natural, as in the last public code: from 0, equal, to 0.83, disjoint.
    """

    advice = "Give every GPU the same share of the batch, and check that nothing else runs on one of them."

    threshold: float = 0.5
    patience: int = 10

    def judge(self, profile: Profile) -> Iterable[Finding]:
        loads = [load for _, load in gpus(system_with_gpu(profile).gpu)]
        for k, one in enumerate(loads):
            for j, other in enumerate(loads[:k]):
                if min(len(one), len(other)) < max(1, self.patience):
                    continue
                self.judged = True
                distance = jensen_shannon(one, other)
                if distance > self.threshold:
                    detail = f"Jensen-Shannon distance of the loads {distance:.3g}"
                    yield Finding(None, f"GPU {j} and GPU {k}", distance, self.threshold, detail)
        if len(loads) == 1:
            self.judged = True


def jensen_shannon(one: Series, other: Series) -> float:
    """Return the distance of two loads' histograms, with the natural logarithm."""
    bars = np.arange(0, 100 + BAR, BAR)
    p, q = (np.histogram(np.clip(load, 0, 100), bins=bars)[0] / len(load) for load in (one, other))
    middle = (p + q) / 2
    halves = (np.sum(part[part > 0] * np.log(part[part > 0] / middle[part > 0])) for part in (p, q))
    return float(np.sqrt(max(0.0, sum(halves) / 2)))
