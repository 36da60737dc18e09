"""Archives of others (model.tar.gz, output.tar.gz): read without trust in what their members are called or are.

Not with tarfile's own filters: Python has them from 3.11.4 only.
"""

import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from byoc_vision.contract.errors import UserError


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the archive's files into `folder`, which exists. Raises `UserError` as `opened` and `members` do."""
    with opened(archive) as tar:
        for member in members(tar, archive):
            target = folder / member.name
            (target if member.isdir() else target.parent).mkdir(parents=True, exist_ok=True)
            if content := tar.extractfile(member):
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
                # All may read it, as the container's user has to; no one else may write.
                target.chmod(member.mode & 0o755 | 0o644)


@contextmanager
def opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open the archive; a damaged one, and a disk that fails or is full meanwhile, is a `UserError` that names it."""
    try:
        with tarfile.open(archive) as tar:
            yield tar
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None)
        said, remedy = (
            (reason, "put that right and try again") if reason else ("damaged or no archive", "fetch it again")
        )
        raise UserError(f"{archive} cannot be unpacked ({said}); {remedy}") from None


def members(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the archive's files and folders.

    Raises `UserError` for a member that would land outside the folder it is unpacked in, a link, and a device.
    """
    for member in tar:
        holds, path = f"{archive} holds {member.name!r}", PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{holds}, which would land outside its folder; it was not unpacked")
        if not (member.isreg() or member.isdir()):
            raise UserError(f"{holds}, a link or device, which nobody needs; it was not unpacked")
        yield member
    while tar.fileobj and tar.fileobj.read(1 << 20):  # to the end of the file, where its checksum is
        pass
