"""The rule over the first steps: weights that started badly."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from byoc_vision.debugger.rules.base import Finding, TensorRule, Words, at_least
from byoc_vision.debugger.rules.tensors import GRADIENT
from byoc_vision.debugger.trial import Mode

#: 5th to 95th percentile of a normal distribution in standard deviations.
NORMAL_RANGE = 3.2897

#: What a flat loss may move by, relative to its size.
FLAT = 0.001


@dataclass(eq=False)
class PoorWeightInitialization(TensorRule):
    """Fires when, in the first `steps` (10) training steps,

    - the largest variance of a layer's activation inputs is more than `threshold` (10.0) times the smallest;
    - the 5th and the 95th percentile of a weight's gradient differ by less than `distribution_range` (0.001); or
    - the loss is flat: in `patience` (5) saved steps on end it stays within 0.1 per cent.

    The documentation only speaks of a loss that no longer decreases. Losses of single batches go up and down by more
    than a healthy network learns in ten steps; one whose signal has died says the same to every batch.

    Reads the tensors that match `activation_inputs_regex`
    (`.*relu_input`) or are of the collection `relu_input`, the collection `gradients` without biases, and the losses.
    The reduction `std` serves for the variance exactly, and for the percentiles as if gradients were distributed
    normally: 3.29 standard deviations.
    """

    reads = "Inputs of ReLUs, gradients and losses of the first steps"
    advice = "Initialise with kaiming_normal_ for ReLUs, or start from pretrained weights."

    activation_inputs_regex: Words = (".*relu_input",)
    threshold: float = 10.0
    distribution_range: float = 0.001
    patience: int = at_least(1, 5)
    steps: int = at_least(1, 10)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._losses: list[float] = []

    def judge(self, step: int) -> Iterator[Finding]:
        mode, mode_step = self.trial.mode_step(step)
        if mode not in (Mode.TRAIN, Mode.GLOBAL) or mode_step >= self.steps:
            return
        yield from self._variances(step)
        yield from self._gradients(step)
        yield from self._flat(step)

    def _variances(self, step: int) -> Iterator[Finding]:
        names = self.names(step, ("relu_input",), self.activation_inputs_regex)
        variances = {name: self.variance(name, step) for name in names}
        known = {name: value for name, value in variances.items() if value is not None and np.isfinite(value)}
        self.seen += len(known)
        if len(known) < 2:
            return
        self.judged += 1
        largest, smallest = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
        ratio = known[largest] / known[smallest] if known[smallest] else float("inf")
        if ratio > self.threshold:
            apart = f"variance {ratio:.3g} times smaller than that of {largest}"
            detail = apart if known[largest] else "does not vary, nor does any other"
            yield Finding(step, smallest, ratio, self.threshold, detail)

    def _gradients(self, step: int) -> Iterator[Finding]:
        names = self.names(step, ("gradients",), (GRADIENT,))
        weights = (name for name in names if not name.endswith("bias"))
        for name, width in self.known(weights, step, self._range):
            if width < self.distribution_range:
                detail = f"5th and 95th percentile only {width:.3g} apart"
                yield Finding(step, name, width, self.distribution_range, detail)

    def _range(self, name: str, step: int) -> float | None:
        values = self.trial.value(name, step)
        if values is not None:
            low, high = np.percentile(values, [5, 95])
            return float(high - low)
        std = self.trial.reduction(name, step, "std")
        return None if std is None else NORMAL_RANGE * std

    def _flat(self, step: int) -> Iterator[Finding]:
        losses = self.losses(step, ())
        if not losses:
            return
        self.seen += 1
        self._losses.append(sum(losses.values()) / len(losses))
        if len(self._losses) < self.patience:
            return
        self.judged += 1
        last = self._losses[-self.patience :]
        moved = (max(last) - min(last)) / (abs(max(last)) or 1.0)
        if moved <= FLAT:
            yield Finding(step, "loss", moved, FLAT, f"{last[-1]:.4g}, the same for {self.patience} steps")
