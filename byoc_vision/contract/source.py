"""The user's code in an archive, as the SageMaker SDK packs it (sourcedir.tar.gz): read without trust in its members.

Links are unpacked, since code has them, as long as they stay in the folder.
"""

import os
import shutil
import stat
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from byoc_vision.contract.errors import UserError, one_line

#: What to do where requirements name a repository of git, which the images do not have.
NO_GIT = (
    "the image has no git: name a release of the package, or an archive of the repository "
    "(https://github.com/OWNER/NAME/archive/COMMIT.zip)"
)


def unpack(archive: Path, place: str, code: Path) -> None:
    """Unpack the file `archive`, which came from `place`, into the folder `code`, or copy it where it is no archive.

    Raises `UserError` for what is damaged, or would be written, or lead, out of the folder.
    """
    if not tarfile.is_tarfile(archive):
        if archive.name.endswith((".gz", ".tar", ".tgz", ".zip")):
            raise UserError(f"{place} is no tar archive that can be read; pack the code as sourcedir.tar.gz")
        shutil.copy2(archive, code)
        return
    try:
        with tarfile.open(archive) as opened:
            members = opened.getmembers()
            _refuse_outside(members, place)
            for member in members:
                # Of the kind of file that it is, only whether the owner may run it.
                member.mode = 0o700 if member.isdir() or member.mode & stat.S_IXUSR else 0o600
                member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
            opened.extractall(code, members)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{place} cannot be unpacked ({error}); pack the code again") from error


def not_fetched(place: str, error: Exception) -> UserError:
    """Return what the user is told where the code at the S3 URI `place` could not be downloaded."""
    reason = one_line(error)
    return UserError(
        f"the code at {place} could not be fetched ({reason}); check the address, the execution role and the network"
    )


def _refuse_outside(members: list[tarfile.TarInfo], place: str) -> None:
    """Raise `UserError` for what would be written, or lead, out of the folder, or is no file, folder or link.

    Nothing may be below a link, so that a path in the archive is the same in the folder; and `..` may only be at the
    beginning of where a link leads, for behind another link it would be that one's parent.
    """
    links = {PurePosixPath(member.name) for member in members if member.issym()}
    for member in members:
        name, target = PurePosixPath(member.name), PurePosixPath(member.linkname)
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise UserError(f"{place} holds {name}, which is no file; pack only files, folders and links")
        inside = not name.is_absolute() and ".." not in name.parts and links.isdisjoint(name.parents)
        if member.issym():
            up = sum(part == ".." for part in target.parts)
            leading = all(part == ".." for part in target.parts[:up])
            inside &= not target.is_absolute() and leading and up < len(name.parts)
        elif member.islnk():
            inside &= not target.is_absolute() and ".." not in target.parts
        if not inside:
            raise UserError(f"{place} holds {name}, which leads out of the code's folder; pack it again without")
