"""Hyperparameters as texts: read, checked and written.

The command line, the SageMaker job, the launchers' checks and the documentation's table are all made from `Settings`;
`python -m byoc_vision.contract.hyperparameters` prints the table.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

from byoc_vision.contract.architectures import ARCHITECTURES, similar
from byoc_vision.contract.job import CHANNELS
from byoc_vision.contract.settings import (
    FEATURES_DEPEND_ON,
    PRESET,
    TYPES,
    Settings,
    SettingsError,
    conflicts,
    kebab,
    learning_rate,
    on_features,
)

__all__ = [
    "FEATURES_DEPEND_ON",
    "PRESET",
    "TYPES",
    "Settings",
    "SettingsError",
    "as_text",
    "checked",
    "each_checked",
    "from_sagemaker",
    "kebab",
    "learning_rate",
    "on_features",
    "parse",
    "shown",
    "similar_name",
    "table",
    "unquote",
]


def parse(values: Mapping[str, Any]) -> Settings:
    """Return the settings that `values` (kebab-case name -> value or text, quoted or not) describe.

    Raises `SettingsError` for a name that does not exist, for a value of the wrong type or out of range, and for values
    that do not go together.
    """
    settings = Settings(**_values(values))
    for sentence in conflicts(settings):
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
    refusal = f"{name} is {text[:100]!r}; give"
    preset = f", or {PRESET}" if setting.default is None else ""
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise SettingsError(f"{refusal} true or false")
        return text.lower() == "true"
    if setting.default is None and text == PRESET:
        return None
    if setting.name == "arch" and text not in ARCHITECTURES:
        near = similar(text)
        hint = f"did you mean {', '.join(near)}?" if near else "the names are those of torchvision.models"
        raise SettingsError(f"there is no architecture {text[:100]!r}; {hint}")
    if kind is str:
        if limits["choices"] and text not in limits["choices"]:
            raise SettingsError(f"{refusal} one of {', '.join(limits['choices'])}{preset}")
        return text
    try:
        number: float = kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else f"a number{' with a decimal point' if ',' in text else ''}"
        raise SettingsError(f"{refusal} {wanted}{preset}") from None
    if not limits["low"] <= number <= limits["high"]:
        raise SettingsError(
            f"{name} is {text[:100]}; give a value from {_exact(limits['low'])} to {_exact(limits['high'])}{preset}"
        )
    return number


def _exact(number: float) -> str:
    return f"{number:.15g}"


def shown(value: Any) -> str:
    """Return a setting's value as it is written in requests and on the command line."""
    return PRESET if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def table() -> str:
    """Return the table of hyperparameters in docs/training.md."""
    rows = ["| name | default | values | meaning |", "|---|---|---|---|"]
    for f in fields(Settings):
        low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
        values = ", ".join(choices) or (f"{_exact(low)} … {_exact(high)}" if low is not None else "")
        values = values or ("true, false" if TYPES[f.name] is bool else "a name")
        rows.append(f"| `{kebab(f.name)}` | {shown(f.default)} | {values} | {f.metadata['help']} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
