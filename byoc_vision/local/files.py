"""Files of this machine as requests name them."""

import os
import shutil
from pathlib import Path

from byoc_vision.contract.files import path_in, replacing
from byoc_vision.engine import visible
from byoc_vision.local.objects import Objects
from byoc_vision.local.store import InvalidError, ServiceError, Store


def path(uri: str) -> Path:
    """Return the path that a file:// URI names; any other URI is an `InvalidError`."""
    if not uri.startswith("file:///"):
        raise InvalidError(f"{uri} is not on this machine; the local engine reads file:/// and s3:// URIs only.")
    return path_in(uri)


def locate(store: Store, uri: str) -> Path:
    """Return the path of what a request names: a file:// URI, or an s3:// URI in a bucket of this machine."""
    if not uri.startswith("s3://"):
        return path(uri)
    objects = Objects(store)
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        key = key.rstrip("/")
        return objects.path(bucket, key) if key else objects.bucket(bucket)
    except ServiceError as error:
        raise InvalidError(f"{uri} is not on this machine: {error}") from None


def text_of(file: Path, size: int) -> str:
    """Return the first `size` bytes of a file that a container has left, as text; nothing where it left no such file.

    A link is none, for it might lead to what only the caller can read, and nor is a pipe, which would be waited for.
    """
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as content:
            return content.read(size).decode(errors="replace")
    except OSError:
        return ""


def link_or_copy(file: Path, name: Path) -> None:
    """Give the file a further name; where that is on another file system, make a copy, whole or not at all."""
    try:
        name.hardlink_to(file)
    except OSError:
        with replacing(name) as temporary:
            shutil.copy(file, temporary)


def links_out(folder: Path) -> bool:
    """Whether a link in `folder` leads to a place that a container with only this folder has not, or has elsewhere."""
    root = folder.resolve()
    for parent, folders, files in os.walk(root):
        for name in (*folders, *files):
            link = Path(parent, name)
            if link.is_symlink() and (os.readlink(link).startswith("/") or not _within(link, root)):
                return True
    return False


def _within(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # it leads to itself, everywhere
        return True


def follow_links(folder: Path, place: Path) -> None:
    """Make `place` hold what `folder` does, with files in the place of links; those that lead nowhere stay links."""
    for file in visible(folder):
        name = place / file.relative_to(folder)
        name.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            link_or_copy(file.resolve(), name)
        else:
            name.symlink_to(file)
