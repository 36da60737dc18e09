"""Rules over the losses of training and validation: they do not fall, part from one another, or fell long ago.

smdebug numbers a job's steps through, training and evaluation mixed. A *phase* here is a run of steps of one mode:
the steps of an epoch, the batches of one pass over the validation split. Single batches differ more from one another
than two epochs do, so what is compared between training and validation are the means of phases.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from smdebug.core.modes import ModeKeys

from debugger.rules.base import Finding, NotRecordedError, ParameterError, TensorRule, flag, number, whole, words


@dataclass
class Phase:
    """Consecutive steps of one mode: the mean loss of each, and the last one's numbers."""

    mode: ModeKeys
    losses: list[float]
    step: int
    mode_step: int

    @property
    def mean(self) -> float:
        """Mean loss over the phase."""
        return float(np.mean(self.losses))


class PhaseRule(TensorRule):
    """A rule that is judged once a phase has ended: at the next step of another mode, or at the job's last step."""

    reads = "Losses of training and validation"

    def __init__(self, base_trial: Any, tensor_regex: str | list[str] | None = None) -> None:
        super().__init__(base_trial)
        self.patterns = words(tensor_regex)
        self._phase: Phase | None = None
        self._modes: set[ModeKeys] = set()

    def ended(self, step: int) -> Iterator[Phase]:
        """Yield the phases that end with what was saved at `step`."""
        losses, (mode, mode_step) = self.losses(step, self.patterns), self.base_trial.mode_modestep(step)
        if losses:
            self.seen += 1
            self._modes.add(mode)
            if self._phase and self._phase.mode is not mode:
                yield self._phase
                self._phase = None
            self._phase = self._phase or Phase(mode, [], step, mode_step)
            self._phase.losses.append(sum(losses.values()) / len(losses))
            self._phase.step, self._phase.mode_step = step, mode_step
        if self._phase and self.is_last(step):
            yield self._phase
            self._phase = None

    def check(self) -> None:
        """Raise `NotRecordedError` unless losses of both modes have been seen."""
        super().check()
        for mode, name in ((ModeKeys.TRAIN, "training"), (ModeKeys.EVAL, "validation")):
            if mode not in self._modes:
                raise NotRecordedError(f"Losses of {name} were not recorded.")


class Overfit(PhaseRule):
    """Fires when (mean validation loss − mean training loss) / mean training loss is above `ratio_threshold` (0.1) in
    `patience` (1) evaluations on end, from the global step `start_step` (0) on.

    The means are those of one pass over the validation split and of the training steps since the pass before.
    """

    advice = "Stop earlier, add augmentation, weight decay or pictures, or train fewer layers."

    def __init__(
        self,
        base_trial: Any,
        tensor_regex: str | list[str] | None = None,
        start_step: int | str = 0,
        patience: int | str = 1,
        ratio_threshold: float | str = 0.1,
    ) -> None:
        super().__init__(base_trial, tensor_regex)
        self.start_step = whole(self.rule_name, "start_step", start_step)
        self.patience = whole(self.rule_name, "patience", patience, 1)
        self.threshold = number(self.rule_name, "ratio_threshold", ratio_threshold)
        self._training: float | None = None
        self._above = 0

    def judge(self, step: int) -> Iterator[Finding]:
        for phase in self.ended(step):
            if phase.mode is ModeKeys.TRAIN:
                self._training = phase.mean
            elif phase.mode is ModeKeys.EVAL and self._training and phase.step >= self.start_step:
                self.judged += 1
                ratio = (phase.mean - self._training) / self._training
                self._above = self._above + 1 if ratio > self.threshold else 0
                if self._above >= self.patience:
                    detail = f"validation, {phase.mean:.4g}, is {ratio:.1%} above training, {self._training:.4g}"
                    yield Finding(phase.step, "loss", ratio, self.threshold, detail)


class Overtraining(PhaseRule):
    """Fires when neither loss improves any more: training for `patience_train` (5) phases and validation for
    `patience_validation` (10) have not fallen below their best by more than `delta` (0.01).

    The documentation leaves open whether one loss is enough. Here both must have come to rest: a training loss that has
    is no harm while validation still improves, and one that falls while validation rises is `Overfit`'s. It speaks of
    steps; single batches hardly ever reach the luckiest one before them, so a step is a phase (an epoch, a pass).
    """

    advice = "Stop at the best epoch (set patience), or lower the learning rate once the loss has come to rest."

    def __init__(
        self,
        base_trial: Any,
        patience_train: int | str = 5,
        patience_validation: int | str = 10,
        delta: float | str = 0.01,
        tensor_regex: str | list[str] | None = None,
    ) -> None:
        super().__init__(base_trial, tensor_regex)
        self.patience = {
            ModeKeys.TRAIN: whole(self.rule_name, "patience_train", patience_train, 1),
            ModeKeys.EVAL: whole(self.rule_name, "patience_validation", patience_validation, 1),
        }
        self.delta = number(self.rule_name, "delta", delta)
        self._best: dict[ModeKeys, float] = {}
        self._since = dict.fromkeys(self.patience, 0)

    def judge(self, step: int) -> Iterator[Finding]:
        for phase in self.ended(step):
            mode = phase.mode
            if mode not in self.patience:
                continue
            self.judged += 1
            if mode not in self._best or phase.mean < self._best[mode] - self.delta:
                self._best[mode], self._since[mode] = phase.mean, 0
            else:
                self._since[mode] += 1
            if all(self._since[mode] >= patience for mode, patience in self.patience.items()):
                waited = self._since[ModeKeys.EVAL]
                detail = f"nothing better than {self._best[ModeKeys.EVAL]:.4g} in {waited} evaluations"
                yield Finding(phase.step, "validation loss", waited, self.patience[ModeKeys.EVAL], detail)


