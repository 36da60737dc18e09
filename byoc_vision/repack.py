"""Packs a model of any origin, an archive, a folder or a network's file, as a model.tar.gz, with another code/."""

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from byoc_vision import archives
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import CODE, MODEL, SCRIPT
from byoc_vision.engine import visible

#: How torch's files end.
NETWORKS = (".pt", ".pth")

_Member = tuple[tarfile.TarInfo, IO[bytes] | None]


def is_packed(model: Path) -> bool:
    """Tell whether `model` is to be an archive already: neither a folder nor a network's file."""
    return not model.is_dir() and model.suffix not in NETWORKS


def needs_torch(model: Path) -> bool:
    """Tell whether a folder or a network's file can be served by the image with torch only: it is not of our making."""
    return not is_packed(model) and (bool(_networks(model)) or not (model / MODEL).is_file())


def pack(model: Path, source: Path | None, folder: Path) -> Path:
    """Return a model.tar.gz, in a new folder below `folder`, of what `model` is, with what is in `source` as its code/.

    An archive is copied member by member and never unpacked. Raises `UserError` where `archives.members` does, where
    `model` holds none, and where `source` holds no inference.py.
    """
    if not model.exists():
        raise UserError(f"{model} does not exist; check --model")
    if source is not None and not (source / SCRIPT).is_file():
        raise UserError(f"{source} holds no {SCRIPT}; name a folder with the handler script")
    if model.is_dir() and not (
        _networks(model) or any((model / part).is_file() for part in (MODEL, f"{CODE}/{SCRIPT}"))
    ):
        raise UserError(
            f"{model} is a folder; name the model.tar.gz in it, or a folder with {MODEL}, with a .pt or .pth file, or "
            f"with {CODE}/{SCRIPT}"
        )
    packed = folder / "repacked" / "model.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz", compresslevel=1) as new:
        for member, content in _archived(model) if is_packed(model) else _files(model, ""):
            if source is None or PurePosixPath(member.name).parts[:1] != (CODE,):
                new.addfile(member, content)
        for member, content in _files(source, f"{CODE}/") if source is not None else ():
            new.addfile(member, content)
    return packed


def _networks(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.suffix in NETWORKS] if folder.is_dir() else []


def _archived(archive: Path) -> Iterator[_Member]:
    with archives.opened(archive) as old:
        for member in archives.members(old, archive):
            yield member, old.extractfile(member)


def _files(place: Path, prefix: str) -> Iterator[_Member]:
    """Yield the file `place`, or the files below the folder `place`, as members whose names begin with `prefix`."""
    for file in visible(place) if place.is_dir() else [place]:
        if "__pycache__" in file.parts:
            continue
        member = tarfile.TarInfo(prefix + (file.relative_to(place).as_posix() if file != place else file.name))
        member.size = file.stat().st_size
        with file.open("rb") as content:
            yield member, content
