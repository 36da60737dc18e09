"""Each profiler rule about GPUs, made to fire and not to, on the load of real GPUs as our profiler records it.

Without a GPU a program that stands in for nvidia-smi says what the load would be.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.gpu.rows import Row, main, needs_gpu
from bench.gpu.scenes import SAMPLES, SCENES, recorded
from bench.gpu.setting import Setting
from byoc_vision.debugger.profile import Profile
from byoc_vision.debugger.rules.profiling import ProfilerRule
from byoc_vision.debugger.rules.utilisation import (
    BatchSize,
    CPUBottleneck,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
)


@dataclass(frozen=True)
class Case:
    """A rule, the scene that it fires in, the one that it does not, and its parameters for so few samples."""

    rule: type[ProfilerRule]
    fires: str
    quiet: str
    parameters: Callable[[int], dict[str, Any]]
    gpus: int = 1


#: Windows are a third of the samples; the defaults want minutes. The processor's load is not the bench's to choose, so
#: BatchSize is judged without it; nor is the wait for a disk, which counts as long enough for IOBottleneck at 0 %.
CASES = (
    Case(LowGPUUtilization, "idle", "busy", lambda third: {"window": third, "patience": third}),
    Case(CPUBottleneck, "idle", "busy", lambda third: {"patience": third}),
    Case(IOBottleneck, "idle", "busy", lambda third: {"patience": third, "io_threshold": -1}),
    Case(BatchSize, "idle", "busy", lambda third: {"window": third, "patience": third, "cpu_threshold_p95": 101}),
    Case(GPUMemoryIncrease, "growing", "busy", lambda third: {"window": third, "patience": 2 * third}),
    Case(LoadBalancing, "uneven", "busy", lambda third: {"patience": third}, gpus=2),
)


def each_rule(setting: Setting) -> Iterator[Row]:
    """Make each rule fire and not fire."""
    seen: dict[str, Profile] = {}
    for name in SCENES:
        if name == "uneven" and setting.gpus == 1:
            continue
        seen[name] = recorded(setting, name)
        system = seen[name].system
        count = 0 if system is None else len(system.time)
        yield Row(f"scene {name!r}: samples", str(count), f"≥ {SAMPLES}", count >= SAMPLES)
        if system is not None and system.gpu.shape[1]:
            yield Row(f"scene {name!r}: mean load and memory of the first GPU, %",
                      f"{system.gpu[:, 0].mean():.0f}, {system.gpu_memory[:, 0].mean():.0f}")  # fmt: skip
    for case in CASES:
        for name, wanted in ((case.fires, True), (case.quiet, False)):
            what = f"{case.rule.__name__} on {name!r}"
            if name not in seen:
                yield needs_gpu(what, case.gpus)
                continue
            profile = seen[name]
            third = (len(profile.system.time) if profile.system else 0) // 3
            rule = case.rule(**case.parameters(third))
            findings = list(rule.judge(profile))
            said = findings[0].detail if findings else "nothing" if rule.judged else "not judged"
            yield Row(what, said, "fires" if wanted else "does not", bool(findings) == wanted and rule.judged)


CHECKS = (each_rule,)

if __name__ == "__main__":
    main(CHECKS)