class LossNotDecreasing(PhaseRule):
    """Fires when a loss has fallen by less than `diff_percent` (0.1), or risen by more than
    `increase_threshold_percent` (5), against the newest saved step at least `num_steps` (10) earlier.

    A rise up to `increase_threshold_percent` is allowed, as the parameter's documentation says, although it is no fall.
    The loss is compared at most every `num_steps`. Reads the collection `losses` unless `use_losses_collection` is
    False, the tensors of `collection_names`, and those that match `tensor_regex`.

    `mode` is TRAIN, EVAL or GLOBAL (all steps). Which one is the default is not documented clearly; here it is EVAL
    where evaluation was recorded, then TRAIN, then GLOBAL: a batch's training loss says as much about the batch. Where
    both modes were recorded, a pass over the validation split counts as one step, its mean loss.
    """

    reads = "Losses"
    advice = "Lower the learning rate if the loss jumps, raise it if it stands still, and check the labels."

    def __init__(
        self,
        base_trial: Any,
        collection_names: str | list[str] | None = None,
        tensor_regex: str | list[str] | None = None,
        use_losses_collection: bool | str = True,
        num_steps: int | str = 10,
        diff_percent: float | str = 0.1,
        increase_threshold_percent: float | str = 5,
        mode: str | None = None,
    ) -> None:
        super().__init__(base_trial, tensor_regex)
        rule = self.rule_name
        self.collections = words(collection_names)
        self.use_losses = flag(rule, "use_losses_collection", use_losses_collection)
        self.steps = whole(rule, "num_steps", num_steps, 1)
        self.fall = number(rule, "diff_percent", diff_percent)
        self.rise = number(rule, "increase_threshold_percent", increase_threshold_percent)
        if mode is not None and mode.upper() not in ("TRAIN", "EVAL", "GLOBAL"):
            raise ParameterError(f"{rule}: mode must be TRAIN, EVAL or GLOBAL and is {mode!r}.")
        self._mode = ModeKeys[mode.upper()] if mode else None
        self._history: list[tuple[int, float]] = []
        self._next = 0

    def losses(self, step: int, patterns: list[str]) -> dict[str, float]:
        """Return the losses saved at `step` that the rule was told to read."""
        named: dict[str, float] = {}
        for name in self.names(step, self.collections, patterns):
            value = self.mean(name, step)
            if value is not None:
                named[name] = value
        return named | super().losses(step, []) if self.use_losses else named

    def judge(self, step: int) -> Iterator[Finding]:
        if self._mode is None:
            modes = set(self.base_trial.modes())
            self._mode = next((mode for mode in (ModeKeys.EVAL, ModeKeys.TRAIN) if mode in modes), ModeKeys.GLOBAL)
        if self._mode is ModeKeys.EVAL and ModeKeys.TRAIN in self.base_trial.modes():
            for phase in self.ended(step):
                if phase.mode is ModeKeys.EVAL:
                    yield from self._compare(phase.step, phase.mode_step, phase.mean)
            return
        mode, mode_step = self.base_trial.mode_modestep(step)
        if self._mode in (ModeKeys.GLOBAL, mode):
            losses = self.losses(step, self.patterns)
            if losses:
                self.seen += 1
                at = step if self._mode is ModeKeys.GLOBAL else mode_step
                yield from self._compare(step, at, sum(losses.values()) / len(losses))

    def _compare(self, step: int, at: int, loss: float) -> Iterator[Finding]:
        """Judge the `loss` of a global step, the mode's step `at`."""
        self._history.append((at, loss))
        earlier = [(then, value) for then, value in self._history if then <= at - self.steps]
        if not earlier or at < self._next:
            return
        del self._history[: len(earlier) - 1]
        self._next = at + self.steps
        self.judged += 1
        _, before = earlier[-1]
        change = 100 * (loss - before) / abs(before) if before else 0.0
        if change > self.rise:
            yield Finding(step, "loss", change, self.rise, f"up {change:.3g} %, from {before:.4g} to {loss:.4g}")
        elif 0 <= -change < self.fall:
            yield Finding(step, "loss", -change, self.fall, f"down {-change:.3g} %, from {before:.4g} to {loss:.4g}")

    def check(self) -> None:
        """Raise `NotRecordedError` when no loss has been seen."""
        TensorRule.check(self)
