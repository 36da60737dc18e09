"""The trained model on disk, as plain data: nothing is unpickled, nothing of the training image is needed to load it.

    model.safetensors    the network's tensors
    model.json           all else one needs to answer
    probes.npz           validation pictures and the answers to them, on which a faster way to compute is tried
    cpu/                 the network as graphs for CPUs without torch; `train.export` makes them

The last two can be missing. Only `save` and `load` need torch.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from classifier.errors import UserError
from classifier.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

FORMAT_VERSION = 1
TENSORS = "model.safetensors"
DESCRIPTION = "model.json"
PROBES = "probes.npz"
GRAPHS = "cpu"


class ArtifactError(UserError):
    """The model's files cannot be written, or cannot be used."""


@dataclass(frozen=True)
class Description:
    """What it takes to use a trained network; `labels[i]` is the name of class i."""

    arch: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    metrics: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Classifier(Description):
    """A trained network with its description."""

    network: "nn.Module" = field(kw_only=True)


@dataclass(frozen=True)
class Probes:
    """Pictures, uint8 [N, 3, height, width], and the classes [N] that the network gives them in float32."""

    pictures: NDArray[np.uint8]
    answers: NDArray[np.int64]


def save(classifier: Classifier, folder: Path) -> None:
    """Write `classifier` into `folder`; whatever interrupts it, a file there is whole or the one of before.

    Probes and graphs of an earlier model there are removed. Raises `ArtifactError` when the disk is full or refuses.
    """
    from safetensors.torch import save_file

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
    (folder / PROBES).unlink(missing_ok=True)
    shutil.rmtree(folder / GRAPHS, ignore_errors=True)
    write_whole(folder / TENSORS, lambda path: save_file(tensors, path))
    text = json.dumps(description, indent=2, ensure_ascii=False)
    write_whole(folder / DESCRIPTION, lambda path: path.write_text(text, encoding="utf-8"))


def load(folder: Path) -> Classifier:
    """Return the classifier kept in `folder`, on the CPU and in evaluation mode.

    Raises `ArtifactError` naming what is missing, damaged or does not fit together.
    """
    from safetensors.torch import load_file

    from classifier import network

    description = describe(folder)
    require(folder / TENSORS)
    try:
        net = network.build(description.arch, len(description.labels))
        net.load_state_dict(load_file(folder / TENSORS))
    except (ValueError, SafetensorError, RuntimeError, OSError) as error:
        raise damaged(error) from error
    return Classifier(**vars(description), network=net.eval())


def describe(folder: Path) -> Description:
    """Return what the classifier in `folder` is, without its network; raises `ArtifactError` as `load` does."""
    require(folder / DESCRIPTION)
    try:
        content = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if content["format_version"] != FORMAT_VERSION:
            raise ArtifactError(
                f"{DESCRIPTION} has format {content['format_version']}, this image reads {FORMAT_VERSION}; "
                "serve it with the image version that trained it"
            )
        preprocessing = Preprocessing.from_json(content["preprocessing"])
        return Description(
            content["arch"], tuple(content["labels"]), preprocessing, content["metrics"], content["settings"]
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise damaged(error) from error


def save_probes(probes: Probes, folder: Path) -> None:
    """Write `probes` beside the model in `folder`; raises `ArtifactError` as `save` does."""

    def write(path: Path) -> None:
        with path.open("wb") as file:  # given a path, numpy would add .npz to it
            np.savez(file, pictures=probes.pictures, answers=probes.answers)

    write_whole(folder / PROBES, write)


def load_probes(folder: Path) -> Probes | None:
    """Return the probes of the model in `folder`, if it has any; raises `ArtifactError` when they are damaged."""
    file = folder / PROBES
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return Probes(arrays["pictures"], arrays["answers"])
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise damaged(error) from error


def require(file: Path) -> None:
    """Raise `ArtifactError` where the model has no such file."""
    if not file.is_file():
        raise ArtifactError(f"the model has no {file.name}; use the model.tar.gz that a training job left")


def damaged(error: Exception) -> ArtifactError:
    """Return the error that tells the user of `error`, which a reader of the model's files raised."""
    reason = " ".join(str(error).split())[:200]
    return ArtifactError(f"the model's files are damaged or do not match ({reason}); train it again")


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
