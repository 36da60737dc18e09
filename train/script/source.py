"""The user's code in the folder where it runs, from wherever the job says it is."""

import os
import shutil
import stat
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from byoc_vision.contract.errors import UserError


def fetch(place: str, code: Path) -> None:
    """Put what is at `place`, an S3 URI or a path, into the folder `code`: a folder, an archive, or one file."""
    code.mkdir(parents=True, exist_ok=True)
    if place.startswith("s3://"):
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / PurePosixPath(place).name
            _download(place, archive)
            _put(archive, place, code)
        return
    source = Path(place)
    if not source.exists():
        raise UserError(f"there is no code at {place}; name its folder or archive as sagemaker_submit_directory")
    if not source.is_dir():
        _put(source, place, code)
    elif source.resolve() != code.resolve():
        archives = [file for file in source.iterdir() if file.name.endswith(".tar.gz")]
        if len(archives) == 1 and len(list(source.iterdir())) == 1:  # as the SDK fills the channel `code`
            _put(archives[0], place, code)
        else:
            shutil.copytree(source, code, dirs_exist_ok=True)


def _download(uri: str, file: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError
    from sagemaker_training import files

    try:
        files.s3_download(uri, str(file))
    except (BotoCoreError, ClientError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the code at {uri} could not be fetched ({reason}); check the address, the execution role and the network"
        ) from error


def _put(source: Path, place: str, code: Path) -> None:
    """Unpack the file `source`, which came from `place`, or copy it where it is no archive."""
    if not tarfile.is_tarfile(source):
        if source.name.endswith((".gz", ".tar", ".tgz", ".zip")):
            raise UserError(f"{place} is no tar archive that can be read; pack the code as sourcedir.tar.gz")
        shutil.copy2(source, code)
        return
    try:
        with tarfile.open(source) as archive:
            members = archive.getmembers()
            _refuse_outside(members, place)
            for member in members:
                # Of the kind of file that it is, only whether the owner may run it.
                member.mode = 0o700 if member.isdir() or member.mode & stat.S_IXUSR else 0o600
                member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
            archive.extractall(code, members)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{place} cannot be unpacked ({error}); pack the code again") from error


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
