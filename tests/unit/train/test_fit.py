"""The loop on a handful of ready features: what each of its settings does, against a plain computation."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from byoc_vision.contract.hyperparameters import Settings
from train.batches import FeatureBatches, Order
from train.checkpoint import Checkpoint
from train.fit import Fit
from train.mixing import mix
from train.record.callback import Callback
from train.stopping import Stopped, StopSignal

FEATURES = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
BATCH = 4

PLAIN: dict[str, Any] = {"epochs": 2, "batch_size": BATCH, "label_smoothing": 0.0, "lr": 0.1, "schedule": "constant"}

Made = Callable[..., Fit]


@pytest.fixture
def fit() -> Made:
    """Return a function that makes the fit of a linear network, always from the same weights."""

    def make(callback: Callback | None = None, **settings: Any) -> Fit:
        torch.manual_seed(2)
        network = nn.Linear(5, 3)
        rows = torch.arange(len(TARGETS))[:, None]
        order = Order(len(TARGETS), BATCH, seed=3)
        train = FeatureBatches(FEATURES, rows, TARGETS, order)
        plain = FeatureBatches(FEATURES, rows, TARGETS, Order(len(TARGETS), BATCH))
        return Fit(network, Settings(**PLAIN | {"train_layers": "head"} | settings), train, plain, callback)

    return make


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Fit], Fit]:
    """Return a function that runs a fit from its beginning to its end."""
    number = count()

    def finish(made: Fit) -> Fit:
        made.run(Checkpoint(tmp_path / str(next(number)), {}), StopSignal(), lambda line: None)
        return made

    return finish


class Watch(Callback):
    """Keeps the learning rate and the weights of every training step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.weights: list[Tensor] = []
        self.fit: Fit | None = None

    def update(self) -> None:
        assert self.fit
        self.rates.append(self.fit.optimizer.param_groups[0]["lr"])
        self.weights.append(self.fit.network.weight.detach().clone())


def watched(fit: Made, **settings: Any) -> tuple[Fit, Watch]:
    watch = Watch()
    watch.fit = fit(watch, **settings)
    return watch.fit, watch


def test_balanced_classes_weigh_alike_in_the_loss(fit: Made, run: Callable[[Fit], Fit]) -> None:
    made = fit(class_weights="balanced", lr=1e-8, epochs=1)
    logits = made.network(FEATURES)
    of_class = [
        functional.cross_entropy(logits[label == TARGETS], TARGETS[label == TARGETS]).item() for label in range(3)
    ]
    history = run(made).progress.history
    assert history[0]["train_loss"] == pytest.approx(np.mean(of_class), rel=1e-5)
    plain = functional.cross_entropy(logits, TARGETS).item()
    assert history[0]["validation_loss"] == pytest.approx(plain, rel=1e-5)


def test_the_gradient_is_clipped_to_its_norm(fit: Made, run: Callable[[Fit], Fit]) -> None:
    norms: list[float] = []

    class Norm(Callback):
        def update(self) -> None:
            norms.append(nn.utils.get_total_norm([weights.grad for weights in made.network.parameters()]).item())

    settings = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 1e-8, "epochs": 1}
    made = fit(Norm(), **settings)
    run(made)
    plain, norms = norms, []
    middle = sorted(plain)[1]
    made = fit(Norm(), clip_gradient=middle, **settings)
    run(made)
    assert norms == pytest.approx([min(norm, middle) for norm in plain], rel=1e-4) and norms != plain


def test_the_learning_rate_rises_and_then_follows_its_schedule(fit: Made, run: Callable[[Fit], Fit]) -> None:
    made, watch = watched(fit, warmup_epochs=1.0, epochs=3)
    run(made)
    assert watch.rates == pytest.approx([0.1 / 3, 0.2 / 3, *[0.1] * 7])
    made, cosine = watched(fit, epochs=3, schedule="cosine")
    run(made)
    made, warm = watched(fit, warmup_epochs=1.0, epochs=3, schedule="cosine")
    run(made)
    assert warm.rates[2:] == cosine.rates[2:] and warm.rates[0] == pytest.approx(cosine.rates[0] / 3)


