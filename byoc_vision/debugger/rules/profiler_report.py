"""The rule that runs the other profiler rules."""

from collections.abc import Iterable
from dataclasses import replace

from byoc_vision.debugger.profile import Profile
from byoc_vision.debugger.rules.base import Finding, NotApplicableError, NotRecordedError, ParameterError
from byoc_vision.debugger.rules.profiling import ProfilerRule
from byoc_vision.debugger.rules.timing import (
    Dataloader,
    MaxInitializationTime,
    OverallFrameworkMetrics,
    OverallSystemUsage,
    StepOutlier,
)
from byoc_vision.debugger.rules.utilisation import (
    BatchSize,
    CPUBottleneck,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
)

#: The profiler rules that run when none are asked for, but for the one that runs these.
RULES: tuple[type[ProfilerRule], ...] = (
    LowGPUUtilization, CPUBottleneck, IOBottleneck, BatchSize, GPUMemoryIncrease, StepOutlier, LoadBalancing,
    MaxInitializationTime, Dataloader, OverallSystemUsage, OverallFrameworkMetrics,
)  # fmt: skip


class ProfilerReport(ProfilerRule):
    """Fires when one of the other profiler rules does. A parameter of theirs is called `<Rule>_<parameter>` here."""

    advice = "See the rules it names."

    def __init__(self, **parameters: str) -> None:
        super().__init__()
        options: dict[str, dict[str, str]] = {rule.__name__: {} for rule in RULES}
        for key, value in parameters.items():
            rule, _, name = key.partition("_")
            if rule not in options:
                raise ParameterError(f"{self.rule_name}: {key} is not of the form <Rule>_<parameter>.")
            options[rule][name] = value
        try:
            self.rules = [rule(**options[rule.__name__]) for rule in RULES]
        except TypeError as error:
            raise ParameterError(f"{self.rule_name}: {error}.") from None

    def judge(self, profile: Profile) -> Iterable[Finding]:
        for rule in self.rules:
            try:
                findings = list(rule.judge(profile))
            except (NotRecordedError, NotApplicableError):
                continue
            self.judged = True
            if findings:
                yield replace(findings[0], tensor=f"{rule.rule_name}, {findings[0].tensor}")
        if not self.judged:
            raise NotRecordedError("No profile was recorded.")
