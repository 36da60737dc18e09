"""What the tensor rules share: parameters that may be text, tensors or their reductions, and evidence."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from smdebug.core.modes import ModeKeys
from smdebug.exceptions import StepUnavailable, TensorUnavailableForStep
from smdebug.rules import Rule

Array = NDArray[Any]

#: How PyTorch's losses are named, for recordings without collections.
LOSS = r"[Ll]oss\w*_output_"


class ParameterError(ValueError):
    """A rule was given a parameter it cannot use; the message is one sentence."""


class NotApplicableError(Exception):
    """The rule is about something this job did not have; the message is one sentence."""


class NotRecordedError(Exception):
    """The job did not record what the rule reads; the message is one sentence."""


@dataclass(frozen=True)
class Finding:
    """Why a rule fired: `value` of `tensor` (or of a resource) at `step` is on the wrong side of `threshold`, in words
    `detail`.
    """

    step: int | None
    tensor: str
    value: float
    threshold: float
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON can hold it: NaN and infinity as text."""
        content = asdict(self)
        for key in ("value", "threshold"):
            if not np.isfinite(content[key]):
                content[key] = str(content[key])
        return content


def number(rule: str, name: str, value: object) -> float:
    """Return a parameter as a number; the service sends parameters as text."""
    try:
        return float(str(value))
    except ValueError:
        raise ParameterError(f"{rule}: {name} must be a number and is {value!r}.") from None


def whole(rule: str, name: str, value: object, least: int = 0) -> int:
    """Return a parameter as a whole number not below `least`."""
    result = number(rule, name, value)
    if result != int(result) or result < least:
        raise ParameterError(f"{rule}: {name} must be a whole number, at least {least}, and is {value!r}.")
    return int(result)


def flag(rule: str, name: str, value: object) -> bool:
    """Return a parameter as yes or no."""
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ParameterError(f"{rule}: {name} must be True or False and is {value!r}.")
    return text == "true"


def words(value: str | list[str] | None) -> list[str]:
    """Return a parameter that is a list, or text with commas."""
    items = value.split(",") if isinstance(value, str) else value or []
    return [item.strip() for item in items if item.strip()]


class TensorRule(Rule):  # type: ignore[misc]
    """A rule over a trial's tensors.

    `findings` is why it fired, `seen` how often there was something it reads, `judged` how often enough to judge. Works
    on full tensors and on recorded reductions. `reads` says in words what it needs, `advice` what to do once it has
    fired. Subclasses implement `judge`.
    """

    reads: ClassVar[str]
    advice: ClassVar[str]

    def __init__(self, base_trial: Any) -> None:
        super().__init__(base_trial, action_str="")
        self.findings: list[Finding] = []
        self.seen = self.judged = 0
        self._names: dict[tuple[object, ...], list[str]] = {}
        self._last_step: int | None = None

    def judge(self, step: int) -> Iterator[Finding]:
        """Yield what is wrong at the global `step`."""
        raise NotImplementedError

    def invoke_at_step(self, step: int) -> bool:
        """Return whether the rule fires at the global `step`; `findings` then has the evidence."""
        found = list(self.judge(step))
        self.findings += found
        return bool(found)

    def check(self) -> None:
        """Raise `NotRecordedError` when, after the last step, nothing of what the rule reads has been seen."""
        if not self.seen:
            raise NotRecordedError(f"{self.reads} were not recorded.")

    # -- what was recorded -------------------------------------------------------------------------------------------

    def names(self, step: int, collections: list[str], patterns: list[str]) -> list[str]:
        """Return the tensors saved at `step` that are of one of the `collections` or match one of the `patterns`."""
        saved = self.base_trial.global_step_to_tensors_map.get(step, ())
        key = (frozenset(saved), *collections, *patterns)  # Most steps save the same tensors.
        if key not in self._names:
            self._names[key] = sorted(name for name in saved if self._chooses(name, collections, patterns))
        return self._names[key]

    def losses(self, step: int, patterns: list[str]) -> dict[str, float]:
        """Return the losses saved at `step`: those that match `patterns`, or without any the collection `losses`."""
        names = self.names(step, [], patterns) if patterns else self.names(step, ["losses"], [LOSS])
        return {name: value for name in names if (value := self.mean(name, step)) is not None}

    def _chooses(self, name: str, collections: list[str], patterns: list[str]) -> bool:
        recorded = self.base_trial.collections()  # Its `collection` makes those that were not.
        known = [recorded[collection] for collection in collections if collection in recorded]
        regexes = [regex for collection in known for regex in collection.include_regex or []] + patterns
        return any(name in collection.tensor_names for collection in known) or any(
            re.search(regex, name) for regex in regexes
        )

    def mode(self, step: int) -> ModeKeys:
        """Return the mode of a global step."""
        mode, _ = self.base_trial.mode_modestep(step)
        return mode

    def full(self, name: str, step: int) -> Array | None:
        """Return a tensor's values at `step`, or None where only reductions were recorded."""
        try:
            return np.asarray(self.base_trial.tensor(name).value(step))
        except (TensorUnavailableForStep, StepUnavailable):
            return None

    def reduced(self, name: str, step: int, reduction: str, absolute: bool = False) -> float | None:
        """Return a reduction of a tensor at `step`, recorded or computed; None where neither can be."""
        try:
            return float(self.base_trial.tensor(name).reduction_value(step, reduction, abs=absolute))
        except (TensorUnavailableForStep, StepUnavailable):
            return None

    def mean(self, name: str, step: int) -> float | None:
        """Return a tensor's mean at `step`; of a scalar, such as a loss, that is its value."""
        values = self.full(name, step)
        return float(values.item()) if values is not None and values.size == 1 else self.reduced(name, step, "mean")

    def variance(self, name: str, step: int) -> float | None:
        """Return a tensor's variance at `step`, from its values or the reductions `variance` or `std`."""
        value = self.reduced(name, step, "variance")
        if value is None:
            std = self.reduced(name, step, "std")
            return None if std is None else std**2
        return value

    def is_last(self, step: int) -> bool:
        """Return whether a global step is the last one of a job that has ended."""
        if not self.base_trial.loaded_all_steps:
            return False
        if self._last_step is None:
            self._last_step = max(self.base_trial.global_step_to_tensors_map, default=-1)
        return step == self._last_step