def test_the_average_of_the_weights_is_kept(fit: Made, run: Callable[[Fit], Fit]) -> None:
    made, watch = watched(fit, ema=0.7, epochs=1)
    run(made)
    average = watch.weights[0]
    for weights in watch.weights[1:]:
        average = 0.7 * average + 0.3 * weights
    torch.testing.assert_close(made.network.weight, average)


def of_both(network: nn.Module, inputs: Tensor, targets: Tensor, others: Tensor, share: float) -> float:
    """Return the loss of mixed inputs: their own classes have the `share`, and those of the `others` the rest."""
    sides = functional.one_hot(targets, 3), functional.one_hot(targets[others], 3)
    mixed = (share * sides[0] + (1 - share) * sides[1]).float()
    return functional.cross_entropy(network(inputs.float()), mixed, reduction="sum").item()


def test_mixup_trains_on_pairs(fit: Made, run: Callable[[Fit], Fit]) -> None:
    made = fit(mixup=0.4, lr=1e-8, epochs=1)
    total = 0.0
    for number, (inputs, targets) in enumerate(made.train.epoch(1)):
        random = np.random.default_rng((0, 1, number, 0))
        share = random.beta(0.4, 0.4)
        others = torch.from_numpy(random.permutation(len(targets)))
        total += of_both(made.network, share * inputs + (1 - share) * inputs[others], targets, others, share)
    assert run(made).progress.history[0]["train_loss"] == pytest.approx(total / len(TARGETS), rel=1e-4)


def test_cutmix_trains_on_pairs(run: Callable[[Fit], Fit]) -> None:
    torch.manual_seed(4)
    pictures, rows = torch.randn(12, 3, 8, 8), torch.arange(len(TARGETS))[:, None]
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3))
    batches = FeatureBatches(pictures, rows, TARGETS, Order(len(TARGETS), BATCH, seed=3))
    settings = PLAIN | {"train_layers": "all", "cutmix": 1.0, "lr": 1e-8, "epochs": 1, "precision": "float32"}
    total, plain = 0.0, 0.0
    for number, (inputs, targets) in enumerate(batches.epoch(1)):
        mixed = mix(inputs, 0.0, 1.0, (0, 1, number, 0))
        assert mixed
        total += of_both(network, mixed.inputs, targets, mixed.others, mixed.share)
        plain += functional.cross_entropy(network(inputs), targets, reduction="sum").item()
    made = run(Fit(network, Settings(**settings), batches, batches))
    assert made.progress.history[0]["train_loss"] == pytest.approx(total / len(TARGETS), rel=1e-4)
    assert abs(total - plain) > 0.01 * plain


def test_cutmix_pastes_a_part_and_says_how_large_it_is() -> None:
    pictures = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 20, 30).contiguous()
    shares = []
    for number in range(200):
        mixed = mix(pictures, 0.0, 1.0, (0, number))
        assert mixed
        own = mixed.inputs == pictures
        assert torch.equal(mixed.inputs[~own], pictures[mixed.others][~own])
        changed = (mixed.others != torch.arange(8)).nonzero().flatten()
        assert own[changed].float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([mixed.share] * len(changed))
        rows, columns = (own[changed[0], 0].logical_not().any(dim=axis).nonzero().flatten() for axis in (1, 0))
        if len(rows):  # one rectangle
            assert len(rows) * len(columns) == pytest.approx((1 - mixed.share) * 600)
        shares.append(mixed.share)
    assert 0.5 < np.mean(shares) < 0.8 and min(shares) < 0.3  # a part is cut off at the picture's ends


def test_both_kinds_of_mixing_take_turns() -> None:
    pictures = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()
    whole = 0
    for number in range(100):
        mixed = mix(pictures, 1.0, 1.0, (number,))
        assert mixed
        whole += bool((mixed.inputs == mixed.inputs[:, :1, :1, :1]).all())
    assert 30 < whole < 75
    assert mix(pictures, 0.0, 0.0, (0,)) is None


