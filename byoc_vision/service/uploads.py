"""What is on its way into a bucket. It is in one folder beside them, so a file that is complete is only renamed."""

import base64
import errno
import hashlib
import io
import itertools
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from byoc_vision.local.objects import Objects
from byoc_vision.local.store import ServiceError
from byoc_vision.service.message import Call

#: No two files of this process have one of these.
_NUMBERS = itertools.count()

#: Bytes of a copy that pass through this process at a time, where the kernel makes none.
_AT_ONCE = 1 << 20

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def etag(stat: os.stat_result) -> str:
    """Return the version of a file. It has the form of a multipart upload's, which no client takes for an MD5."""
    return f'"{stat.st_mtime_ns:016x}{stat.st_size:08x}{stat.st_ino & 0xFFFFFFFF:08x}-1"'


class Crc32:
    """CRC-32 with the methods of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, content: memoryview) -> None:
        """Go on with the content."""
        self._value = zlib.crc32(content, self._value)

    def digest(self) -> bytes:
        """Return the sum's bytes."""
        return self._value.to_bytes(4)


#: Header -> what computes the sum that it gives in base64.
_SUMS: dict[str, Callable[[], Any]] = {
    "content-md5": lambda: hashlib.md5(usedforsecurity=False),
    "x-amz-checksum-crc32": Crc32,
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
}


class _Whole(io.FileIO):
    """A file, unbuffered, of which nothing is missing: a disk that is nearly full takes a part without an error."""

    def write(self, content: Any, /) -> int:
        """Write all of the content; raise `OSError` where that cannot be."""
        left = memoryview(content)
        while left:
            left = left[super().write(left) :]
        return len(content)


class Uploads:
    """Files on their way to the buckets of `objects`."""

    def __init__(self, objects: Objects) -> None:
        self.folder = objects.root / ".uploads"
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob("put-*"):  # of a service that was killed
            leftover.unlink()

    @contextmanager
    def new_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Give a new file, which is removed where it was not put anywhere; a full disk is a `ServiceError`."""
        name = f"{self.folder}/put-{os.getpid()}-{next(_NUMBERS)}"
        try:
            with writing(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)) as file:
                yield file, Path(name)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)


@contextmanager
def writing(descriptor: int) -> Iterator[BinaryIO]:
    """Give the open file to write to, and close it; a full disk is a `ServiceError`."""
    try:
        with _Whole(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # containers read it as whoever they run as
            yield file
    except OSError as error:
        if error.errno in _FULL:
            raise ServiceError("EntityTooLarge", "This machine's disk is full; make room and try again.") from None
        raise


def receive(call: Call, file: BinaryIO) -> int:
    """Write the request's body to the file, and check the checksums that come with it; return its length."""
    length, asked = 0, {*call.headers, *call.headers.get("x-amz-trailer", "").replace(" ", "").lower().split(",")}
    sums = {header: _SUMS[header]() for header in _SUMS if header in asked}
    for part in call.chunks():
        if call.length is not None and length + len(part) > call.length:  # what lies behind it is not its own
            raise ServiceError("IncompleteBody", "The body is longer than the request says.")
        length += file.write(part)
        for checksum in sums.values():
            checksum.update(part)
    if call.length not in (None, length):
        raise ServiceError("IncompleteBody", "The body is not as long as the request says.")
    for header, computed in sums.items():
        wanted = call.headers.get(header, call.body.trailers.get(header))
        if base64.b64encode(computed.digest()).decode() != wanted:
            raise ServiceError("BadDigest", f"The body does not have the checksum in {header}.")
    return length


def copy(source: int, begin: int, end: int, target: BinaryIO) -> None:
    """Add a part of an open file to another, in the kernel: some file systems need not even write it again."""
    while begin < end:
        try:
            count = os.copy_file_range(source, target.fileno(), end - begin, begin)
        except (OSError, AttributeError) as error:  # from another file system; macOS has none at all
            if isinstance(error, OSError) and error.errno in _FULL:
                raise
            count = os.write(target.fileno(), os.pread(source, min(end - begin, _AT_ONCE), begin))
        if not count:
            raise ServiceError("InternalFailure", "The object became shorter while it was copied; try again.")
        begin += count
