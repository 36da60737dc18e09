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
    searched = {}
    for parameter in request.get("CategoricalParameterRanges", []):
        searched[parameter["Name"]] = Range(CategoricalDistribution(parameter["Values"]))
    for parameter in request.get("IntegerParameterRanges", []):
        low, high = int(parameter["MinValue"]), int(parameter["MaxValue"])
        searched[parameter["Name"]] = Range(
            IntDistribution(low, high, log=_logarithmic(parameter, low, high)), value=int
        )
    for parameter in request.get("ContinuousParameterRanges", []):
        searched[parameter["Name"]] = _continuous(parameter, float(parameter["MinValue"]), float(parameter["MaxValue"]))
    return searched


def grid(request: Request) -> Iterator[dict[str, str]]:
    """Yield all combinations of CategoricalParameterRanges."""
    choices = request["CategoricalParameterRanges"]
    for values in itertools.product(*(choice["Values"] for choice in choices)):
        yield dict(zip((choice["Name"] for choice in choices), values, strict=True))


def grid_size(request: Request) -> int:
    """Return the number of combinations."""
    return math.prod(len(parameter["Values"]) for parameter in request["CategoricalParameterRanges"])


def _continuous(parameter: Request, low: float, high: float) -> Range:
    if parameter.get("ScalingType") == "ReverseLogarithmic":
        # Finest near 1: what is searched by orders of magnitude is the distance to it.
        distance = FloatDistribution(1 - high, 1 - low, log=True)
        return Range(distance, lambda value: repr(min(high, max(low, 1 - value))), lambda text: 1 - float(text))
    return Range(FloatDistribution(low, high, log=_logarithmic(parameter, low, high)), repr, float)


def _logarithmic(parameter: Request, low: float, high: float) -> bool:
    scaling = parameter.get("ScalingType", "Auto")
    return scaling == "Logarithmic" or (scaling == "Auto" and low > 0 and high / low >= _WIDE)
