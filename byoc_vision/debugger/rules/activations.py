"""Rules over what goes through a network: ReLUs that are dead, activations that are saturated."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from byoc_vision.contract.job import ACTIVITY
from byoc_vision.debugger.rules.base import Finding, NotApplicableError, NotRecordedError, TensorRule, Words
from byoc_vision.debugger.trial import Array


@dataclass(eq=False)
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

    tensor_regex: Words = (".*relu_output",)
    threshold_inactivity: float = 1.0
    threshold_layer: float = 50.0

    def judge(self, step: int) -> Iterator[Finding]:
        names = self.names(step, ("relu_output",), (*self.tensor_regex, f"^{ACTIVITY}"))
        with_activity = {name.removeprefix(ACTIVITY) for name in names if name.startswith(ACTIVITY)}
        for name in names:
            if name.rpartition("_output_")[0] in with_activity:
                continue
            self.seen += 1
            dead = self._dead(name, step)
            if dead is None:
                continue
            self.judged += 1
            if dead > self.threshold_layer:
                yield Finding(step, name, dead, self.threshold_layer, f"{dead:.3g} % of its units are dead")

    def _dead(self, name: str, step: int) -> float | None:
        """Return the share of dead units in per cent."""
        values = self.trial.value(name, step)
        if values is None:
            return 100.0 if self.trial.reduction(name, step, "max") == 0 else None
        activity = values if name.startswith(ACTIVITY) else activity_of(values > 0)
        return inactive(activity, self.threshold_inactivity)

    def check(self) -> None:
        """Raise `NotRecordedError` when nothing told how active units are, `NotApplicableError` when there are none."""
        outputs = self.trial.collections.get("relu_output")
        if not self.seen and outputs and not outputs.include_regex and not outputs.tensor_names:
            raise NotApplicableError("What was trained has no ReLUs.")
        super().check()
        if not self.judged:
            raise NotRecordedError(
                "The activity of single units was not recorded, only reductions of layers; none was dead entirely."
            )


def activity_of(active: Array) -> Array:
    """Return the share of true values of each unit: of [N, units], or [N, channels, …] over all places."""
    if active.ndim < 2:
        return np.asarray(active.ravel(), dtype=float)
    share: Array = np.mean(active, axis=(0, *range(2, active.ndim)))
    return share


def inactive(activity: Array, threshold: float) -> float | None:
    """Return how many per cent of the units are active in less than `threshold` per cent; None where there are none."""
    return 100 * float(np.mean(100 * activity < threshold)) if activity.size else None


@dataclass(eq=False)
class SaturatedActivation(TensorRule):
    """Fires when more than `threshold_layer` per cent (50) of a tanh or sigmoid layer's units are saturated: less than
    `threshold_inactivity` per cent (1.0) of what they saw in a step lay between the function's extremes, where its
    gradient is above 1e-7.

    The extremes are `threshold_tanh_min` and `_max` (-9.4999, 9.4999), and `threshold_sigmoid_min` and `_max` (-23,
    16.99999) for tensors with "sigmoid" in their names. A unit is that of DeadRelu. Reads the tensors of
    `collection_names` and those that match `tensor_regex` (`.*tanh_input`, `.*sigmoid_input`). From reductions only a
    layer can be told that lies beyond one extreme as a whole.
    """

    reads = "Inputs of tanh or sigmoid layers"
    advice = "Normalise before the activation, initialise with smaller weights, lower the learning rate, or use ReLUs."

    collection_names: Words = ()
    tensor_regex: Words = (".*tanh_input", ".*sigmoid_input")
    threshold_tanh_min: float = -9.4999
    threshold_tanh_max: float = 9.4999
    threshold_sigmoid_min: float = -23
    threshold_sigmoid_max: float = 16.99999
    threshold_inactivity: float = 1.0
    threshold_layer: float = 50.0

    def judge(self, step: int) -> Iterator[Finding]:
        for name in self.names(step, self.collection_names, self.tensor_regex):
            self.seen += 1
            saturated = self._saturated(name, step)
            if saturated is None:
                continue
            self.judged += 1
            if saturated > self.threshold_layer:
                detail = f"{saturated:.3g} % of its units are saturated"
                yield Finding(step, name, saturated, self.threshold_layer, detail)

    def _saturated(self, name: str, step: int) -> float | None:
        """Return the share of saturated units in per cent."""
        low, high = self.threshold_tanh_min, self.threshold_tanh_max
        if "sigmoid" in name.lower():
            low, high = self.threshold_sigmoid_min, self.threshold_sigmoid_max
        values = self.trial.value(name, step)
        if values is None:
            least, greatest = self.trial.reduction(name, step, "min"), self.trial.reduction(name, step, "max")
            beyond = (greatest is not None and greatest <= low) or (least is not None and least >= high)
            return 100.0 if beyond else None
        activity = activity_of((values > low) & (values < high))
        return inactive(activity, self.threshold_inactivity)

    def check(self) -> None:
        """Raise `NotRecordedError` when nothing told how saturated units are."""
        super().check()
        if not self.judged:
            raise NotRecordedError(
                "Single units' inputs were not recorded, only layers' reductions; none was saturated."
            )
