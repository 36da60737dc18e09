"""The hyperparameters, defined once: name, type, range, default and meaning.

The command line, the SageMaker job, the launchers' checks and the documentation's table are all made from `Settings`;
`python -m byoc_vision.contract.hyperparameters` prints the table.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, get_args, get_type_hints

from byoc_vision.contract.architectures import ARCHITECTURES, similar
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import CHANNELS


class SettingsError(UserError):
    """A hyperparameter is unknown or has a value that cannot be used."""


def _setting(
    default: Any, meaning: str, low: float | None = None, high: float | None = None, choices: Iterable[str] = ()
) -> Any:
    return field(default=default, metadata={"help": meaning, "low": low, "high": high, "choices": tuple(choices)})


@dataclass(frozen=True)
class Settings:
    """One training run's hyperparameters; `low` and `high` are the least and the greatest value allowed."""

    arch: str = _setting("resnet50", "architecture: any torchvision classifier, by its name there")
    pretrained: bool = _setting(True, "start from pretrained weights: the `weights` channel's, else torchvision's")
    train_layers: str = _setting(
        "head",
        "what is trained: the new head, the backbone's last block too, or all",
        choices=("head", "last-block", "all"),
    )
    blocks: int = _setting(1, "blocks that `train-layers` last-block trains, the last ones of the backbone", 1, 100)
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
    schedule: str = _setting("cosine", "learning rate goes down to 0, or stays", choices=("cosine", "constant"))
    warmup_epochs: float = _setting(0, "epochs in which the learning rate rises to its full value", 0, 1000)
    optimizer: str = _setting("adamw", "how weights are updated", choices=("adamw", "adam", "sgd"))
    weight_decay: float = _setting(0.01, "weight decay", 0, 10)
    momentum: float = _setting(0.9, "momentum, of sgd only", 0, 0.9999)
    label_smoothing: float = _setting(0.1, "share of the target given to all classes alike", 0, 0.9)
    calibrate: bool = _setting(
        True, "fit the probabilities to the validation pictures at the end (temperature scaling)"
    )
    class_weights: str = _setting(
        "none", "the loss counts classes by their pictures, or all alike", choices=("none", "balanced")
    )
    sampling: str = _setting(
        "all", "an epoch shows each picture once, or each class equally often", choices=("all", "balanced")
    )
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
    augment: str = _setting(
        "none",
        "training pictures: as they are, cropped and mirrored, or TrivialAugment too",
        choices=("none", "basic", "trivial"),
    )
    crop_scale: float = _setting(0.25, "least share of a picture's area that `augment` leaves", 0.01, 1)
    flip: str = _setting(
        "horizontal",
        "how `augment` mirrors pictures: left and right, top and bottom too, or not (digits)",
        choices=("horizontal", "both", "none"),
    )
    views: int = _setting(
        0, "augmented versions of each training picture whose features are kept (0: new ones each epoch)", 0, 64
    )
    normalization: str = _setting(
        "preset", "mean and standard deviation: the weights', or measured on the data", choices=("preset", "data")
    )
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


def parse(values: Mapping[str, Any]) -> Settings:
    """Return the settings that `values` (kebab-case name -> value or text, quoted or not) describe.

    Raises `SettingsError` for a name that does not exist, for a value of the wrong type or out of range, and for values
    that do not go together.
    """
    settings = Settings(**_values(values))
    for wrong, sentence in _conflicts(settings):
        if wrong:
            raise SettingsError(sentence)
    return settings


def _values(values: Mapping[str, Any]) -> dict[str, Any]:
    known = {kebab(f.name): f for f in fields(Settings)}
    for name in values:
        if name in CHANNELS:
            raise SettingsError(f"{name} is a channel and no hyperparameter; give it with the data, as {name}=SOURCE")
        if name not in known:
            near = similar_name(name)
            hint = f"did you mean {near!r}?" if near else f"the names are {', '.join(known)}"
            raise SettingsError(f"there is no hyperparameter {name!r}; {hint}")
    return {known[name].name: _value(known[name], value) for name, value in values.items()}


