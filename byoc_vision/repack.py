"""Puts a new handler script into an existing model: model.tar.gz -> the same with another code/ folder."""

import io
import tarfile
from pathlib import Path, PurePosixPath

from byoc_vision import archives
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import CODE, SCRIPT


def repack(archive: Path, source: Path, folder: Path) -> Path:
    """Return a model.tar.gz, in a new folder below `folder`: `archive` with the files of `source` as its code/.

    The archive is copied member by member and never unpacked. Raises `UserError` where `archives.members` does, and
    where `source` holds no inference.py.
    """
    if not (source / SCRIPT).is_file():
        raise UserError(f"{source} holds no {SCRIPT}; name a folder with the handler script")
    files = sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    packed = folder / "repacked" / "model.tar.gz"
    packed.parent.mkdir()
    with archives.opened(archive) as old, tarfile.open(packed, "w:gz", compresslevel=1) as new:
        for member in archives.members(old, archive):
            if PurePosixPath(member.name).parts[:1] != (CODE,):
                new.addfile(member, old.extractfile(member))
        for file in files:
            _add(new, f"{CODE}/{file.relative_to(source).as_posix()}", file.read_bytes())
    return packed


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
