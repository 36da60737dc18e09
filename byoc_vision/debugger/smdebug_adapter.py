"""The tensor rules under smdebug: over any trial of smdebug's, also of a job that still runs, and by its means.

from smdebug.rules import invoke_rule
from smdebug.trials import create_trial

invoke_rule(SmdebugRule(create_trial("s3://…"), Overfit, patience=2))
"""

import os
from collections.abc import Collection, Iterable, Mapping

os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")  # Read when it is imported, and then it tells of itself.

import numpy as np
import smdebug.rules
import smdebug.trials.trial
from smdebug.exceptions import StepUnavailable, TensorUnavailableForStep

from byoc_vision.debugger.rules.base import Finding, TensorRule
from byoc_vision.debugger.trial import Array, Mode, TensorCollection


class SmdebugTrial:
    """A trial of smdebug's as a `Trial`."""

    def __init__(self, trial: smdebug.trials.trial.Trial) -> None:
        self._trial = trial

    @property
    def steps(self) -> Mapping[int, Iterable[str]]:
        steps: Mapping[int, Iterable[str]] = self._trial.global_step_to_tensors_map
        return steps

    @property
    def modes(self) -> Collection[Mode]:
        return {Mode(mode.value) for mode in self._trial.modes()}

    @property
    def collections(self) -> Mapping[str, TensorCollection]:
        recorded = self._trial.collections().items()
        return {name: TensorCollection(it.include_regex or (), it.tensor_names) for name, it in recorded}

    @property
    def ended(self) -> bool:
        return bool(self._trial.loaded_all_steps)

    def mode_step(self, step: int) -> tuple[Mode, int]:
        mode, number = self._trial.mode_modestep(step)
        return Mode(mode.value), number

    def value(self, name: str, step: int) -> Array | None:
        try:
            return np.asarray(self._trial.tensor(name).value(step))
        except (TensorUnavailableForStep, StepUnavailable):
            return None

    def reduction(self, name: str, step: int, reduction: str, absolute: bool = False) -> float | None:
        try:
            return float(self._trial.tensor(name).reduction_value(step, reduction, abs=absolute))
        except (TensorUnavailableForStep, StepUnavailable):
            return None


class SmdebugRule(smdebug.rules.Rule):  # type: ignore[misc]
    """One of the tensor rules, with its parameters, as a rule of smdebug's; `findings` is why it fired."""

    def __init__(self, base_trial: smdebug.trials.trial.Trial, rule: type[TensorRule], **parameters: object) -> None:
        super().__init__(base_trial, action_str="")
        self.rule_name = rule.__name__
        self._rule = rule(SmdebugTrial(base_trial), **parameters)

    @property
    def findings(self) -> list[Finding]:
        return self._rule.findings

    def invoke_at_step(self, step: int) -> bool:
        """Return whether the rule fires at the global `step`."""
        return self._rule.invoke_at_step(step)
