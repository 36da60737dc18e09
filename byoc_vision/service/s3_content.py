"""What S3 keeps of an object: its file, and the headers that a client wants to find again.

The version of an object (its ETag) is that of its file, since a job's container may write it, too. The headers lie
beside the buckets, and count as long as the object has the version they were given with.
"""

import email.utils
import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from byoc_vision.local.objects import Objects
from byoc_vision.local.store import ServiceError, Store
from byoc_vision.service import xml
from byoc_vision.service.message import Reply
from byoc_vision.service.parts import Multipart
from byoc_vision.service.uploads import Uploads, etag

#: Headers that are given back as they came, besides x-amz-meta-….
_KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")


class Content:
    """The objects of a store with their headers, and what is on its way to them."""

    def __init__(self, store: Store) -> None:
        self.objects = Objects(store)
        self.uploads = Uploads(self.objects)
        self.multipart = Multipart(self.uploads)

    def put(self, file: Path, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        """Move the complete file to where the object is; return its version."""
        version = etag(self.objects.put(file, bucket, key).stat())
        note = self._note(bucket, key)
        if headers:
            note.parent.mkdir(parents=True, exist_ok=True)
            fresh = note.with_name(f"{note.name}.{file.name}")
            fresh.write_text(json.dumps({"ETag": version, "Headers": dict(headers)}), encoding="utf-8")
            os.replace(fresh, note)
        else:
            note.unlink(missing_ok=True)
        return version

    def headers(self, bucket: str, key: str, version: str) -> dict[str, str]:
        """Return the headers that this version of the object came with."""
        try:
            note = json.loads(self._note(bucket, key).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return dict(note["Headers"]) if note["ETag"] == version else {}

    def delete(self, bucket: str, key: str) -> None:
        """Remove the object."""
        self.objects.delete(bucket, key)
        self._note(bucket, key).unlink(missing_ok=True)

    def _note(self, bucket: str, key: str) -> Path:
        return self.objects.root / ".headers" / bucket / hashlib.sha256(key.encode()).hexdigest()


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request that its object is given back with."""
    found = {name: value for name, value in headers.items() if name in _KEPT or name.startswith("x-amz-meta-")}
    coding = [each.strip() for each in found.pop("content-encoding", "").split(",")]
    if coding := [each for each in coding if each not in ("", "aws-chunked")]:
        found["content-encoding"] = ",".join(coding)
    if found.get("content-type") in ("binary/octet-stream", "application/octet-stream"):
        del found["content-type"]
    return found


def span(text: str, size: int) -> tuple[int, int] | None:
    """Return the begin and end that a header Range asks for, or None for all."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", text)
    if not found or found[0] == "bytes=-":
        return None
    if not found[1]:
        begin, end = max(0, size - int(found[2])), size
    else:
        begin, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
    if begin >= end:
        raise ServiceError("InvalidRange", "The requested range is not satisfiable.")
    return begin, end


def check_conditions(headers: Mapping[str, str], stat: os.stat_result) -> None:
    """Raise `ServiceError` where the object is not as the request's conditions want it."""
    version = etag(stat)
    if "if-match" in headers and headers["if-match"] not in ("*", version, version.strip('"')):
        raise ServiceError("PreconditionFailed", "The object has changed.")
    if headers.get("if-none-match") in ("*", version, version.strip('"')):
        raise ServiceError("NotModified", "The object has not changed.")
    for header, wanted in (("if-modified-since", False), ("if-unmodified-since", True)):
        try:
            since = email.utils.parsedate_to_datetime(headers[header]).timestamp()
        except (KeyError, ValueError):
            continue
        if (int(stat.st_mtime) <= since) is not wanted:
            raise ServiceError("PreconditionFailed" if wanted else "NotModified", "The object's time is another one.")


def time(stat: os.stat_result) -> str:
    """Return when the file was written, as S3 writes it."""
    return f"{datetime.fromtimestamp(stat.st_mtime, UTC):%Y-%m-%dT%H:%M:%S}.{stat.st_mtime_ns // 10**6 % 1000:03}Z"


def xml_reply(name: str, content: Any) -> Reply:
    """Return an answer of S3."""
    body = xml.document(name, content, "http://s3.amazonaws.com/doc/2006-03-01/")
    return Reply(200, body, {"Content-Type": "application/xml"})
