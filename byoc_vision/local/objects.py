"""Objects as S3 has them, kept as plain files: bucket and key are folders and file below one root.

So a job's container reads a prefix where it lies, what a job leaves is an object at once, and a person may look at all
of it. What cannot be a file's name is refused: a key with an empty part, "." or "..", or with a part above 255 bytes.
"""

import os
import re
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from byoc_vision.local.store import ServiceError, Store

_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

#: Bytes in a key, and in a file's name.
_KEY_BYTES, _NAME_BYTES = 1024, 255

#: Names from which on a folder's are remembered for the next page of a listing, and of how many folders.
_MANY, _REMEMBERED = 1000, 4

#: Nanoseconds after which a folder's time tells of a further change: the clocks of file systems have steps.
_STEP = 2 * 10**9

#: What a file is answered with where a folder is, and the other way round.
_CONFLICTS = (FileExistsError, NotADirectoryError, IsADirectoryError)


class Entry(NamedTuple):
    """One line of a listing: an object, or, without `stat`, the common beginning of several."""

    key: str
    stat: os.stat_result | None


class Objects:
    """All buckets of the store. Errors are `ServiceError` with S3's codes."""

    def __init__(self, store: Store) -> None:
        self.root = store.root / "s3"
        self._real = os.path.realpath(self.root)
        self._names: dict[Path, tuple[tuple[int, int], list[str]]] = {}  # folder -> its version, and what is in it

    def buckets(self) -> list[Path]:
        """Return the buckets' folders, by name."""
        return sorted(folder for folder in self.root.glob("[a-z0-9]*") if folder.is_dir())

    def make_bucket(self, name: str) -> None:
        """Make the bucket; one that is there already is left as it is."""
        if not _BUCKET.fullmatch(name):
            raise ServiceError("InvalidBucketName", f"{name!r} cannot be a bucket's name; take a-z, 0-9 and -.")
        (self.root / name).mkdir(parents=True, exist_ok=True)

    def bucket(self, name: str) -> Path:
        """Return the bucket's folder."""
        if not _BUCKET.fullmatch(name) or not os.path.isdir(f"{self.root}/{name}"):
            raise ServiceError("NoSuchBucket", f"There is no bucket {name!r} on this machine.")
        return self.root / name

    def path(self, bucket: str, key: str) -> Path:
        """Return where the object is, or would be; a key's slash at its end makes it a folder."""
        folder = self.bucket(bucket)
        _check(key)
        return folder / key

    def existing(self, bucket: str, key: str) -> Path:
        """Return where the object is."""
        path = self.path(bucket, key)
        there = path.is_dir() and not any(path.iterdir()) if key.endswith("/") else os.path.isfile(path)
        if not there or self._leads_out(bucket, key):
            raise _no_key()
        return path

    def open(self, bucket: str, key: str) -> tuple[int, os.stat_result]:
        """Return a descriptor of the object, to read, and what is known of it; a folder may be an object, too."""
        if _BUCKET.fullmatch(bucket) and not key.endswith("/"):
            _check(key)
            if opened := self._opened(f"{self._real}/{bucket}/{key}"):
                return opened
        try:
            file = os.open(self.existing(bucket, key), os.O_RDONLY)
        except FileNotFoundError:  # removed in between
            raise _no_key() from None
        return file, os.fstat(file)

    def _opened(self, path: str) -> tuple[int, os.stat_result] | None:
        """Return the same of the path, if that is a file, and Linux tells at once that no link led there."""
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # a pipe would be waited for
        except OSError:
            return None
        try:
            if os.readlink(f"/proc/self/fd/{file}") == path and S_ISREG((stat := os.fstat(file)).st_mode):
                return file, stat
        except OSError:  # another system
            pass
        os.close(file)
        return None

    def _leads_out(self, bucket: str, key: str) -> bool:
        """Whether a container has left a link on the way to the object that leads out of the bucket."""
        folder = place = str(self.root / bucket)
        for part in key.split("/"):
            place = f"{place}/{part}"
            if os.path.islink(place):
                return not Path(os.path.realpath(f"{folder}/{key}")).is_relative_to(os.path.realpath(folder))
        return False

    def put(self, file: Path, bucket: str, key: str) -> Path:
        """Move the complete file to where the object is; who reads it finds the old or the new one, whole."""
        path = self.path(bucket, key)
        while True:
            try:
                with suppress(FileNotFoundError):
                    os.replace(file, path)
                    return path
                if not file.exists():
                    raise RuntimeError(f"{file} is not there any more")
                self.bucket(bucket)
                with suppress(FileNotFoundError):  # a folder that was empty was removed in between
                    path.parent.mkdir(parents=True, exist_ok=True)
            except _CONFLICTS:
                raise _conflict(key) from None

    def put_folder(self, bucket: str, key: str) -> Path:
        """Make the empty object that some clients show as a folder."""
        path = self.path(bucket, key)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except _CONFLICTS:
            raise _conflict(key) from None
        return path

    def delete(self, bucket: str, key: str) -> None:
        """Remove the object, and the folders that are empty then; an object that is not there is none the less gone."""
        try:
            path = self.existing(bucket, key)
        except ServiceError as error:
            if error.code == "NoSuchBucket":
                raise
            return
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.root / bucket:
                break
            try:
                folder.rmdir()
            except OSError:  # not empty
                break

    def list(self, bucket: str, prefix: str = "", after: str = "", delimiter: str = "") -> Iterator[Entry]:
        """Yield what is under the prefix and comes after `after`, in S3's order; a delimiter folds what it ends."""
        folder = self.bucket(bucket)
        base = prefix[: prefix.rfind("/") + 1]
        if base and any(part in ("", ".", "..") or "\0" in part for part in base[:-1].split("/")):
            return
        last = ""
        for entry in self._walk(folder / base, base, prefix, after, delimiter == "/"):
            end = entry.key.find(delimiter, len(prefix)) if delimiter else -1
            if end < 0:
                yield entry
            elif (common := entry.key[: end + len(delimiter)]) not in (last, after):
                last = common
                yield Entry(common, None)

    def _walk(self, folder: Path, base: str, prefix: str, after: str, fold: bool) -> Iterator[Entry]:
        """Yield the files below the folder, whose key begins with `base`; with `fold`, folders are not entered."""
        try:
            names = self._sorted(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        if not names and base.startswith(prefix) and base > after and base:  # a folder that someone made as such
            with suppress(FileNotFoundError):
                yield Entry(base, folder.stat())
        lowest = max(prefix, after)
        if lowest > base and not lowest.startswith(base):
            return
        begin = bisect_left(names, lowest[len(base) :]) - 1 if lowest.startswith(base) else 0
        for index in range(max(0, begin), len(names)):
            name = names[index]
            key = base + name
            if not key.startswith(prefix):
                if key > prefix:
                    return
            elif name.endswith("/"):
                if key < after and not after.startswith(key):
                    continue
                below = self._walk(folder / name, key, prefix, after, fold=False)
                if not fold or key == prefix:
                    yield from below
                elif not after.startswith(key) or any(below):
                    yield Entry(key, None)
            elif key > after:
                with suppress(FileNotFoundError):  # removed in between
                    if S_ISREG((stat := os.lstat(f"{folder}/{name}")).st_mode):
                        yield Entry(key, stat)

    def _sorted(self, folder: Path) -> Sequence[str]:
        """Return the names in the folder, in the order of keys; those of folders end in a slash.

        Pages follow each other, so those of a large folder are remembered until something in it changes.
        """
        begun, stat = time.time_ns(), folder.stat()
        version = (stat.st_ino, stat.st_ctime_ns)
        if (known := self._names.get(folder)) and known[0] == version:
            return known[1]
        with os.scandir(folder) as entries:
            names = sorted(
                [entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries]
            )
        if len(names) >= _MANY and begun - stat.st_ctime_ns > _STEP:
            self._names = dict([*self._names.items(), (folder, (version, names))][-_REMEMBERED:])
        return names


def _check(key: str) -> None:
    """Raise `ServiceError` where the key cannot be a file's path."""
    if len(key.encode(errors="surrogatepass")) > _KEY_BYTES:
        raise ServiceError("KeyTooLongError", f"A key may have {_KEY_BYTES} bytes at most.")
    for part in key.removesuffix("/").split("/"):
        if part in ("", ".", "..") or "\0" in part or len(part.encode(errors="surrogatepass")) > _NAME_BYTES:
            reason = f"Objects are files on this machine, and {part!r} in the key cannot be a file's name."
            raise ServiceError("InvalidArgument", reason)


def _no_key() -> ServiceError:
    return ServiceError("NoSuchKey", "The specified key does not exist.")


def _conflict(key: str) -> ServiceError:
    reason = f"Objects are files on this machine, so {key!r} and a key above or below it cannot both exist."
    return ServiceError("InvalidArgument", reason)