@pytest.fixture
def deep() -> Made:
    """Return a function that makes the fit of a network of three layers, the last its head."""

    def make(callback: Callback | None = None, **settings: Any) -> Fit:
        torch.manual_seed(2)
        network = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 3))
        rows = torch.arange(len(TARGETS))[:, None]
        order = Order(len(TARGETS), BATCH, seed=3)
        batches = FeatureBatches(FEATURES, rows, TARGETS, order)
        blocks = (("0", "1"), ("2",), ("3",))
        return Fit(network, Settings(**PLAIN | {"train_layers": "all"} | settings), batches, batches, callback, blocks)

    return make


def test_blocks_learn_the_slower_the_farther_they_are_from_the_head(deep: Made, run: Callable[[Fit], Fit]) -> None:
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 1e-4, "epochs": 1}
    steps = {}
    for decay in (1.0, 0.5):
        made = deep(layer_decay=decay, **plain)
        before = {name: tensor.clone() for name, tensor in made.network.state_dict().items()}
        after = run(made).network.state_dict()
        steps[decay] = {name: after[name] - tensor for name, tensor in before.items()}
    for layer, share in (("0", 0.25), ("1", 0.25), ("2", 0.5), ("3", 1.0)):
        torch.testing.assert_close(
            steps[0.5][f"{layer}.weight"], share * steps[1.0][f"{layer}.weight"], rtol=0.02, atol=1e-6
        )


def test_layers_begin_to_learn_from_the_head_on(deep: Made, run: Callable[[Fit], Fit]) -> None:
    seen: dict[int, dict[str, Tensor]] = {}

    class Remember(Callback):
        def update(self) -> None:
            seen[made.progress.epoch] = {name: tensor.clone() for name, tensor in made.network.state_dict().items()}

    made = deep(Remember(), unfreeze_epochs=2, epochs=4)
    seen[0] = {name: tensor.clone() for name, tensor in made.network.state_dict().items()}
    run(made)
    for epoch, learning in ((1, "3"), (2, "23"), (3, "0123"), (4, "0123")):
        changed = {name[0] for name in seen[0] if not torch.equal(seen[epoch][name], seen[epoch - 1][name])}
        assert changed == set(learning), f"in epoch {epoch}"  # with batch normalisation's statistics


@pytest.mark.parametrize(
    "settings", [{"unfreeze_epochs": 1}, {"unfreeze_epochs": 2, "layer_decay": 0.5, "mixup": 0.4, "ema": 0.9}]
)
def test_a_run_that_unfreezes_and_was_interrupted_ends_with_the_same_bits(
    deep: Made, run: Callable[[Fit], Fit], tmp_path: Path, settings: dict[str, Any]
) -> None:
    interrupted(deep, run, tmp_path, settings)


@pytest.mark.parametrize("settings", [{"mixup": 0.4}, {"ema": 0.9}, {"warmup_epochs": 1.0, "clip_gradient": 0.1}])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(
    fit: Made, run: Callable[[Fit], Fit], tmp_path: Path, settings: dict[str, float]
) -> None:
    interrupted(fit, run, tmp_path, settings)


def interrupted(fit: Made, run: Callable[[Fit], Fit], tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = run(fit(epochs=3, **settings)).network.state_dict()
    checkpoint = Checkpoint(tmp_path / "other", {})
    stop = StopSignal()

    class Stop(Callback):
        steps = 0

        def update(self) -> None:
            self.steps += 1
            stop.requested = self.steps == 4

    with pytest.raises(Stopped):
        fit(Stop(), epochs=3, **settings).run(checkpoint, stop, lambda line: None)
    continued = fit(epochs=3, **settings)
    continued.run(checkpoint, StopSignal(), lambda line: None)
    assert all(torch.equal(whole[name], tensor) for name, tensor in continued.network.state_dict().items())


def test_the_presets_change_nothing(fit: Made) -> None:
    made = fit()
    assert made.averaged is None and made.class_weights is None
