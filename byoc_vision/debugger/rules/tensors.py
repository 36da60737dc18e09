"""Rules over any tensor: gradients that vanish, values that explode, are all zero, vary too much, or never change."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from byoc_vision.debugger.rules.base import Finding, TensorRule, Words, at_least
from byoc_vision.debugger.trial import Array

GRADIENT = "^gradient/"

#: The reductions that stand for a tensor whose values were not recorded.
REDUCTIONS = (("min", False), ("max", False), ("mean", False), ("std", False), ("mean", True), ("l2", False))


@dataclass(eq=False)
class VanishingGradient(TensorRule):
    """Fires when the mean absolute value of a gradient is below `threshold` (1e-7).

    Reads the collection `gradients`; the reduction `abs_mean` serves as well as the tensor.
    """

    reads = "Gradients"
    advice = (
        "Use normalisation layers, ReLU-like activations or a larger learning rate, or train fewer layers at first."
    )

    threshold: float = 1e-7

    def judge(self, step: int) -> Iterator[Finding]:
        names = self.names(step, ("gradients",), (GRADIENT,))
        for name, value in self.known(names, step, partial(self.trial.reduction, reduction="mean", absolute=True)):
            if value < self.threshold:
                yield Finding(step, name, value, self.threshold, f"mean absolute value {value:.3g}")


@dataclass(eq=False)
class ChosenTensorsRule(TensorRule):
    """Reads the tensors of `collection_names` together with those that match `tensor_regex` (lists, or text with
    commas); given neither, those of the collections and patterns `unless_chosen`: all.
    """

    unless_chosen: ClassVar[tuple[Words, Words]] = (), ("",)

    collection_names: Words = ()
    tensor_regex: Words = ()

    def chosen(self, step: int) -> list[str]:
        """Return the names of the tensors that were saved at `step` and that the rule reads."""
        selection = self.collection_names, self.tensor_regex
        return self.names(step, *(selection if any(selection) else self.unless_chosen))


@dataclass(eq=False)
class ExplodingTensor(ChosenTensorsRule):
    """Fires when a tensor has a value that is NaN or, unless `only_nan`, infinite.

    Reads the tensors of `collection_names` together with those that match `tensor_regex` (lists, or text with commas);
    given neither, all. Where the values were not recorded, `min` and `max` tell exactly: a NaN makes both NaN, and they
    are infinite when a value is. Failing these, any other reduction that is not finite counts; a mean of infinities of
    both signs is NaN, so that `only_nan` may then fire for infinite values.
    """

    reads = "Tensors"
    advice = "Lower the learning rate, clip the gradients, or look for a division by zero in the loss."

    only_nan: bool = False

    def judge(self, step: int) -> Iterator[Finding]:
        for name, values in self.known(self.chosen(step), step, self._values):
            if np.isfinite(values).all():
                continue
            if np.isnan(values).any():
                yield Finding(step, name, math.nan, math.inf, "NaN among its values")
            elif not self.only_nan and np.isinf(values).any():
                yield Finding(step, name, math.inf, math.inf, "infinity among its values")

    def _values(self, name: str, step: int) -> Array | None:
        values = self.trial.value(name, step)
        if values is not None:
            return values if values.dtype.kind in "fc" else np.zeros(1)
        extremes = [self.trial.reduction(name, step, reduction) for reduction in ("min", "max")]
        known = [value for value in extremes if value is not None]
        if len(known) < 2:
            others = [self.trial.reduction(name, step, *reduction) for reduction in REDUCTIONS]
            known += [value for value in others if value is not None]
        return np.array(known) if known else None


@dataclass(eq=False)
class AllZero(ChosenTensorsRule):
    """Fires when at least `threshold` per cent (100) of a tensor's values are zero.

    Reads the tensors of `collection_names` together with those that match `tensor_regex`; given neither, all. From
    reductions only 100 per cent can be told: `min` and `max`, or `abs_mean`, are then zero.
    """

    reads = "Tensors"
    advice = "Look for layers that are cut off: dead ReLUs, weights initialised with zeros, a loss without gradient."

    threshold: float = 100

    def judge(self, step: int) -> Iterator[Finding]:
        for name, share in self.known(self.chosen(step), step, self._share):
            if share >= self.threshold:
                yield Finding(step, name, share, self.threshold, f"{share:.4g} % of its values are zero")

    def _share(self, name: str, step: int) -> float | None:
        values = self.trial.value(name, step)
        if values is not None:
            return 100 * float(np.mean(values == 0)) if values.size else None
        size = self.trial.reduction(name, step, "mean", absolute=True)
        if size is None:
            ends = [self.trial.reduction(name, step, reduction) for reduction in ("min", "max")]
            if None in ends:
                return None
            size = max(abs(end) for end in ends if end is not None)
        return 100.0 if size == 0 else 0.0


@dataclass(eq=False)
class TensorVariance(ChosenTensorsRule):
    """Fires when a tensor's variance is above `max_threshold` or below `min_threshold`; one that is not given is not
    checked.

    Reads the tensors of `collection_names` together with those that match `tensor_regex`; given neither, the weights.
    The reductions `variance` and `std` serve as well as the tensor.
    """

    reads = "Weights, or the tensors named,"
    advice = "Choose an initialisation that fits the activation (Kaiming for ReLU), or a smaller learning rate."
    unless_chosen = ("weights",), ()

    max_threshold: float = math.inf
    min_threshold: float = -math.inf

    def judge(self, step: int) -> Iterator[Finding]:
        for name, value in self.known(self.chosen(step), step, self.variance):
            if value > self.max_threshold:
                yield Finding(step, name, value, self.max_threshold, f"variance {value:.4g}")
            elif value < self.min_threshold:
                yield Finding(step, name, value, self.min_threshold, f"variance {value:.4g}")


@dataclass(eq=False)
class UnchangedTensor(ChosenTensorsRule):
    """Fires when a tensor is the same, within `rtol` (1e-5) and `atol` (1e-8), in `num_steps` (3) saved steps on end.

    Reads the tensors of `collection_names` together with those that match `tensor_regex`; given neither, the weights.
    Where the values were not recorded, all recorded reductions must be the same.
    """

    reads = "Weights, or the tensors named,"
    advice = (
        "Check that the layer is meant to be trained and is given to the optimizer, and that its gradient is not zero."
    )
    unless_chosen = ("weights",), ()

    num_steps: int = at_least(2, 3)
    rtol: float = 1e-5
    atol: float = 1e-8
    equal_nan: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._same: dict[str, tuple[int, int]] = {}  # the last step that was judged, and its answer

    def judge(self, step: int) -> Iterator[Finding]:
        for name in self.chosen(step):
            values = self._values(name, step)
            if not values.size:
                continue
            self.seen += 1
            self.judged += 1
            same = self._unchanged(name, step, values)
            self._same[name] = step, same
            if same >= self.num_steps:
                yield Finding(step, name, same, self.num_steps, f"the same in {same} saved steps on end")

    def _unchanged(self, name: str, step: int, values: Array) -> int:
        """Return in how many saved steps on end, up to `step`, the tensor is the same; no more than is asked."""
        judged, answer = self._same.get(name, (None, 0))
        count = 1
        for earlier in sorted((other for other in self.trial.steps if other < step), reverse=True):
            if count == self.num_steps:
                break
            if name not in self.trial.steps[earlier]:
                continue
            former = self._values(name, earlier)
            if former.shape != values.shape or not np.allclose(values, former, self.rtol, self.atol, self.equal_nan):
                break
            if earlier == judged:
                return count + answer
            count, values = count + 1, former
        return count

    def _values(self, name: str, step: int) -> Array:
        """Return what was saved of the tensor: its values, or its reductions."""
        values = self.trial.value(name, step)
        if values is None:
            reduced = [self.trial.reduction(name, step, *reduction) for reduction in REDUCTIONS]
            values = np.array([value for value in reduced if value is not None])
        return values


@dataclass(eq=False)
class WeightUpdateRatio(TensorRule):
    """Fires when the mean of |change| / (|weight| + `epsilon`) from one saved step to the next is above
    `large_threshold` (10) or below `small_threshold` (1e-8).

    Reads the full weights: from reductions the change of single weights cannot be told.
    """

    reads = "The full values of the weights"
    advice = "Raise the learning rate where the ratio is too small, lower it where it is too large."

    large_threshold: float = 10
    small_threshold: float = 1e-8
    epsilon: float = 1e-9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._last: dict[str, Array] = {}

    def judge(self, step: int) -> Iterator[Finding]:
        for name in self.names(step, ("weights",), ()):
            values = self.trial.value(name, step)
            if values is None:
                continue
            self.seen += 1
            before, self._last[name] = self._last.get(name), values
            if before is None or before.shape != values.shape:
                continue
            self.judged += 1
            ratio = float(np.mean(np.abs(values - before) / (np.abs(before) + self.epsilon)))
            if ratio > self.large_threshold:
                yield Finding(step, name, ratio, self.large_threshold, f"update ratio {ratio:.3g}")
            elif ratio < self.small_threshold:
                yield Finding(step, name, ratio, self.small_threshold, f"update ratio {ratio:.3g}")
