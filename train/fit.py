"""The loop: fit a network to batches, keep the best epoch, survive interruption. Knows no pictures and no SageMaker."""

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from byoc_vision.contract import metrics
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.hyperparameters import Settings, learning_rate
from train import mixing
from train.batches import Batches
from train.checkpoint import Checkpoint
from train.evaluation import evaluate, precision
from train.layers import Layers
from train.progress import progress
from train.record.callback import Callback
from train.record.smdebug_files import Step
from train.stopping import Stopped, StopSignal

#: Seconds of training after which a checkpoint is written at the next batch; SIGTERM writes one at once.
SAVE_EVERY = 60.0

#: Replicas ask one another after so many batches whether to stop or save: asking makes a GPU wait.
BATCHES_BETWEEN_TALKS = 8

#: A loss that is no number is noticed after so many batches at the latest.
BATCHES_BETWEEN_CHECKS = 256

Weights = dict[str, Tensor]
Figures = dict[str, float]


class DivergedError(UserError):
    """The loss is no longer a number."""


@dataclass
class Progress:
    """How far a run has come: `batch` batches of `epoch` (from 1) are done and their losses add up to `loss_sum`."""

    epoch: int = 1
    batch: int = 0
    samples: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_epoch: int = 0
    history: list[Figures] = field(default_factory=list)

    def better(self, figures: Figures) -> bool:
        """Whether `figures` have a lower validation loss than the best epoch's.

        The loss, not the accuracy: of few pictures that is a matter of luck from epoch to epoch, and its highest value
        says less about new pictures.
        """
        return not self.best_epoch or figures["validation_loss"] < self.history[self.best_epoch - 1]["validation_loss"]


