"""The hyperparameters of a training run, defined once: name, type, range, default, meaning, and what goes together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_type_hints

from byoc_vision.contract.architectures import ARCHITECTURES
from byoc_vision.contract.errors import UserError


class SettingsError(UserError):
    """A hyperparameter is unknown or has a value that cannot be used."""


def _setting(
    default: Any, meaning: str, low: float | None = None, high: float | None = None, choices: Iterable[str] = ()
) -> Any:
    return field(default=default, metadata={"help": meaning, "low": low, "high": high, "choices": tuple(choices)})


def _choice(meaning: str, default: str, *others: str) -> Any:
    return _setting(default, meaning, choices=(default, *others))


@dataclass(frozen=True)
class Settings:
    """One training run's hyperparameters; `low` and `high` are the least and the greatest value allowed."""

    arch: str = _setting("resnet50", "architecture: any torchvision classifier, by its name there")
    pretrained: bool = _setting(True, "start from pretrained weights: the `weights` channel's, else torchvision's")
    train_layers: str = _choice(
        "what is trained: the new head, the backbone's last block too, or all", "head", "last-block", "all"
    )
    blocks: int = _setting(1, "how many of the backbone's last blocks last-block trains", 1, 100)
    epochs: int = _setting(30, "passes over the training pictures, at most", 1, 10_000)
    batch_size: int = _setting(64, "pictures in a training batch", 1, 65_536)
    test_batch_size: int = _setting(64, "pictures in a batch that is only evaluated", 1, 65_536)
    lr: float | None = _setting(
        None,
        "learning rate at the start (preset: 0.003 for a head, 0.0003 for all layers if pretrained, else 0.001)",
        1e-8,
        100,
    )
    layer_decay: float = _setting(
        1, "share of a block's learning rate that the block before it has (1: all alike)", 0.01, 1
    )
    unfreeze_epochs: int = _setting(
        0, "epochs until all layers learn, of which the head is the first (0: all at once)", 0, 1000
    )
    schedule: str = _choice("learning rate goes down to 0, or stays", "cosine", "constant")
    warmup_epochs: float = _setting(0, "epochs in which the learning rate rises to its full value", 0, 1000)
    optimizer: str = _choice("how weights are updated", "adamw", "adam", "sgd")
    weight_decay: float = _setting(0.01, "weight decay", 0, 10)
    momentum: float = _setting(0.9, "momentum, of sgd only", 0, 0.9999)
    label_smoothing: float = _setting(0.1, "share of the target given to all classes alike", 0, 0.9)
    calibrate: bool = _setting(
        True, "fit the probabilities to the validation pictures at the end (temperature scaling)"
    )
    class_weights: str = _choice("the loss counts classes by their pictures, or all alike", "none", "balanced")
    sampling: str = _choice("an epoch shows each picture once, or each class equally often", "all", "balanced")
    mixup: float = _setting(0, "mix pairs of pictures, with shares drawn from Beta(mixup, mixup) (0: no)", 0, 100)
    cutmix: float = _setting(
        0, "paste parts of pictures into others, of sizes drawn from Beta(cutmix, cutmix) (0: no)", 0, 100
    )
    clip_gradient: float = _setting(0, "greatest norm of a step's gradient (0: any)", 0, 1e6)
    ema: float = _setting(0, "decay of the moving average of the weights that is kept (0: the weights)", 0, 0.99999)
    patience: int = _setting(10, "epochs without a lower validation loss before training stops (0: never)", 0, 10_000)
    image_size: int | None = _setting(
        None, "pixels of the square's side the network sees (preset: the weights')", 16, 2048
    )
    augment: str = _choice(
        "training pictures: as they are, cropped and mirrored, or TrivialAugment too", "none", "basic", "trivial"
    )
    crop_scale: float = _setting(0.25, "least share of a picture's area that `augment` leaves", 0.01, 1)
    flip: str = _choice(
        "how `augment` mirrors pictures: left to right, top to bottom too, or not", "horizontal", "both", "none"
    )
    views: int = _setting(
        0,
        "augmented versions of each training picture, whose features are computed once (0: new ones each epoch)",
        0,
        64,
    )
    normalization: str = _choice("mean and standard deviation: the weights', or measured on the data", "preset", "data")
    validation_share: float = _setting(0.15, "share of each class that validates where no split does", 0.01, 0.5)
    test_share: float = _setting(0.15, "share of each class that tests where the data has no splits", 0, 0.5)
    max_unreadable: float = _setting(0.01, "share of unreadable pictures that is skipped, not fatal", 0, 1)
    precision: str | None = _setting(
        None,
        "number format of the network's arithmetic (preset: bfloat16 to train all layers where the hardware has it)",
        choices=("float32", "bfloat16"),
    )
    workers: int | None = _setting(None, "processes that decode pictures (preset: one a core)", 0, 512)
    seed: int = _setting(0, "start of every random choice", 0, 2**31 - 1)
    report: bool = _setting(True, "leave report.html; byoc report makes it of a job without, too")
    extract_only: bool = _setting(False, "compute the features of a frozen backbone for other jobs, and end")
    debug_interval: int = _setting(
        500, "steps between two recordings of the network, for the debugger (0: no recording, no profile)", 0, 1_000_000
    )
    export: bool = _setting(True, "leave probe pictures and graphs, with which serving is fast and CPUs need no torch")
    trace_steps: int = _setting(0, "steps that torch's profiler traces, for ui.perfetto.dev", 0, 1000)


