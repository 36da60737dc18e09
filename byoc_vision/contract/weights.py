"""Files of pretrained weights: what a file is, and which architecture's, read without torch.

Of a `.pth` only names and shapes are looked at; nothing that it names is imported or called.
"""

import collections
import json
import pickle
import re
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from byoc_vision.contract.architectures import ARCHITECTURES
from byoc_vision.contract.errors import UserError, one_line

Tensor = TypeVar("Tensor")
Shape = tuple[int, ...]

#: The endings of the files that are read.
SUFFIXES = (".pth", ".pt", ".safetensors")

#: Bytes that a file's table of tensors has at most; the largest architecture's have a few hundred thousand.
_MAX_TABLE = 1 << 26

#: Names under which scripts save a state_dict, and what stands before all names of tensors in some; no network of
#: torchvision has a part of one of these names, which holds all.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")

_MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save before its files were zip archives

#: Bytes of a number, by torch's names of storages.
_SIZES = {"Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2, "Short": 2}


class WeightsError(UserError):
    """The pretrained weights cannot be used."""


class _Tensor(NamedTuple):
    """What is known of a tensor in a file."""

    shape: Shape


def only_file(place: Path) -> Path:
    """Return the file of weights that `place` is, or the only one in the folder `place`."""
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    weights_files = [file for file in files if file.suffix in SUFFIXES]
    if len(weights_files) == 1:
        return weights_files[0]
    if place.is_file():
        raise WeightsError(f"{place} is no {'/'.join(SUFFIXES)} file by its name; give the weights as one")
    holds = ", ".join(file.name for file in weights_files) or "none"
    raise WeightsError(f"{place} must hold one {'/'.join(SUFFIXES)} file and holds {holds}")


def published_as(name: str) -> str | None:
    """Return the architecture in a file's name, if that is one as torchvision gives them (resnet50-11ad3fa6.pth)."""
    stem = Path(name).stem
    named = [arch for arch in ARCHITECTURES if re.fullmatch(rf"{arch}([-_.].*)?-[0-9a-f]{{8,10}}", stem)]
    return max(named, key=len, default=None)


def unwrapped(content: Any) -> Any:
    """Return the state_dict in what a training script has saved; anything else as it is.

    Scripts wrap it under some usual names; DataParallel, torch.compile and modules around the network prefix the names
    of its tensors.
    """
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return content
    state = {name.removeprefix("module."): value for name, value in content.items()}
    while prefix := next((each for each in _PREFIXES if state and all(name.startswith(each) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def backbone(tensors: Mapping[str, Tensor], arch: str) -> dict[str, Tensor]:
    """Return the tensors that pretrained weights of `arch` have to have, by torchvision's present names.

    Not the head, nor heads for training from scratch, nor counts of batches, which older files lack.
    """
    left_out = (f"{ARCHITECTURES[arch].head}.", *_AUXILIARY.get(arch, ()))
    renamed = {}
    for name, tensor in tensors.items():
        if not name.startswith(left_out) and not name.endswith("num_batches_tracked"):
            renamed[_OLD_NAME.sub(r"\1", name) if arch.startswith("densenet") else name] = tensor
    return renamed


#: Outputs that two architectures have besides, for training from scratch.
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}

#: Published weights of densenets have names with a dot that their layers lost.
_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")


def digest(shapes: Mapping[str, Shape], arch: str) -> str:
    """Return what tells the weights of one architecture from those of another (see `ARCHITECTURES`)."""
    rows = sorted(f"{name} {list(shape)}" for name, shape in backbone(shapes, arch).items())
    return sha256("\n".join(rows).encode()).hexdigest()[:12]


def architectures(shapes: Mapping[str, Shape]) -> list[str]:
    """Return the architectures that the tensors (name -> shape) are weights of."""
    return [arch for arch, known in ARCHITECTURES.items() if digest(shapes, arch) == known.digest]


def shapes(file: Path) -> dict[str, Shape] | None:
    """Return name -> shape of the tensors in a file; None where it is of a kind that only torch reads.

    Raises `WeightsError` for what is no file of weights, or is not whole.
    """
    refuse_others(file)
    read = _safetensors if file.suffix == ".safetensors" else _zip if zipfile.is_zipfile(file) else _legacy
    try:
        content = unwrapped(read(file))
    except WeightsError:
        raise
    except Exception:  # unpickling meets damage and surprises with every exception there is
        return None
    if not isinstance(content, dict) or not all(isinstance(value, _Tensor) for value in content.values()):
        return None
    return {name: value.shape for name, value in content.items()}


def refuse_others(file: Path) -> None:
    """Raise `WeightsError` for a file that is no weights by its first bytes: the sentence says what it is."""
    with file.open("rb") as stream:
        start = stream.read(512)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    said = None
    if not start:
        said = "is empty; fetch it again"
    elif start.startswith(b"version https://git-lfs"):
        said = "is a pointer of Git LFS, which stands for the weights; run git lfs pull"
    elif text.startswith((b"<!doctype html", b"<html", b"<head")):
        said = "is an HTML page, so its address was that of a page; fetch the file itself"
    elif start.isascii() and start.decode().replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        said = f"is a text ({one_line(start.decode(), 60)!r} …) and no weights; fetch the file itself"
    elif file.suffix == ".safetensors":
        if start[8:9] != b"{":  # eight bytes say how long the table is that follows, which is JSON
            said = "does not begin as .safetensors files do; fetch it again, or name it .pth if torch.save wrote it"
    elif not zipfile.is_zipfile(file):
        if start.startswith(b"PK\x03\x04"):
            said = "is cut off: it begins as weights do and has no end; fetch it again"
        elif not start.startswith(b"\x80") and not tarfile.is_tarfile(file):
            said = "does not begin as weights do; give what torch.save has written, or a .safetensors file"
    if said:
        raise WeightsError(f"{file.name} {said}")


def _safetensors(file: Path) -> Any:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        _refuse_if_short(file, 8 + length)
        table = json.loads(stream.read(min(length, _MAX_TABLE)))
    table.pop("__metadata__", None)
    _refuse_if_short(file, 8 + length + max((entry["data_offsets"][1] for entry in table.values()), default=0))
    return {name: _Tensor(tuple(entry["shape"])) for name, entry in table.items()}


def _zip(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        if archive.getinfo(name).file_size > _MAX_TABLE:
            return None
        with archive.open(name) as stream:
            return _Reader(stream).load()


def _legacy(file: Path) -> Any:
    with file.open("rb") as stream:
        if _Reader(stream).load() != _MAGIC:
            return None
        for _ in ("protocol", "system"):
            _Reader(stream).load()
        reader = _Reader(stream)
        content = reader.load()
        keys = _Reader(stream).load()
        _refuse_if_short(file, stream.tell() + sum(8 + reader.storages[key] for key in keys))
    return content


def _refuse_if_short(file: Path, size: int) -> None:
    if (there := file.stat().st_size) < size:
        raise WeightsError(f"{file.name} is cut off: it has {there:,} of {size:,} bytes; fetch it again")


class _Inert:
    """Stands for whatever else a file names: it takes everything and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class _Reader(pickle.Unpickler):
    """Reads a pickle of torch, with stand-ins for all that it names."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        #: Bytes of each storage, by its key.
        self.storages: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) in (("torch._utils", "_rebuild_tensor"), ("torch._utils", "_rebuild_tensor_v2")):
            return _rebuilt
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        return name if module == "torch" and name.endswith("Storage") else _Inert

    def persistent_load(self, identity: Any) -> None:
        _, kind, key, _, count, *_ = identity
        self.storages[key] = count * _SIZES.get(str(kind).removesuffix("Storage"), 1)


def _rebuilt(_storage: object, _offset: int, size: Any, *_: object) -> _Tensor:
    return _Tensor(tuple(int(side) for side in size))