def _conflicts(settings: Settings) -> Iterator[tuple[bool, str]]:
    """Yield what cannot go together: whether `settings` have it, and the sentence that says so."""
    yield (
        bool(settings.trace_steps and not settings.debug_interval),
        "trace-steps is part of the profile, which debug-interval 0 turns off; set one of the two",
    )
    for name, given in (("warmup-epochs", settings.warmup_epochs), ("unfreeze-epochs", settings.unfreeze_epochs)):
        yield (
            given > settings.epochs,
            f"{name} is {given:g} and epochs {settings.epochs}, so training would end before that; set {name} to fewer",
        )
    yield (
        not settings.pretrained and settings.train_layers != "all",
        "pretrained is false, so a frozen backbone would stay random; set train-layers to all",
    )
    yield (
        settings.blocks != Settings.blocks and settings.train_layers != "last-block",
        f"blocks is about train-layers last-block, and that is {settings.train_layers}; remove one of the two",
    )
    blocks = ARCHITECTURES[settings.arch].blocks
    yield (
        settings.blocks > blocks,
        f"blocks is {settings.blocks}, and {settings.arch} has {blocks}; set blocks to fewer, or train-layers to all",
    )
    yield (
        settings.class_weights == settings.sampling == "balanced",
        "class-weights and sampling are both balanced, which counts rare classes twice; set one of the two",
    )
    for name, given, usual in (
        ("layer-decay", settings.layer_decay, Settings.layer_decay),
        ("unfreeze-epochs", settings.unfreeze_epochs, Settings.unfreeze_epochs),
    ):
        yield (
            settings.train_layers == "head" and given != usual,
            f"{name} is about more than the head, which is trained alone; set train-layers to last-block or all",
        )
    for name, given, usual in (
        ("crop-scale", settings.crop_scale, Settings.crop_scale),
        ("flip", settings.flip, Settings.flip),
        ("views", settings.views, Settings.views),
    ):
        yield (
            settings.augment == "none" and given != usual,
            f"{name} is about what augment does, and that is none; set augment to basic",
        )
    yield (
        bool(settings.views) and settings.train_layers == "all",
        "views is for features that are computed once, and with train-layers all they change; set one of the two",
    )
    kept = on_features(settings)
    yield (
        bool(settings.cutmix) and kept,
        "cutmix pastes parts of pictures, and this training sees features that were computed once; take mixup instead, "
        "or set augment to basic and views to 0",
    )
    yield (
        settings.extract_only and not kept,
        "extract-only is for features that are computed once: set train-layers to head or last-block, augment to none "
        "or views to some, and take no squeezenet",
    )


#: What other programs call some of these.
_ALIASES = {
    "lr": ("learning-rate", "base-lr", "initial-lr", "eta"),
    "epochs": ("num-epochs", "num-train-epochs", "max-epochs", "n-epochs", "num-iterations"),
    "arch": ("model", "model-name", "network", "net", "backbone", "architecture", "base-model"),
    "batch-size": ("bs", "batch", "train-batch-size", "mini-batch-size", "per-device-train-batch-size"),
    "test-batch-size": ("eval-batch-size", "val-batch-size", "validation-batch-size"),
    "weight-decay": ("wd", "l2", "l2-regularization"),
    "image-size": ("img-size", "imgsz", "input-size", "image-shape", "crop-size", "resolution"),
    "workers": ("num-workers", "n-workers", "dataloader-num-workers"),
    "seed": ("random-state", "random-seed", "manual-seed"),
    "patience": ("early-stopping", "early-stopping-patience"),
    "schedule": ("lr-scheduler", "scheduler", "lr-schedule"),
    "augment": ("data-augmentation", "augmentation-type", "transforms"),
    "train-layers": ("freeze", "fine-tune", "finetune", "unfreeze", "freeze-backbone"),
    "pretrained": ("use-pretrained", "use-pretrained-model"),
    "validation-share": ("val-split", "validation-split", "valid-split", "val-size"),
    "test-share": ("test-split", "test-size"),
    "precision": ("dtype", "amp", "mixed-precision", "bf16", "fp16"),
    "warmup-epochs": ("warmup", "warmup-steps", "warmup-ratio", "lr-warmup-epochs"),
    "class-weights": ("class-weight", "class-balanced", "weighted-loss", "balanced"),
    "sampling": ("sampler", "balanced-sampling", "weighted-sampler", "oversampling", "class-balanced-sampling"),
    "mixup": ("mixup-alpha", "mixup-prob"),
    "cutmix": ("cutmix-alpha", "cutmix-prob"),
    "layer-decay": ("layer-wise-lr-decay", "layerwise-decay", "lr-decay-rate", "discriminative-lr", "llrd"),
    "unfreeze-epochs": ("gradual-unfreezing", "freeze-epochs", "frozen-epochs", "thaw-epochs"),
    "crop-scale": ("scale", "random-resized-crop", "min-crop", "min-scale", "crop-ratio"),
    "flip": ("hflip", "vflip", "horizontal-flip", "vertical-flip", "random-flip", "fliplr", "flipud"),
    "clip-gradient": ("clip", "clip-norm", "clip-value", "grad-clip", "gradient-clip-val", "max-grad-norm", "max-norm"),
    "ema": ("ema-decay", "model-ema", "model-ema-decay", "moving-average-decay"),
    "label-smoothing": ("smoothing",),
}