#: The text that stands for "not set" where the weights or the machine decide.
PRESET = "preset"

#: Each setting's type, whether or not it has a preset.
TYPES = {name: (get_args(kind) or [kind])[0] for name, kind in get_type_hints(Settings).items()}


def kebab(name: str) -> str:
    """Return a field's name as it is written in requests and on the command line."""
    return name.replace("_", "-")


#: The settings that features depend on, or whether they are computed once at all.
FEATURES_DEPEND_ON = (
    "arch", "augment", "blocks", "crop-scale", "flip", "image-size", "normalization", "precision", "train-layers",
    "views",
)  # fmt: skip


def on_features(settings: Settings) -> bool:
    """Whether training sees the same features of the frozen layers in every epoch: they are computed once."""
    same = settings.augment == "none" or settings.views > 0
    # The head of a squeezenet comes before its pooling: there are as many features as in a picture.
    return same and settings.train_layers != "all" and not settings.arch.startswith("squeezenet")


def learning_rate(settings: Settings) -> float:
    """Return the learning rate that `settings` name, or that suits what is trained, with adamw and adam.

    A new head has far to go, pretrained layers have not.
    """
    if settings.lr is not None:
        return settings.lr
    if settings.train_layers == "all":
        return 0.0003 if settings.pretrained else 0.001
    return 0.003 if settings.train_layers == "head" else 0.001


def conflicts(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each of the things in `settings` that cannot go together."""
    changed = {kebab(f.name) for f in fields(Settings) if getattr(settings, f.name) != f.default}
    kept, blocks = on_features(settings), ARCHITECTURES[settings.arch].blocks
    if settings.trace_steps and not settings.debug_interval:
        yield "trace-steps is part of the profile, which debug-interval 0 turns off; set one of the two"
    if settings.warmup_epochs > settings.epochs:
        yield (
            f"warmup-epochs is {settings.warmup_epochs:g} and epochs {settings.epochs}, so the learning rate would "
            "never rise to its full value; set warmup-epochs to fewer"
        )
    if settings.unfreeze_epochs >= settings.epochs:
        yield (
            f"unfreeze-epochs is {settings.unfreeze_epochs} and epochs {settings.epochs}, so some layers would never "
            "learn; set unfreeze-epochs to fewer"
        )
    if not settings.pretrained and settings.train_layers != "all":
        yield "pretrained is false, so a frozen backbone would stay random; set train-layers to all"
    if "blocks" in changed and settings.train_layers != "last-block":
        yield "blocks is how many train-layers last-block trains; set train-layers to that, or remove blocks"
    if settings.blocks > blocks:
        has = f"blocks is {settings.blocks}, and {settings.arch} has {blocks}"
        yield f"{has}; set blocks to fewer, or train-layers to all"
    for name in sorted(changed & {"layer-decay", "unfreeze-epochs"}):
        if settings.train_layers == "head":
            remedy = "set train-layers to last-block or all"
            yield f"{name} is for more layers than the head, which is trained alone; {remedy}"
    for name in sorted(changed & {"crop-scale", "flip", "views"}):
        if settings.augment == "none":
            yield f"{name} is part of augment, and that is none; set augment to basic"
    if settings.class_weights == settings.sampling == "balanced":
        yield "class-weights and sampling are both balanced, which counts rare classes twice; set one of the two"
    if settings.views > 0 and not kept:
        yield (
            "views is for features that are computed once, and train-layers all and squeezenets have none; "
            "set views to 0"
        )
    if settings.cutmix > 0 and kept:
        yield (
            "cutmix is for pictures, and features that are computed once are trained on here; set mixup instead, or "
            "augment to basic and views to 0"
        )
    if settings.extract_only and not kept:
        yield (
            "extract-only is for features that are computed once: set train-layers to head or last-block, augment to "
            "none or views above 0, and take no squeezenet"
        )
