"""Puts a new handler script into an existing model: model.tar.gz -> the same with another code/ folder."""

import io
import tarfile
from pathlib import Path, PurePosixPath

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import CODE, SCRIPT


def repack(archive: Path, source: Path, folder: Path) -> Path:
    """Return a model.tar.gz, in a new folder below `folder`: `archive` with the files of `source` as its code/.

    The archive is copied member by member and never unpacked. Raises `UserError` where it is none, or holds a member
    that would land outside the folder it is unpacked in; and where `source` holds no inference.py.
    """
    if not (source / SCRIPT).is_file():
        raise UserError(f"{source} holds no {SCRIPT}; name a folder with the handler script")
    files = sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    packed = folder / "repacked" / "model.tar.gz"
    packed.parent.mkdir()
    try:
        with tarfile.open(archive) as old, tarfile.open(packed, "w:gz", compresslevel=1) as new:
            for member in old:
                _refuse_if_unsafe(member, archive)
                if PurePosixPath(member.name).parts[:1] != (CODE,):
                    new.addfile(member, old.extractfile(member) if member.isreg() else None)
            for file in files:
                _add(new, f"{CODE}/{file.relative_to(source).as_posix()}", file.read_bytes())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive.name} cannot be read as a model.tar.gz ({error}); name another model") from None
    return packed


def _refuse_if_unsafe(member: tarfile.TarInfo, archive: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive.name} holds {member.name!r}, which would land outside the model; not deployed")
    if not (member.isreg() or member.isdir()):
        raise UserError(f"{archive.name} holds {member.name!r}, a link or device, which no model needs; not deployed")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
