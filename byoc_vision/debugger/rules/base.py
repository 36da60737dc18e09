"""What the rules share: parameters that may be text, evidence, and for those over tensors what was recorded."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import numpy as np

from byoc_vision.debugger.trial import Trial

#: Names or regular expressions: a parameter that may be given as a list, or as text with commas.
Words = tuple[str, ...]

_Figure = TypeVar("_Figure")

#: How PyTorch's losses are named, beside the collection `losses`.
LOSS = r"[Ll]oss\w*_output_"

#: How losses are named at all, for recordings without that collection: not what goes into one, nor the gradient of one.
ANY_LOSS = r"^(?!gradient/)(?!.*_input_).*[Ll]oss"


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


def at_least(least: int, default: int) -> Any:
    """Return the field of a parameter that is a whole number not below `least`; any other may be 0."""
    return field(default=default, metadata={"least": least})


@dataclass(eq=False)
class Rule:
    """A rule, whose fields are its parameters: the service sends them as text, which is turned into the field's type.

    Raises `ParameterError`. `advice` says what to do once the rule has fired.
    """

    advice: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.rule_name = type(self).__name__
        for parameter in fields(self):
            value = getattr(self, parameter.name)
            if parameter.type is float:
                value = self._number(parameter.name, value)
            elif parameter.type is int:
                value = self._whole(parameter.name, value, parameter.metadata.get("least", 0))
            elif parameter.type is bool:
                value = self._flag(parameter.name, value)
            elif parameter.type is Words:
                items = value.split(",") if isinstance(value, str) else value or ()
                value = tuple(item.strip() for item in items if item.strip())
            setattr(self, parameter.name, value)

    def _number(self, name: str, value: object) -> float:
        try:
            return float(str(value))
        except ValueError:
            raise ParameterError(f"{self.rule_name}: {name} must be a number and is {value!r}.") from None

    def _whole(self, name: str, value: object, least: int) -> int:
        result = self._number(name, value)
        if not result.is_integer() or result < least:
            wanted = f"a whole number, at least {least},"
            raise ParameterError(f"{self.rule_name}: {name} must be {wanted} and is {value!r}.")
        return int(result)

    def _flag(self, name: str, value: object) -> bool:
        text = str(value).lower()
        if text not in ("true", "false"):
            raise ParameterError(f"{self.rule_name}: {name} must be True or False and is {value!r}.")
        return text == "true"


@dataclass(eq=False)
class TensorRule(Rule):
    """A rule over a trial's tensors.

    `findings` is why it fired, `seen` how often there was something it reads, `judged` how often enough to judge. Works
    on full tensors and on recorded reductions. `reads` says in words what it needs. Subclasses implement `judge`.
    """

    reads: ClassVar[str]

    trial: Trial

    def __post_init__(self) -> None:
        super().__post_init__()
        self.findings: list[Finding] = []
        self.seen = self.judged = 0
        self._names: dict[tuple[object, ...], list[str]] = {}
        self._last_step: int | None = None

    def judge(self, step: int) -> Iterator[Finding]:
        """Yield what is wrong at the global `step`."""
        raise NotImplementedError

    def invoke_at_step(self, step: int) -> bool:
        """Return whether the rule fires at the global `step`; `findings` then has the evidence."""
        findings = list(self.judge(step))
        self.findings += findings
        return bool(findings)

    def check(self) -> None:
        """Raise `NotRecordedError` when, after the last step, nothing of what the rule reads has been seen."""
        if not self.seen:
            raise NotRecordedError(f"{self.reads} were not recorded.")

    def known(
        self, names: Iterable[str], step: int, figure: Callable[[str, int], _Figure | None]
    ) -> Iterator[tuple[str, _Figure]]:
        """Yield those of `names` of which `figure` can be told at `step`, with it; they are seen and judged."""
        for name in names:
            value = figure(name, step)
            if value is not None:
                self.seen += 1
                self.judged += 1
                yield name, value

    # -- what was recorded -------------------------------------------------------------------------------------------

    def names(self, step: int, collections: Words, patterns: Words) -> list[str]:
        """Return the tensors saved at `step` that are of one of the `collections` or match one of the `patterns`."""
        saved = self.trial.steps.get(step, ())
        key = (frozenset(saved), collections, patterns)  # Most steps save the same tensors.
        if key not in self._names:
            recorded = self.trial.collections
            known = [recorded[collection] for collection in collections if collection in recorded]
            named = {name for collection in known for name in collection.tensor_names}
            regexes = [*(regex for collection in known for regex in collection.include_regex), *patterns]
            self._names[key] = sorted(
                name for name in saved if name in named or any(re.search(regex, name) for regex in regexes)
            )
        return self._names[key]

    def losses(self, step: int, patterns: Words) -> dict[str, float]:
        """Return the losses saved at `step`: those that match `patterns`, or without any the collection `losses`, or
        where there is none those that are named so.
        """
        known = (LOSS,) if "losses" in self.trial.collections else (ANY_LOSS,)
        names = self.names(step, (), patterns) if patterns else self.names(step, ("losses",), known)
        return {name: value for name in names if (value := self.mean(name, step)) is not None}

    def mean(self, name: str, step: int) -> float | None:
        """Return a tensor's mean at `step`; of a scalar, such as a loss, that is its value."""
        values = self.trial.value(name, step)
        if values is not None and values.size == 1:
            return float(values.item())
        return self.trial.reduction(name, step, "mean")

    def variance(self, name: str, step: int) -> float | None:
        """Return a tensor's variance at `step`, from its values or the reductions `variance` or `std`."""
        value = self.trial.reduction(name, step, "variance")
        if value is None:
            std = self.trial.reduction(name, step, "std")
            return None if std is None else std**2
        return value

    def is_last(self, step: int) -> bool:
        """Return whether a global step is the last one of a job that has ended."""
        if not self.trial.ended:
            return False
        if self._last_step is None:
            self._last_step = max(self.trial.steps, default=-1)
        return step == self._last_step