class Fit:
    """Fits the trainable parameters of `network` to `train`; afterwards `network` has the weights of the best epoch.

    `train` and `validation` are on the network's device. `callback` is told of every step. `blocks` are the names of
    the network's layers, by block, where blocks learn differently (see `Layers`).
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Settings,
        train: Batches,
        validation: Batches,
        callback: Callback | None = None,
        blocks: Sequence[Sequence[str]] = ((),),
    ) -> None:
        self.network, self.settings, self.train, self.validation = network, settings, train, validation
        self.callback = callback or Callback()
        self.progress = Progress()
        self.best: Weights = {}
        self.group = train.order.group
        self.replica = self.group.replicate(network)
        self.averaged = _average(network, settings)
        self.class_weights = _class_weights(train.targets, settings)
        self.lr = learning_rate(settings)
        self.layers = Layers(network, blocks, settings)
        self.optimizer = _optimizer(self.layers.groups(), settings, self.lr)
        self.precision = precision(settings)
        self._saved = self._begun = time.monotonic()
        self._losses = torch.zeros((), dtype=torch.float64, device=next(network.parameters()).device)

    def run(self, checkpoint: Checkpoint, stop: StopSignal, report: Callable[[str], None]) -> Progress:
        """Train until the epochs or the patience are used up; `report` gets one line an epoch.

        Continues from `checkpoint` where there is one. Raises `Stopped` after saving when `stop` asks for it, and
        `DivergedError` when the loss becomes NaN or infinite.
        """
        state = self.group.share(checkpoint.load() if self.group.rank == 0 else None)
        if state:
            self._restore(state)
            report(f"continuing at epoch {self.progress.epoch}, batch {self.progress.batch + 1}, from a checkpoint")
        try:
            with self.callback:
                while self.progress.epoch <= self.settings.epochs and not self._out_of_patience():
                    self._train_epoch(checkpoint, stop)
                    self._finish_epoch(stop, report)
        except Stopped:
            self._save(checkpoint)
            raise
        self._save(checkpoint)  # Whatever goes wrong from here on (a full disk, say), the training is not lost.
        self.network.load_state_dict(self.best)
        return self.progress

    def _train_epoch(self, checkpoint: Checkpoint, stop: StopSignal) -> None:
        now, order, group, callback = self.progress, self.train.order, self.group, self.callback
        if self.layers.begin(now.epoch):
            self.replica = group.replicate(self.network)
        self.layers.train()
        self._begun = time.monotonic()
        batches = self.train.epoch(now.epoch, skip=now.batch)
        callback.wait()
        for inputs, targets in progress(batches, len(order) - now.batch, f"epoch {now.epoch}"):
            callback.batch(self._step("train", now.batch))
            rate = self._rate((now.epoch - 1) * len(order) + now.batch)
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = parameters["share"] * rate
            samples = order.size_of(now.batch)
            loss = self._training_loss(inputs, targets)
            # This replica's part of the batch's mean; times their number, because their gradients are averaged.
            mean = loss / samples * group.size
            callback.forward(mean)
            self.optimizer.zero_grad(set_to_none=True)
            mean.backward()  # type: ignore[no-untyped-call]
            if self.settings.clip_gradient:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_gradient)
            callback.backward()
            _step(self.optimizer)
            if self.averaged:
                self.averaged.update_parameters(self.network)
            callback.update()
            # Added up on the device: reading a loss here would make a GPU wait for every batch.
            self._losses = self._losses + loss.detach()
            now.batch += 1
            now.samples += samples
            if group.size == 1 or now.batch % BATCHES_BETWEEN_TALKS == 0 or now.batch == len(order):
                self._look_up(checkpoint, stop)
            callback.wait()
        self._take_stock()

    def _look_up(self, checkpoint: Checkpoint, stop: StopSignal) -> None:
        """Between two batches: raise `Stopped`, save, or check the loss, where any of it is due."""
        if self.group.any(stop.requested):
            self._take_stock()
            raise Stopped
        due = self.group.rank == 0 and time.monotonic() - self._saved > SAVE_EVERY
        if self.group.any(due):
            self._take_stock()
            self._save(checkpoint)
        elif self.progress.batch % BATCHES_BETWEEN_CHECKS == 0:
            self._take_stock()

    def _take_stock(self) -> None:
        """Bring `progress` up to date: the losses of all replicas, the time."""
        now = self.progress
        now.loss_sum += self.group.sum([self._losses.item()])[0]
        self._losses.zero_()
        now.seconds += time.monotonic() - self._begun
        self._begun = time.monotonic()
        if not math.isfinite(now.loss_sum):
            raise self._diverged("training", now.loss_sum)

    def _save(self, checkpoint: Checkpoint) -> None:
        self.callback.flush()  # What is told after this will be told again by the run that continues.
        if self.group.rank == 0:
            checkpoint.save(self._state())
        self._saved = time.monotonic()

    def _finish_epoch(self, stop: StopSignal, report: Callable[[str], None]) -> None:
        now = self.progress
        judged: nn.Module = self.averaged.module if self.averaged else self.network
        self.group.align(judged)
        first = self._step("eval", 0)
        validated = evaluate(judged, self.validation, self.settings, stop, self.callback, first)
        figures = {
            "train_loss": now.loss_sum / now.samples,
            "validation_loss": validated.loss,
            "validation_accuracy": validated.accuracy,
        }
        if not all(map(math.isfinite, figures.values())):
            raise self._diverged("validation", validated.loss)
        report(metrics.line({"epoch": now.epoch, **figures, "seconds": now.seconds}))
        better = now.better(figures)
        now.history.append(figures)
        if better:
            now.best_epoch = now.epoch
            weights = judged.state_dict()
            self.best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
        now.epoch, now.batch, now.samples, now.loss_sum, now.seconds = now.epoch + 1, 0, 0, 0.0, 0.0

    def _step(self, mode: str, batch: int) -> Step:
        """Return which step a batch of this epoch is: the number is known without counting, so none is lost."""
        train, validation = len(self.train.order), len(self.validation.order)
        done = self.progress.epoch - 1
        if mode == "train":
            return Step(mode, done + 1, done * (train + validation) + batch, done * train + batch)
        return Step(mode, done + 1, done * (train + validation) + train + batch, done * validation + batch)

    def _diverged(self, what: str, loss: float) -> DivergedError:
        epoch = self.progress.epoch
        return DivergedError(f"the {what} loss became {loss} in epoch {epoch}; set lr below the {self.lr:g} it was")

    def _out_of_patience(self) -> bool:
        done = self.progress.epoch - 1
        return bool(self.settings.patience) and done - self.progress.best_epoch >= self.settings.patience

    def _rate(self, step: int) -> float:
        """The learning rate of a step, a function of the step alone: there is no scheduler state to lose."""
        batches = len(self.train.order)
        full = self.lr * min(1.0, (step + 1) / max(1.0, self.settings.warmup_epochs * batches))
        if self.settings.schedule == "constant":
            return full
        return full * (1 + math.cos(math.pi * step / (self.settings.epochs * batches))) / 2

    def _logits(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, self.precision, enabled=self.precision is not torch.float32):
            logits: Tensor = self.replica(inputs)
        return logits.float()

    def _training_loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the samples' losses; of pairs of samples that were mixed, the mean by their shares."""
        # Drawn anew from where the run is: there is no state to save.
        place = (self.settings.seed, self.progress.epoch, self.progress.batch, self.group.rank)
        mixed = mixing.mix(inputs, self.settings.mixup, self.settings.cutmix, place)
        if mixed is None:
            return self._loss_sum(self._logits(inputs), targets)
        logits, share, others = self._logits(mixed.inputs), mixed.share, mixed.others
        return share * self._loss_sum(logits, targets) + (1 - share) * self._loss_sum(logits, targets[others])

    def _loss_sum(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing, weights = self.settings.label_smoothing, self.class_weights
        return functional.cross_entropy(logits, targets, weights, label_smoothing=smoothing, reduction="sum")

    def _state(self) -> dict[str, Any]:
        return {
            "progress": asdict(self.progress),
            "network": self.network.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        self.network.load_state_dict(state["network"])
        self.best = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        if self.averaged:
            self.averaged.load_state_dict(state["averaged"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["random_cuda"])


def _average(network: nn.Module, settings: Settings) -> AveragedModel | None:
    """Return the moving average of the network's weights and buffers, if it is wanted."""
    if not settings.ema:
        return None
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)  # type: ignore[no-untyped-call]


def _class_weights(targets: Tensor, settings: Settings) -> Tensor | None:
    """Return each class's weight [C] in the loss: N / (C · its number of samples), of which the samples' mean is 1."""
    if settings.class_weights == "none":
        return None
    counts = torch.bincount(targets)
    return len(targets) / (len(counts) * counts.float())


def _optimizer(groups: list[dict[str, Any]], settings: Settings, lr: float) -> torch.optim.Optimizer:
    for method in filter(callable, vars(torch.optim.Optimizer).values()):
        # Else the first call of some loads torch's compiler, to exempt them from it: a second of every run.
        if (plain := inspect.unwrap(method)) is not method:
            setattr(plain, "__dynamo_disable", plain)
    if settings.optimizer == "sgd":
        momentum = settings.momentum
        return torch.optim.SGD(groups, lr, momentum, weight_decay=settings.weight_decay, fused=True)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr, weight_decay=settings.weight_decay, fused=True)


@torch.no_grad()
def _step(optimizer: torch.optim.Optimizer) -> None:
    """Do what its `step` does, without the wrapper that loads torch's compiler and calls hooks, which there are not."""
    inspect.unwrap(type(optimizer).step)(optimizer)
