"""What S3 keeps of an object: its file, and the headers that a client wants to find again.

The version of an object (its ETag) is that of its file, since a job's container may write it, too. The headers lie
beside the buckets, and count as long as the object has the version they were given with.
"""

import email.utils
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from byoc_vision.local.objects import Objects
from byoc_vision.local.store import ServiceError, Store
from byoc_vision.service import xml
from byoc_vision.service.message import Call, Reply, number
from byoc_vision.service.parts import Multipart
from byoc_vision.service.uploads import Uploads, etag

#: Headers that are given back as they came, besides x-amz-meta-….
_KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")

#: The id of an object's version in a bucket that keeps none.
ONLY_VERSION = "null"

#: How conditions begin on what is copied.
_OF_SOURCE = "x-amz-copy-source-"

_CONDITIONS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})

_NONE: Mapping[str, str] = MappingProxyType({})


class Content:
    """The objects of a store with their headers, and what is on its way to them."""

    def __init__(self, store: Store) -> None:
        self.objects = Objects(store)
        self.uploads = Uploads(self.objects)
        self.multipart = Multipart(self.uploads)
        self._lock = Lock()

    def put(
        self, file: Path, bucket: str, key: str, headers: Mapping[str, str], conditions: Mapping[str, str] = _NONE
    ) -> str:
        """Move the complete file to where the object is, if that is as the conditions want it; return its version."""
        with self._lock:
            self.check_target(conditions, bucket, key)
            stat = file.stat()
            if key.endswith("/"):
                if stat.st_size:
                    reason = "An object whose key ends in / is a folder, and holds no bytes."
                    raise ServiceError("InvalidArgument", reason)
                return etag(self.objects.put_folder(bucket, key).stat())
            version = etag(stat)
            self.objects.put(file, bucket, key)
            self._keep(bucket, key, version, headers)
            return version

    def _keep(self, bucket: str, key: str, version: str, headers: Mapping[str, str]) -> None:
        note = self._note(bucket, key)
        if headers:
            os.makedirs(os.path.dirname(note), exist_ok=True)
            fresh = f"{note}.new"
            with open(fresh, "w", encoding="utf-8") as out:
                json.dump({"ETag": version, "Headers": dict(headers)}, out)
            os.replace(fresh, note)
        else:
            with suppress(FileNotFoundError):
                os.unlink(note)

    def check_target(self, conditions: Mapping[str, str], bucket: str, key: str) -> None:
        """Raise `ServiceError` where the key cannot be, or what is there is not as a writing request wants it."""
        path = self.objects.path(bucket, key)
        if "if-none-match" in conditions and path.exists():
            raise ServiceError("PreconditionFailed", "The object exists already.")
        if "if-match" in conditions:
            check_conditions({"if-match": conditions["if-match"]}, self.objects.existing(bucket, key).stat())

    @contextmanager
    def source(self, call: Call) -> Iterator[tuple[int, os.stat_result, dict[str, str]]]:
        """Give the open file that a request wants to be copied, with its headers."""
        source, _, version = call.headers["x-amz-copy-source"].partition("?")
        bucket, _, key = unquote(source).removeprefix("/").partition("/")
        if version not in ("", f"versionId={ONLY_VERSION}"):
            raise ServiceError("NotImplemented", "S3 on this machine has no versions of objects.")
        if not key:
            raise ServiceError("InvalidArgument", "x-amz-copy-source is not of the form BUCKET/KEY.")
        file, stat = self.objects.open(bucket, key)
        try:
            conditions = {
                name.removeprefix(_OF_SOURCE): value
                for name, value in call.headers.items()
                if name.startswith(f"{_OF_SOURCE}if-")
            }
            try:
                check_conditions(conditions, stat)
            except ServiceError as error:
                raise ServiceError("PreconditionFailed", str(error)) from None
            yield file, stat, self.headers(bucket, key, etag(stat))
        finally:
            os.close(file)

    def headers(self, bucket: str, key: str, version: str) -> dict[str, str]:
        """Return the headers that this version of the object came with."""
        name = self._note(bucket, key)
        if not os.path.exists(name):  # as with most
            return {}
        try:
            with open(name, encoding="utf-8") as file:
                note = json.load(file)
            return dict(note["Headers"]) if note["ETag"] == version else {}
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # none, or damaged
            return {}

    def delete(self, bucket: str, key: str, conditions: Mapping[str, str] = _NONE) -> None:
        """Remove the object, if it is as the conditions want it."""
        with self._lock:
            if "if-match" in conditions:
                self.check_target(conditions, bucket, key)
            self.objects.delete(bucket, key)
            with suppress(FileNotFoundError):
                os.unlink(self._note(bucket, key))

    def _note(self, bucket: str, key: str) -> str:
        return f"{self.objects.root}/.headers/{bucket}/{hashlib.sha256(key.encode()).hexdigest()}"


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request that its object is given back with."""
    kept_headers = {name: value for name, value in headers.items() if name in _KEPT or name.startswith("x-amz-meta-")}
    coding = [part.strip() for part in kept_headers.pop("content-encoding", "").split(",")]
    if coding := [part for part in coding if part not in ("", "aws-chunked")]:
        kept_headers["content-encoding"] = ",".join(coding)
    if kept_headers.get("content-type") in ("binary/octet-stream", "application/octet-stream"):
        del kept_headers["content-type"]
    return kept_headers


def span(text: str, size: int) -> tuple[int, int] | None:
    """Return the begin and end that a header Range asks for, or None for all."""
    match = re.fullmatch(r"bytes=(\d{0,99})-(\d{0,99})", text)
    if not match or match[0] == "bytes=-":
        return None
    if not match[1]:
        begin, end = max(0, size - int(match[2])), size
    else:
        begin, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    if begin >= end:
        raise ServiceError("InvalidRange", "The requested range is not satisfiable.")
    return begin, end


def check_conditions(headers: Mapping[str, str], stat: os.stat_result) -> None:
    """Raise `ServiceError` where the object is not as the request's conditions want it."""
    if _CONDITIONS.isdisjoint(headers):
        return
    these = {"*", etag(stat).strip('"')}
    if "if-match" in headers and these.isdisjoint(_versions(headers["if-match"])):
        raise ServiceError("PreconditionFailed", "The object has changed.")
    if not these.isdisjoint(_versions(headers.get("if-none-match", ""))):
        raise ServiceError("NotModified", "The object has not changed.")
    for header, wanted, stronger in (
        ("if-modified-since", False, "if-none-match"),
        ("if-unmodified-since", True, "if-match"),
    ):
        if stronger in headers:
            continue
        try:
            since = email.utils.parsedate_to_datetime(headers[header]).timestamp()
        except (KeyError, ValueError):
            continue
        if (int(stat.st_mtime) <= since) is not wanted:
            raise ServiceError("PreconditionFailed" if wanted else "NotModified", "The object's time is another one.")


def _versions(text: str) -> list[str]:
    return [tag.strip().strip('"') for tag in text.split(",")]


def asked(query: Mapping[str, str], name: str, most: int = 1000) -> int:
    """Return the number in a query: how many entries of a listing are asked for, `most` at most."""
    if (count := number(query.get(name, str(most)))) is None:
        raise ServiceError("InvalidArgument", f"{name} is not a number.")
    return min(count, most)


def time(stat: os.stat_result) -> str:
    """Return when the file was written, as S3 writes it."""
    return f"{datetime.fromtimestamp(stat.st_mtime, UTC):%Y-%m-%dT%H:%M:%S}.{stat.st_mtime_ns // 10**6 % 1000:03}Z"


def xml_reply(name: str, content: Any) -> Reply:
    """Return an answer of S3."""
    body = xml.document(name, content, "http://s3.amazonaws.com/doc/2006-03-01/")
    return Reply(200, body, {"Content-Type": "application/xml"})
