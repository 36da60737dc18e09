"""The trained model on disk: `model.safetensors` (the tensors) and `model.json` (all else one needs to answer).

Plain data: nothing is unpickled, and nothing of the training image is needed to load it.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from classifier import network
from classifier.errors import UserError
from classifier.preprocessing import Preprocessing

FORMAT_VERSION = 1
TENSORS = "model.safetensors"
DESCRIPTION = "model.json"


class ArtifactError(UserError):
    """The model's files cannot be written, or cannot be used."""


@dataclass(frozen=True)
class Classifier:
    """A trained network and what it takes to use it; `labels[i]` is the name of class i."""

    network: nn.Module
    arch: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    metrics: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def save(classifier: Classifier, folder: Path) -> None:
    """Write `classifier` into `folder`; whatever interrupts it, a file there is whole or the one of before.

    Raises `ArtifactError` when the disk is full or refuses.
    """
    description = {
        "format_version": FORMAT_VERSION,
        "arch": classifier.arch,
        "labels": classifier.labels,
        "preprocessing": asdict(classifier.preprocessing),
        "metrics": classifier.metrics,
        "settings": classifier.settings,
        "versions": {package: version(package) for package in ("torch", "torchvision")},
    }
    tensors = {name: tensor.contiguous() for name, tensor in classifier.network.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / TENSORS, lambda path: save_file(tensors, path))
    text = json.dumps(description, indent=2, ensure_ascii=False)
    write_whole(folder / DESCRIPTION, lambda path: path.write_text(text, encoding="utf-8"))


def load(folder: Path) -> Classifier:
    """Return the classifier kept in `folder`, on the CPU and in evaluation mode.

    Raises `ArtifactError` naming what is missing, damaged or does not fit together.
    """
    for name in (DESCRIPTION, TENSORS):
        if not (folder / name).is_file():
            raise ArtifactError(f"the model has no {name}; use the model.tar.gz that a training job left")
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format_version"] != FORMAT_VERSION:
            raise ArtifactError(
                f"{DESCRIPTION} has format {description['format_version']}, this image reads {FORMAT_VERSION}; "
                "serve it with the image version that trained it"
            )
        labels = tuple(description["labels"])
        preprocessing = Preprocessing.from_json(description["preprocessing"])
        net = network.build(description["arch"], len(labels))
        net.load_state_dict(load_file(folder / TENSORS))
    except (KeyError, TypeError, ValueError, SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"the model's files are damaged or do not match ({reason}); train it again") from error
    return Classifier(
        net.eval(), description["arch"], labels, preprocessing, description["metrics"], description["settings"]
    )


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk and rename it to `path`.

    Raises `ArtifactError` with the reason when that fails; `path` is then what it was before.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        write(temporary)
        temporary.chmod(0o644)  # safetensors keeps its files to the owner; the serving container may be another user
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise ArtifactError(
            f"{path} could not be written ({' '.join(str(error).split())[:200]}); "
            "give the job more disk (VolumeSizeInGB) or a folder it may write to"
        ) from error
