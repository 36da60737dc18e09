"""Rules over what goes through a network: ReLUs that are dead, and weights that started badly."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from smdebug.core.modes import ModeKeys

from debugger.rules.base import Array, Finding, NotApplicableError, NotRecordedError, TensorRule, number, whole, words
from debugger.rules.tensors import GRADIENT

#: What precedes a ReLU's name where the hook recorded, for each of its units, the share of positive outputs in a step.
ACTIVITY = "relu_activity/"

#: 5th to 95th percentile of a normal distribution in standard deviations.
NORMAL_RANGE = 3.2897

#: What a flat loss may move by, relative to its size.
FLAT = 0.001


class DeadRelu(TensorRule):
    """Fires when more than `threshold_layer` per cent (50) of a ReLU layer's units are dead: active in less than
    `threshold_inactivity` per cent (1.0) of what they saw in a step.

    A unit is a feature of an output [N, features], or a channel of [N, channels, height, width]. Reads the tensors that
    match `tensor_regex` (`.*relu_output`) or are of the collection `relu_output`, or for each layer a tensor
    `relu_activity/<layer>` [units], the share (0 to 1) of positive outputs. From reductions only a layer that is dead
    as a whole can be told: its `max` is 0.
    """

    reads = "Outputs of ReLUs"
    advice = "Lower the learning rate, use LeakyReLU or a smaller negative bias, or normalise before the activation."

    def __init__(
        self,
        base_trial: Any,
        tensor_regex: str | list[str] = ".*relu_output",
        threshold_inactivity: float | str = 1.0,
        threshold_layer: float | str = 50.0,
    ) -> None:
        super().__init__(base_trial)
        self.patterns = [*words(tensor_regex), f"^{ACTIVITY}"]
        self.inactivity = number(self.rule_name, "threshold_inactivity", threshold_inactivity)
        self.layer = number(self.rule_name, "threshold_layer", threshold_layer)

    def judge(self, step: int) -> Iterator[Finding]:
        names = self.names(step, ["relu_output"], self.patterns)
        with_activity = {name.removeprefix(ACTIVITY) for name in names if name.startswith(ACTIVITY)}
        for name in names:
            if name.rpartition("_output_")[0] in with_activity:
                continue
            self.seen += 1
            dead = self._dead(name, step)
            if dead is None:
                continue
            self.judged += 1
            if dead > self.layer:
                yield Finding(step, name, dead, self.layer, f"{dead:.3g} % of its units are dead")

    def _dead(self, name: str, step: int) -> float | None:
        """Return the share of dead units in per cent."""
        values = self.full(name, step)
        if values is None:
            return 100.0 if self.reduced(name, step, "max") == 0 else None
        activity = values if name.startswith(ACTIVITY) else activity_of(values)
        return 100 * float(np.mean(100 * activity < self.inactivity)) if activity.size else None

    def check(self) -> None:
        """Raise `NotRecordedError` when nothing told how active units are, `NotApplicableError` when there are none."""
        outputs = self.base_trial.collections().get("relu_output")
        if not self.seen and outputs and not outputs.include_regex and not outputs.tensor_names:
            raise NotApplicableError("What was trained has no ReLUs.")
        super().check()
        if not self.judged:
            raise NotRecordedError(
                "The activity of single units was not recorded, only reductions of layers; none was dead entirely."
            )


def activity_of(values: Array) -> Array:
    """Return the share of positive values of each unit: of [N, units], or [N, channels, …] over all places."""
    if values.ndim < 2:
        return np.asarray(values.ravel() > 0, dtype=float)
    positive: Array = np.mean(values > 0, axis=(0, *range(2, values.ndim)))
    return positive


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

    def __init__(
        self,
        base_trial: Any,
        activation_inputs_regex: str | list[str] = ".*relu_input",
        threshold: float | str = 10.0,
        distribution_range: float | str = 0.001,
        patience: int | str = 5,
        steps: int | str = 10,
    ) -> None:
        super().__init__(base_trial)
        self.patterns = words(activation_inputs_regex)
        self.threshold = number(self.rule_name, "threshold", threshold)
        self.range = number(self.rule_name, "distribution_range", distribution_range)
        self.patience = whole(self.rule_name, "patience", patience, 1)
        self.steps = whole(self.rule_name, "steps", steps, 1)
        self._losses: list[float] = []

    def judge(self, step: int) -> Iterator[Finding]:
        mode, mode_step = self.base_trial.mode_modestep(step)
        if mode not in (ModeKeys.TRAIN, ModeKeys.GLOBAL) or mode_step >= self.steps:
            return
        yield from self._variances(step)
        yield from self._gradients(step)
        yield from self._flat(step)

    def _variances(self, step: int) -> Iterator[Finding]:
        found = {name: self.variance(name, step) for name in self.names(step, ["relu_input"], self.patterns)}
        known = {name: value for name, value in found.items() if value is not None and np.isfinite(value)}
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
        for name in self.names(step, ["gradients"], [GRADIENT]):
            if name.endswith("bias"):
                continue
            width = self._range(name, step)
            if width is None:
                continue
            self.seen += 1
            self.judged += 1
            if width < self.range:
                yield Finding(step, name, width, self.range, f"5th and 95th percentile only {width:.3g} apart")

    def _range(self, name: str, step: int) -> float | None:
        values = self.full(name, step)
        if values is not None:
            low, high = np.percentile(values, [5, 95])
            return float(high - low)
        std = self.reduced(name, step, "std")
        return None if std is None else NORMAL_RANGE * std

    def _flat(self, step: int) -> Iterator[Finding]:
        losses = self.losses(step, [])
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
