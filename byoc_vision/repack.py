"""Packs a model of any origin, an archive, a folder or a network's file, as a model.tar.gz, with another code/."""

import tarfile
from pathlib import Path, PurePosixPath

from byoc_vision import archives
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import CODE, MODEL, SCRIPT
from byoc_vision.engine import visible

#: How torch's files end.
NETWORKS = (".pt", ".pth")


def is_packed(model: Path) -> bool:
    """Tell whether `model` is to be an archive already: neither a folder nor a network's file."""
    return not model.is_dir() and model.suffix not in NETWORKS


def needs_torch(model: Path) -> bool:
    """Tell whether a folder or a network's file can be served by the image with torch only: it is not of our making."""
    return not is_packed(model) and (bool(_networks(model)) or not (model / MODEL).is_file())


def pack(model: Path, source: Path | None, folder: Path) -> Path:
    """Return a model.tar.gz, in a new folder below `folder`, of what `model` is, with what is in `source` as its code/.

    An archive is copied member by member and never unpacked. Raises `UserError` where `archives.members` does, where
    a folder holds no model, where `source` holds no inference.py, and where a file cannot be read.
    """
    if not model.exists():
        raise UserError(f"{model} does not exist; check --model")
    if source is not None and not (source / SCRIPT).is_file():
        raise UserError(f"{source} holds no {SCRIPT}; name a folder with the handler script")
    known = _networks(model) or any((model / part).is_file() for part in (MODEL, f"{CODE}/{SCRIPT}"))
    if model.is_dir() and not known:
        raise UserError(
            f"{model} is a folder; name the model.tar.gz in it, or a folder with {MODEL}, with a .pt or .pth file, or "
            f"with {CODE}/{SCRIPT}"
        )
    replaced = CODE if source is not None else None
    packed = folder / "repacked" / "model.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz", compresslevel=1) as new:
        if is_packed(model):
            with archives.opened(model) as old:
                for member in archives.members(old, model):
                    if PurePosixPath(member.name).parts[:1] != (replaced,):
                        new.addfile(member, old.extractfile(member))
        elif model.is_dir():
            _add_files(new, model, without=replaced)
        else:
            _add(new, model, model.name)
        if source is not None:
            _add_files(new, source, prefix=f"{CODE}/")
    return packed


def _networks(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.suffix in NETWORKS] if folder.is_dir() else []


def _add_files(archive: tarfile.TarFile, folder: Path, prefix: str = "", without: str | None = None) -> None:
    """Add the files below `folder`, but for those in its folder `without`."""
    for file in visible(folder):
        name = file.relative_to(folder)
        if name.parts[0] != without and "__pycache__" not in name.parts:
            _add(archive, file, prefix + name.as_posix())


def _add(archive: tarfile.TarFile, file: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    try:
        with file.open("rb") as content:
            member.size = file.stat().st_size
            archive.addfile(member, content)
    except OSError as error:
        raise UserError(f"{file} cannot be packed ({error.strerror}); put that right and try again") from error