def similar_name(name: str) -> str | None:
    """Return the hyperparameter that one who wrote `name` may have meant, if there is one."""
    wanted = name.lower().replace("_", "-")
    if meant := [known for known, aliases in _ALIASES.items() if wanted in aliases]:
        return meant[0]
    return next(iter(difflib.get_close_matches(wanted, map(kebab, TYPES), n=1, cutoff=0.65)), None)


#: The settings that features depend on, or whether they are computed once at all.
FEATURES_DEPEND_ON = (
    "arch", "augment", "crop-scale", "flip", "image-size", "normalization", "precision", "train-layers", "views",
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


def from_sagemaker(raw: Mapping[str, Any]) -> Settings:
    """Return the settings of a SageMaker job's `hyperparameters.json`, less the names SageMaker itself adds."""
    return parse({name: value for name, value in raw.items() if not name.startswith(("sagemaker_", "_tuning_"))})


def unquote(value: Any) -> Any:
    """Undo SageMaker's JSON quoting of strings, however often it was applied: '"32"' -> '32'."""
    while isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        try:
            value = json.loads(value)
        except ValueError:
            break
    return value


def as_text(settings: Settings) -> dict[str, str]:
    """Return `settings` as a request's hyperparameters: kebab-case names and plain strings."""
    return {kebab(f.name): shown(getattr(settings, f.name)) for f in fields(Settings)}


def checked(values: Mapping[str, Any]) -> dict[str, str]:
    """Return `values` as a request has them; raise `SettingsError` for the first that training would refuse."""
    parse(values)
    return each_checked(values)


def each_checked(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what `checked` does, for values that others will join: whether they go together is not looked at."""
    return {kebab(name): shown(value) for name, value in sorted(_values(values).items())}


def _value(setting: Field[Any], value: Any) -> Any:
    text = str(unquote(value)).strip()
    name, kind, limits = kebab(setting.name), TYPES[setting.name], setting.metadata
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise SettingsError(f"{name} is {text!r}; give true or false")
        return text.lower() == "true"
    if setting.default is None and text == PRESET:
        return None
    if setting.name == "arch" and text not in ARCHITECTURES:
        near = similar(text)
        hint = f"did you mean {', '.join(near)}?" if near else "the names are those of torchvision.models"
        raise SettingsError(f"there is no architecture {text!r}; {hint}")
    if kind is str:
        if limits["choices"] and text not in limits["choices"]:
            raise SettingsError(f"{name} is {text!r}; give one of {', '.join(limits['choices'])}")
        return text
    try:
        number: float = kind(text)
    except ValueError:
        wanted = "a number" if kind is float else "a whole number"
        raise SettingsError(f"{name} is {text!r}; give {wanted}") from None
    if not limits["low"] <= number <= limits["high"]:
        raise SettingsError(f"{name} is {text}; give a value from {limits['low']:g} to {limits['high']:g}")
    return number


def shown(value: Any) -> str:
    """Return a setting's value as it is written in requests and on the command line."""
    return PRESET if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def table() -> str:
    """Return the table of hyperparameters in docs/training.md."""
    rows = ["| name | default | values | meaning |", "|---|---|---|---|"]
    for f in fields(Settings):
        low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
        values = ", ".join(choices) or (f"{low:g} … {high:g}" if low is not None else "")
        values = values or ("true, false" if TYPES[f.name] is bool else "a name")
        rows.append(f"| `{kebab(f.name)}` | {shown(f.default)} | {values} | {f.metadata['help']} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
