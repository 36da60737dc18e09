"""Search spaces: the request's ParameterRanges as Optuna's distributions, and Optuna's values as hyperparameters."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from byoc_vision.local.store import Request

#: From this ratio of its ends on, a range of ScalingType Auto is searched by orders of magnitude.
_WIDE = 100


@dataclass(frozen=True)
class Range:
    """One hyperparameter's values as Optuna searches them. `text` makes a hyperparameter of one, `value` reads it."""

    distribution: BaseDistribution
    text: Callable[[Any], str] = str
    value: Callable[[str], Any] = str


def ranges(request: Request) -> dict[str, Range]:
    """Return hyperparameter -> what is searched, for ParameterRanges."""
    found = {}
    for each in request.get("CategoricalParameterRanges", []):
        found[each["Name"]] = Range(CategoricalDistribution(each["Values"]))
    for each in request.get("IntegerParameterRanges", []):
        low, high = int(each["MinValue"]), int(each["MaxValue"])
        found[each["Name"]] = Range(IntDistribution(low, high, log=_logarithmic(each, low, high)), value=int)
    for each in request.get("ContinuousParameterRanges", []):
        found[each["Name"]] = _continuous(each, float(each["MinValue"]), float(each["MaxValue"]))
    return found


def grid(request: Request) -> Iterator[dict[str, str]]:
    """Yield all combinations of CategoricalParameterRanges."""
    choices = request["CategoricalParameterRanges"]
    for values in itertools.product(*(each["Values"] for each in choices)):
        yield dict(zip((each["Name"] for each in choices), values, strict=True))


def grid_size(request: Request) -> int:
    """Return the number of combinations."""
    return math.prod(len(each["Values"]) for each in request["CategoricalParameterRanges"])


def _continuous(each: Request, low: float, high: float) -> Range:
    if each.get("ScalingType") == "ReverseLogarithmic":
        # Finest near 1: what is searched by orders of magnitude is the distance to it.
        distance = FloatDistribution(1 - high, 1 - low, log=True)
        return Range(distance, lambda value: repr(min(high, max(low, 1 - value))), lambda text: 1 - float(text))
    return Range(FloatDistribution(low, high, log=_logarithmic(each, low, high)), repr, float)


def _logarithmic(each: Request, low: float, high: float) -> bool:
    scaling = each.get("ScalingType", "Auto")
    return scaling == "Logarithmic" or (scaling == "Auto" and low > 0 and high / low >= _WIDE)
