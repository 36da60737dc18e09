"""What is on its way into a bucket: single bodies, and multipart uploads with their parts.

All of it is in one folder beside the buckets, so that a file which is complete has only to be renamed.
"""

import base64
import errno
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from byoc_vision.local.objects import Objects
from byoc_vision.local.store import ServiceError, now
from byoc_vision.service.message import CHUNK, Call

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: The least size of a part that is not the last, and the greatest number of one.
_LEAST, _PARTS = 5 << 20, 10_000


def etag(stat: os.stat_result) -> str:
    """Return the version of a file. It has the form of a multipart upload's, which no client takes for an MD5."""
    return f'"{stat.st_mtime_ns:016x}{stat.st_size:08x}{stat.st_ino & 0xFFFFFFFF:08x}-1"'


class Crc32:
    """CRC-32 with the methods of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, content: bytes) -> None:
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
    """The uploads to the buckets of `objects`."""

    def __init__(self, objects: Objects) -> None:
        self._folder = objects.root / ".uploads"
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob("put-*"):  # of a service that was killed
            leftover.unlink()

    @contextmanager
    def new_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Give a new file, which is removed where it was not put anywhere; a full disk is a `ServiceError`."""
        descriptor, name = tempfile.mkstemp(prefix="put-", dir=self._folder)
        try:
            os.fchmod(descriptor, 0o644)  # containers read it as whoever they run as
            with _Whole(descriptor, "wb") as file:
                yield file, Path(name)
        except OSError as error:
            if error.errno in _FULL:
                raise ServiceError("EntityTooLarge", "This machine's disk is full; make room and try again.") from None
            raise
        finally:
            Path(name).unlink(missing_ok=True)

    @contextmanager
    def received(self, call: Call) -> Iterator[Path]:
        """Give the file with the request's body, whose checksums are right."""
        sums = {header: _SUMS[header]() for header in _SUMS if header in call.headers}
        declared = call.headers.get("x-amz-decoded-content-length")
        with self.new_file() as (file, path):
            for part in call.chunks():
                file.write(part)
                for each in sums.values():
                    each.update(part)
            if declared is not None and declared != str(file.tell()):
                raise ServiceError("IncompleteBody", "The body is not as long as the request says.")
            for header, computed in sums.items():
                if base64.b64encode(computed.digest()).decode() != call.headers[header]:
                    raise ServiceError("BadDigest", f"The body does not have the checksum in {header}.")
            yield path

    def begin(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        """Begin a multipart upload; return its id."""
        folder = Path(tempfile.mkdtemp(prefix="multipart-", dir=self._folder))
        upload = {"Bucket": bucket, "Key": key, "Headers": dict(headers), "Initiated": now()}
        (folder / "upload.json").write_text(json.dumps(upload), encoding="utf-8")
        return folder.name.removeprefix("multipart-")

    def all(self, bucket: str) -> Iterator[dict[str, Any]]:
        """Yield the multipart uploads to a bucket: Bucket, Key, Headers, Initiated and UploadId."""
        for file in sorted(self._folder.glob("multipart-*/upload.json")):
            upload = json.loads(file.read_text(encoding="utf-8"))
            if upload["Bucket"] == bucket:
                yield upload | {"UploadId": file.parent.name.removeprefix("multipart-")}

    def keep_part(self, upload: str, number: str, file: Path) -> str:
        """Keep the complete file as a part; return its version."""
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= _PARTS):
            raise ServiceError("InvalidArgument", f"Part numbers are 1 to {_PARTS}.")
        part = self.folder(upload) / f"{int(number):05}"
        os.replace(file, part)
        return etag(part.stat())

    def parts(self, upload: str) -> list[Path]:
        """Return the parts that have come, in their order."""
        return sorted(self.folder(upload).glob("[0-9]*"))

    @contextmanager
    def completed(self, upload: str, wanted: list[tuple[int, str]]) -> Iterator[Path]:
        """Give the file of the wanted parts: (number, version) in rising order. The upload is over afterwards."""
        folder = self.folder(upload)
        if not wanted or [number for number, _ in wanted] != sorted({number for number, _ in wanted}):
            raise ServiceError("InvalidPartOrder", "The list of parts is empty, or not in ascending order.")
        parts = [folder / f"{number:05}" for number, _ in wanted]
        for part, (number, version) in zip(parts, wanted, strict=True):
            if not part.exists() or etag(part.stat()).strip('"') != version.strip('"'):
                raise ServiceError("InvalidPart", f"The part {number} has not come, or another one has.")
            if part != parts[-1] and part.stat().st_size < _LEAST:
                raise ServiceError("EntityTooSmall", f"The part {number} is smaller than {_LEAST} bytes.")
        with self.new_file() as (file, path):
            for part in parts:
                with part.open("rb") as content:
                    shutil.copyfileobj(content, file, CHUNK)
            yield path
        shutil.rmtree(folder)

    def abort(self, upload: str) -> None:
        """Forget a multipart upload."""
        shutil.rmtree(self.folder(upload))

    def folder(self, upload: str) -> Path:
        """Return the folder of a multipart upload; raise `ServiceError` where there is none of that id."""
        folder = self._folder / f"multipart-{upload}"
        if not re.fullmatch(r"\w+", upload) or not folder.is_dir():
            raise ServiceError("NoSuchUpload", "The specified multipart upload does not exist.")
        return folder

    def headers(self, upload: str) -> dict[str, str]:
        """Return the headers that the upload's object is to have."""
        file = self.folder(upload) / "upload.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))["Headers"])
