"""Packs a model of any origin, an archive, a folder or a file of weights, as a model.tar.gz, with another code/."""

import tarfile
from pathlib import Path, PurePosixPath

from byoc_vision import archives
from byoc_vision.contract import weights
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import CODE, MODEL, SCRIPT
from byoc_vision.engine import visible

#: Functions of a handler script that read requests.
_READING = ("input_fn", "transform_fn")


def is_packed(model: Path) -> bool:
    """Tell whether `model` is to be an archive already: neither a folder nor a file of weights."""
    return not model.is_dir() and model.suffix not in weights.SUFFIXES


def needs_torch(model: Path) -> bool:
    """Tell whether a folder or a file of weights is for the image with torch only, for it is not of our making."""
    return not is_packed(model) and (_holds(model, ".pt", ".pth") or not (model / MODEL).is_file())


def reads_arrays(model: Path, source: Path | None) -> bool:
    """Tell whether `model`, with the code in `source` or its own, answers arrays and no pictures.

    That is a network without a description of how pictures become its input, and without code that reads requests.
    """
    names, code = _names_and_code(model)
    if source is not None:
        code = (source / SCRIPT).read_text(encoding="utf-8", errors="replace")
    networks = any(name.endswith((".pt", ".pth")) for name in names)
    return networks and MODEL not in names and not any(function in code for function in _READING)


def _names_and_code(model: Path) -> tuple[set[str], str]:
    """Return the names of the files in a model's topmost folder, and the text of its code/inference.py."""
    if is_packed(model):
        with archives.opened(model) as archive:
            members = {str(PurePosixPath(member.name)): member for member in archive if member.isfile()}
            own = members.get(f"{CODE}/{SCRIPT}")
            content = archive.extractfile(own) if own else None
            return set(members), content.read().decode(errors="replace") if content else ""
    if not model.is_dir():
        return {model.name}, ""
    own_file = model / CODE / SCRIPT
    return {file.name for file in model.iterdir()}, (
        own_file.read_text(encoding="utf-8", errors="replace") if own_file.is_file() else ""
    )


def pack(model: Path, source: Path | None, folder: Path) -> Path:
    """Return a model.tar.gz, in a new folder below `folder`, of what `model` is, with what is in `source` as its code/.

    An archive is copied member by member and never unpacked. Raises `UserError` where `archives.members` does, where
    a folder holds no model, where `source` holds no inference.py, and where a file cannot be read.
    """
    if not model.exists():
        raise UserError(f"{model} does not exist; check --model")
    if source is not None and not (source / SCRIPT).is_file():
        raise UserError(f"{source} holds no {SCRIPT}; name a folder with the handler script")
    known = _holds(model, *weights.SUFFIXES) or any((model / part).is_file() for part in (MODEL, f"{CODE}/{SCRIPT}"))
    if model.is_dir() and not known:
        raise UserError(
            f"{model} is a folder; name the model.tar.gz in it, or a folder with {MODEL}, with a file of weights "
            f"({', '.join(weights.SUFFIXES)}), or with {CODE}/{SCRIPT}"
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


def _holds(folder: Path, *suffixes: str) -> bool:
    return folder.is_dir() and any(file.suffix in suffixes for file in folder.iterdir())


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
