"""The trained model on disk, as plain data: nothing is unpickled, nothing of the training image is needed to load it.

    model.safetensors    the network's tensors
    model.json           all else one needs to answer
    probes.npz           validation pictures and the answers to them, on which a faster way to compute is tried
    cpu/                 the network as graphs for CPUs without torch; `train.export` makes them

The last two can be missing. Only `save` and `load` need torch.
"""

import json
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from byoc_vision import __version__
from byoc_vision.contract.errors import UserError, described, one_line
from byoc_vision.contract.files import replacing
from byoc_vision.contract.job import MODEL
from classifier.checks import Fields, check, is_text
from classifier.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

FORMAT_VERSION = 1
TENSORS = "model.safetensors"
DESCRIPTION = MODEL
PROBES = "probes.npz"
GRAPHS = "cpu"

#: What no file of a model exceeds: bytes of the description, labels (ImageNet has 21,841 in all), and probe pictures.
MAX_DESCRIPTION, MAX_LABELS, MAX_PROBES = 32 * 1024 * 1024, 100_000, 64

#: Characters of a label: those of a folder's name of 255 bytes, none of which is text.
MAX_LABEL = 4 * 255


def _are_labels(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MAX_LABELS
        and all(is_text(label, MAX_LABEL) for label in value)
        and len(set(value)) == len(value)
    )


#: Other fields are for other readers.
_FIELDS: Fields = {
    "arch": (lambda value: is_text(value, 100), "a name"),
    "labels": (_are_labels, f"a list of 1 to {MAX_LABELS} different texts of 1 to {MAX_LABEL} characters"),
    "preprocessing": (lambda value: isinstance(value, dict), "an object"),
    "metrics": (lambda value: isinstance(value, dict), "an object"),
    "settings": (lambda value: isinstance(value, dict), "an object"),
}


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
        "versions": {"byoc-vision": __version__} | {package: version(package) for package in ("torch", "torchvision")},
    }
    tensors = {name: tensor.contiguous() for name, tensor in classifier.network.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROBES).unlink(missing_ok=True)
    shutil.rmtree(folder / GRAPHS, ignore_errors=True)
    with whole(folder / TENSORS) as path:
        save_file(tensors, path)
    write_text(folder / DESCRIPTION, json.dumps(description, indent=2, ensure_ascii=False))


