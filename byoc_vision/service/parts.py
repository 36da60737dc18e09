"""Multipart uploads, a folder each: `.uploads/multipart-ID`.

    upload.json   the bucket, the key, and the headers that the object is to have
    data          the parts that lie where they will be in the object
    place-00007   the part 7 in `data`: {"Offset", "Size", "ETag"}; while it comes, and where it broke off, empty
    00007         the part 7, where it is not in `data`

The first part's length says where the others should lie. A place is given once: a part that comes again gets a file of
its own, since who sent the first one may still be writing. Where all parts lie right, `data` is the object.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

from byoc_vision.local.store import ServiceError, now
from byoc_vision.service import message
from byoc_vision.service.uploads import Uploads, copy, etag, writing

#: The least size of a part that is not the last, and the greatest number of one.
_LEAST, PARTS = 5 << 20, 10_000

#: How far parts may lie from the file's begin: an object's greatest size.
_LARGEST = 5 << 40

_NUMBER = "[0-9]" * 5


class Part(NamedTuple):
    """A part that has come. `offset` is where in the file it begins."""

    number: int
    version: str
    size: int
    file: Path
    offset: int


class Multipart:
    """The multipart uploads of a folder of uploads."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._lengths: dict[str, int] = {}  # upload -> bytes from one place to the next; only of this process's uploads
        self._lock = Lock()
        self._endings: dict[str, Lock] = {}  # upload -> held by who ends it

    def begin(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        """Begin a multipart upload; return its id."""
        folder = Path(tempfile.mkdtemp(prefix="multipart-", dir=self._uploads.folder))
        upload = {"Bucket": bucket, "Key": key, "Headers": dict(headers), "Initiated": now()}
        _write(folder / "upload.json", upload)
        identity = folder.name.removeprefix("multipart-")
        self._lengths[identity] = 0
        return identity

    def all(self, bucket: str) -> Iterator[dict[str, Any]]:
        """Yield the multipart uploads to a bucket: Bucket, Key, Headers, Initiated and UploadId."""
        for file in sorted(self._uploads.folder.glob("multipart-*/upload.json")):
            identity = file.parent.name.removeprefix("multipart-")
            with suppress(ServiceError):  # it has ended since, or is damaged
                if (upload := self._read(identity))["Bucket"] == bucket:
                    yield upload | {"UploadId": identity}

    def keep(self, upload: str, number: str, length: int | None, write: Callable[[BinaryIO], object]) -> str:
        """Let `write` write a part, of exactly that length if it is known; return its version."""
        folder = self.folder(upload)
        if not 1 <= (place := message.number(number) or 0) <= PARTS:
            raise ServiceError("InvalidArgument", f"Part numbers are 1 to {PARTS}.")
        file = folder / f"{place:05}"
        note = folder / f"place-{file.name}"
        try:
            offset = self._claimed(upload, file, note, length)
            if offset is None:
                with self._uploads.new_file() as (target, path):
                    write(target)
                    os.replace(path, file)
                return etag(file.stat())
            with writing(os.open(folder / "data", os.O_WRONLY | os.O_CREAT)) as target:
                target.seek(offset)
                write(target)
                version = etag(os.fstat(target.fileno()))
            _write(note, {"Offset": offset, "Size": length, "ETag": version})
        except FileNotFoundError:
            self.folder(upload)  # it has ended since
            raise
        return version

    def _claimed(self, upload: str, file: Path, note: Path, length: int | None) -> int | None:
        """Return where in `data` a part is to be written, or None where it is to have the `file`."""
        with self._lock:
            if not length or upload not in self._lengths:
                return None
            size = self._lengths[upload] = self._lengths[upload] or length
            offset = (int(file.name) - 1) * size
            if length > size or offset > _LARGEST or file.exists():
                return None
            try:
                note.touch(exist_ok=False)
            except FileExistsError:
                return None
            return offset

    def parts(self, upload: str) -> list[Part]:
        """Return the parts that have come, in their order."""
        folder, listed = self.folder(upload), {}
        for file in folder.glob(f"place-{_NUMBER}"):
            if text := file.read_text(encoding="utf-8"):
                place, number = json.loads(text), int(file.name.removeprefix("place-"))
                listed[number] = Part(number, place["ETag"], place["Size"], folder / "data", place["Offset"])
        for file in folder.glob(_NUMBER):
            stat = file.stat()
            listed[int(file.name)] = Part(int(file.name), etag(stat), stat.st_size, file, 0)
        return [listed[number] for number in sorted(listed)]

    @contextmanager
    def completed(self, upload: str, wanted: list[tuple[int, str]]) -> Iterator[Path]:
        """Give the file of the wanted parts: (number, version) in rising order. The upload is over afterwards."""
        with self._ending(upload) as folder:
            chosen = self._chosen(upload, wanted)
            if self._are_all(folder, upload, chosen):
                os.utime(folder / "data")
                yield folder / "data"
            else:
                with self._uploads.new_file() as (file, path):
                    for part in chosen:
                        with part.file.open("rb") as content:
                            copy(content.fileno(), part.offset, part.offset + part.size, file)
                    yield path
            self._forget(upload, folder)

    def _chosen(self, upload: str, wanted: list[tuple[int, str]]) -> list[Part]:
        if not wanted or [number for number, _ in wanted] != sorted({number for number, _ in wanted}):
            raise ServiceError("InvalidPartOrder", "The list of parts is empty, or not in ascending order.")
        present = {part.number: part for part in self.parts(upload)}
        chosen: list[Part] = []
        for number, version in wanted:
            part = present.get(number)
            if part is None or part.version.strip('"') != version.strip('"'):
                raise ServiceError("InvalidPart", f"The part {number} has not come, or another one has.")
            if number != wanted[-1][0] and part.size < _LEAST:
                raise ServiceError("EntityTooSmall", f"The part {number} is smaller than {_LEAST} bytes.")
            chosen.append(part)
        return chosen

    def _are_all(self, folder: Path, upload: str, parts: list[Part]) -> bool:
        """Whether the parts, one after the other, are what is in `data`. Then nobody writes to it any more."""
        offset = 0
        for part in parts:
            if part.file.name != "data" or part.offset != offset:
                return False
            offset += part.size
        with self._lock:
            if len(list(folder.glob(f"place-{_NUMBER}"))) > len(parts) or (folder / "data").stat().st_size != offset:
                return False
            self._lengths.pop(upload, None)
        return True

    def abort(self, upload: str, bucket: str, key: str) -> None:
        """Forget a multipart upload to the object; one that is damaged does not say to which it is."""
        with self._ending(upload) as folder:
            with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
                begun = json.loads((folder / "upload.json").read_text(encoding="utf-8"))
                if (begun["Bucket"], begun["Key"]) != (bucket, key):
                    raise _no_upload()
            self._forget(upload, folder)

    @contextmanager
    def _ending(self, upload: str) -> Iterator[Path]:
        """Let one at a time end the upload; who comes later finds it gone, if the first one could."""
        self.folder(upload)
        with self._endings.setdefault(upload, Lock()):
            yield self.folder(upload)

    def _forget(self, upload: str, folder: Path) -> None:
        with self._lock:
            self._lengths.pop(upload, None)
        shutil.rmtree(folder, ignore_errors=True)
        self._endings.pop(upload, None)

    def folder(self, upload: str) -> Path:
        """Return the folder of a multipart upload; raise `ServiceError` where there is none of that id."""
        folder = self._uploads.folder / f"multipart-{upload}"
        if not re.fullmatch(r"\w+", upload) or not folder.is_dir():
            raise _no_upload()
        return folder

    def headers(self, upload: str, bucket: str, key: str) -> dict[str, str]:
        """Return the headers that the upload's object is to have; raise `ServiceError` where that is another one."""
        begun = self._read(upload)
        if (begun["Bucket"], begun["Key"]) != (bucket, key):
            raise _no_upload()
        return dict(begun["Headers"])

    def _read(self, upload: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder(upload) / "upload.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            raise _no_upload() from None


def _no_upload() -> ServiceError:
    return ServiceError("NoSuchUpload", "The specified multipart upload does not exist.")


def _write(file: Path, content: Mapping[str, object]) -> None:
    """Write the file whole or not at all, as long as the machine does not break down."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(file)
