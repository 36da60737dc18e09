"""Rules over the losses of training and validation: they do not fall, part from one another, or fell long ago.

smdebug numbers a job's steps through, training and evaluation mixed. A *phase* here is a run of steps of one mode:
the steps of an epoch, the batches of one pass over the validation split. Single batches differ more from one another
than two epochs do, so what is compared between training and validation are the means of phases.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from byoc_vision.debugger.rules.base import Finding, NotRecordedError, ParameterError, TensorRule, Words, at_least
from byoc_vision.debugger.trial import Mode


@dataclass
class Phase:
    """Consecutive steps of one mode: the mean loss of each, and the last one's numbers."""

    mode: Mode
    losses: list[float]
    step: int
    mode_step: int

    @property
    def mean(self) -> float:
        """Mean loss over the phase."""
        return float(np.mean(self.losses))


@dataclass(eq=False)
class PhaseRule(TensorRule):
    """A rule that is judged once a phase has ended: at the next step of another mode, or at the job's last step."""

    reads = "Losses of training and validation"

    tensor_regex: Words = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._phase: Phase | None = None
        self._modes: set[Mode] = set()

    def ended(self, step: int) -> Iterator[Phase]:
        """Yield the phases that end with what was saved at `step`."""
        losses, (mode, mode_step) = self.losses(step, self.tensor_regex), self.trial.mode_step(step)
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
        for mode, name in ((Mode.TRAIN, "training"), (Mode.EVAL, "validation")):
            if mode not in self._modes:
                raise NotRecordedError(f"Losses of {name} were not recorded.")


@dataclass(eq=False)
class Overfit(PhaseRule):
    """Fires when (mean validation loss − mean training loss) / mean training loss is above `ratio_threshold` (0.1) in
    `patience` (1) evaluations on end, from the global step `start_step` (0) on.

    The means are those of one pass over the validation split and of the training steps since the pass before.
    """

    advice = "Stop earlier, add augmentation, weight decay or pictures, or train fewer layers."

    start_step: int = 0
    patience: int = at_least(1, 1)
    ratio_threshold: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._training: float | None = None
        self._above = 0

    def judge(self, step: int) -> Iterator[Finding]:
        for phase in self.ended(step):
            if phase.mode is Mode.TRAIN:
                self._training = phase.mean
            elif phase.mode is Mode.EVAL and self._training and phase.step >= self.start_step:
                self.judged += 1
                ratio = (phase.mean - self._training) / self._training
                self._above = self._above + 1 if ratio > self.ratio_threshold else 0
                if self._above >= self.patience:
                    detail = f"validation, {phase.mean:.4g}, is {ratio:.1%} above training, {self._training:.4g}"
                    yield Finding(phase.step, "loss", ratio, self.ratio_threshold, detail)


@dataclass(eq=False)
class Overtraining(PhaseRule):
    """Fires when neither loss improves any more: training for `patience_train` (5) phases and validation for
    `patience_validation` (10) have not fallen below their best by more than `delta` (0.01).

    The documentation leaves open whether one loss is enough. Here both must have come to rest: a training loss that has
    is no harm while validation still improves, and one that falls while validation rises is `Overfit`'s. It speaks of
    steps; single batches hardly ever reach the luckiest one before them, so a step is a phase (an epoch, a pass).
    """

    advice = "Stop at the best epoch (set patience), or lower the learning rate once the loss has come to rest."

    patience_train: int = at_least(1, 5)
    patience_validation: int = at_least(1, 10)
    delta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self.patience = {Mode.TRAIN: self.patience_train, Mode.EVAL: self.patience_validation}
        self._best: dict[Mode, float] = {}
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
                waited = self._since[Mode.EVAL]
                detail = f"nothing better than {self._best[Mode.EVAL]:.4g} in {waited} evaluations"
                yield Finding(phase.step, "validation loss", waited, self.patience[Mode.EVAL], detail)


@dataclass(eq=False)
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

    collection_names: Words = ()
    use_losses_collection: bool = True
    num_steps: int = at_least(1, 10)
    diff_percent: float = 0.1
    increase_threshold_percent: float = 5
    mode: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode is not None and self.mode.upper() not in ("TRAIN", "EVAL", "GLOBAL"):
            raise ParameterError(f"{self.rule_name}: mode must be TRAIN, EVAL or GLOBAL and is {self.mode!r}.")
        self._mode = Mode[self.mode.upper()] if self.mode else None
        self._history: list[tuple[int, float]] = []
        self._next = 0

    def losses(self, step: int, patterns: Words) -> dict[str, float]:
        """Return the losses saved at `step` that the rule was told to read."""
        named: dict[str, float] = {}
        for name in self.names(step, self.collection_names, patterns):
            value = self.mean(name, step)
            if value is not None:
                named[name] = value
        return named | super().losses(step, ()) if self.use_losses_collection else named

    def judge(self, step: int) -> Iterator[Finding]:
        if self._mode is None:
            best = (mode for mode in (Mode.EVAL, Mode.TRAIN) if mode in self.trial.modes)
            self._mode = next(best, Mode.GLOBAL)
        if self._mode is Mode.EVAL and Mode.TRAIN in self.trial.modes:
            for phase in self.ended(step):
                if phase.mode is Mode.EVAL:
                    yield from self._compare(phase.step, phase.mode_step, phase.mean)
            return
        mode, mode_step = self.trial.mode_step(step)
        if self._mode in (Mode.GLOBAL, mode):
            losses = self.losses(step, self.tensor_regex)
            if losses:
                self.seen += 1
                at = step if self._mode is Mode.GLOBAL else mode_step
                yield from self._compare(step, at, sum(losses.values()) / len(losses))

    def _compare(self, step: int, at: int, loss: float) -> Iterator[Finding]:
        """Judge the `loss` of a global step, the mode's step `at`."""
        self._history.append((at, loss))
        earlier = [(then, value) for then, value in self._history if then <= at - self.num_steps]
        if not earlier or at < self._next:
            return
        del self._history[: len(earlier) - 1]
        self._next = at + self.num_steps
        self.judged += 1
        _, before = earlier[-1]
        change = 100 * (loss - before) / abs(before) if before else 0.0
        if change > self.increase_threshold_percent:
            detail = f"up {change:.3g} %, from {before:.4g} to {loss:.4g}"
            yield Finding(step, "loss", change, self.increase_threshold_percent, detail)
        elif 0 <= -change < self.diff_percent:
            detail = f"down {-change:.3g} %, from {before:.4g} to {loss:.4g}"
            yield Finding(step, "loss", -change, self.diff_percent, detail)

    def check(self) -> None:
        """Raise `NotRecordedError` when no loss has been seen."""
        TensorRule.check(self)