def load(folder: Path) -> Classifier:
    """Return the classifier kept in `folder`, on the CPU and in evaluation mode.

    Raises `ArtifactError` naming what is missing, damaged or does not fit together.
    """
    from safetensors.torch import load_file

    from classifier import network

    description = describe(folder)
    require(folder / TENSORS)
    try:
        # torchvision knows more names, of networks for other tasks, which download weights as they are built.
        if description.arch not in network.architectures():
            raise ValueError(f"there is no architecture {description.arch!r}")
        with network.Uninitialised():
            net = network.build(description.arch, len(description.labels))
        tensors = load_file(folder / TENSORS)
        # Of what is finite the sum nearly always is, and it takes a tenth of the time.
        if not all(tensor.sum().isfinite() or tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError(f"{TENSORS} holds NaN or infinite values")
        net.load_state_dict(tensors)
    # safetensors and torch meet damaged files with every exception there is.
    except Exception as error:
        raise damaged(error) from error
    return Classifier(**vars(description), network=net.eval())


def describe(folder: Path) -> Description:
    """Return what the classifier in `folder` is, without its network; raises `ArtifactError` as `load` does."""
    file = folder / DESCRIPTION
    require(file)
    try:
        content = _content(file)
        if content.get("format_version") != FORMAT_VERSION:
            raise ArtifactError(
                f"{DESCRIPTION} has format {content.get('format_version')!r:.40}, this image reads {FORMAT_VERSION}; "
                "serve it with the image version that trained it"
            )
        check(DESCRIPTION, content, _FIELDS)
        preprocessing = Preprocessing.from_json(content["preprocessing"])
        return Description(
            content["arch"], tuple(content["labels"]), preprocessing, content["metrics"], content["settings"]
        )
    except (ValueError, RecursionError, OSError) as error:
        raise damaged(error) from error


def preprocessing(folder: Path) -> Preprocessing | None:
    """Return the preprocessing in the description of a model of any origin, if it has one; raises `ArtifactError`."""
    file = folder / DESCRIPTION
    if not has(file):
        return None
    try:
        content = _content(file)
        return Preprocessing.from_json(content["preprocessing"]) if "preprocessing" in content else None
    except (ValueError, RecursionError, OSError) as error:
        raise ArtifactError(f"{DESCRIPTION} cannot be used ({described(error)}); correct it") from error


def networks(folder: Path) -> list[Path]:
    """Return the files of torch's own formats in the folder of a model of any origin."""
    return sorted(file for file in folder.iterdir() if file.suffix in (".pt", ".pth") and has(file))


def _content(file: Path) -> dict[str, Any]:
    _check_size(file, file.stat().st_size, MAX_DESCRIPTION)
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{DESCRIPTION} is not a JSON object")
    return content


def save_probes(probes: Probes, folder: Path) -> None:
    """Write `probes` beside the model in `folder`; raises `ArtifactError` as `save` does."""
    with whole(folder / PROBES) as path, path.open("wb") as file:  # given a path, numpy would add .npz to it
        np.savez(file, pictures=probes.pictures, answers=probes.answers)


def load_probes(folder: Path, description: Description) -> Probes | None:
    """Return the probes of the model in `folder`, if it has any.

    Raises `ArtifactError` when they are damaged, or are not for the model of that `description`.
    """
    file = folder / PROBES
    if not has(file):
        return None
    side, classes = description.preprocessing.crop_size, len(description.labels)
    limit = MAX_PROBES * 3 * side**2 + 64 * 1024
    try:
        _check_size(file, file.stat().st_size, limit)
        with ZipFile(file) as archive:
            # Zeros can be packed to a thousandth.
            _check_size(file, sum(member.file_size for member in archive.infolist()), limit)
            pictures, answers = (
                np.lib.format.read_array(archive.open(f"{name}.npy"), allow_pickle=False)  # type: ignore[no-untyped-call]
                for name in ("pictures", "answers")
            )
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (3, side, side) or not len(pictures):
            raise ValueError(f"the pictures in {PROBES} are not uint8 [N, 3, {side}, {side}]")
        if answers.dtype != np.int64 or answers.shape != pictures.shape[:1]:
            raise ValueError(f"the answers in {PROBES} are not int64, one for each picture")
        if answers.min() < 0 or answers.max() >= classes:
            raise ValueError(f"the answers in {PROBES} are not all of the {classes} classes")
    # Readers of archives and arrays meet damaged ones with every exception there is.
    except Exception as error:
        raise damaged(error) from error
    return Probes(pictures, answers)


def has(file: Path) -> bool:
    """Tell whether the model has `file`; raises `ArtifactError` where what has that name cannot be read as one."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise ArtifactError(f"the model's {file.name} is not a file; use the model.tar.gz that a training job left")
        file.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ArtifactError(
            f"the model's {file.name} cannot be read ({error.strerror}); let every user read the model's files"
        ) from error
    return True


def require(file: Path) -> None:
    """Raise `ArtifactError` where the model has no such file, or it cannot be read."""
    if not has(file):
        raise ArtifactError(f"the model has no {file.name}; use the model.tar.gz that a training job left")


def _check_size(file: Path, size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"{file.name} has {size} bytes, more than {limit}")


def damaged(error: Exception) -> ArtifactError:
    """Return the error that tells the user of `error`, which a reader of the model's files raised."""
    reason = one_line(error) or type(error).__name__
    return ArtifactError(f"the model's files are damaged or do not match ({reason}); train it again")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all; raises as `whole` does."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield where the block is to write what becomes `path`, whose folder is made; see `files.replacing`.

    Raises `ArtifactError` with the reason when that fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
            # safetensors keeps its files to the owner; the serving container may be another user
            temporary.chmod(0o644)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ArtifactError(
            f"{path} could not be written ({one_line(error)}); "
            "give the job more disk (VolumeSizeInGB) or a folder it may write to"
        ) from error
