"""S3's operations on buckets and objects, from and to disk by streaming.

The version of an object (its ETag) is that of its file, since a job's container may write it, too. Headers that a
client wants to find again lie beside the buckets, and count as long as the object has the version they were given with.
"""

import email.utils
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from byoc_vision.local.objects import Objects
from byoc_vision.local.store import ACCOUNT, REGION, ServiceError, Store
from byoc_vision.service import xml
from byoc_vision.service.message import CHUNK, Call, Reply, opened
from byoc_vision.service.uploads import Uploads, etag

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

_STATUS = {
    **dict.fromkeys(("NoSuchBucket", "NoSuchKey", "NoSuchUpload"), 404),
    **dict.fromkeys(("AccessDenied", "MissingAuthenticationToken", "InvalidClientTokenId"), 403),
    **{"BucketNotEmpty": 409, "PreconditionFailed": 412, "InvalidRange": 416, "InternalFailure": 500},
    **{"NotImplemented": 501, "ServiceUnavailable": 503, "NotModified": 304},
}

#: S3's own names of errors that all services have.
_CODES = {
    "IncompleteSignature": "AuthorizationHeaderMalformed",
    "InvalidSignatureException": "AuthorizationHeaderMalformed",
    "MissingAuthenticationToken": "AccessDenied",
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "InternalFailure": "InternalError",
}

#: Headers that are given back as they came, besides x-amz-meta-….
_KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")

#: Names in a query that ask for something else than an object or a listing; of these there are some.
_ASPECTS = {"uploads", "uploadId", "delete", "location"}
_LISTING = {"prefix", "delimiter", "marker", "start-after", "continuation-token", "encoding-type", "max-keys"}


class S3:
    """The buckets of a store."""

    def __init__(self, store: Store) -> None:
        self._objects = Objects(store)
        self._uploads = Uploads(self._objects)

    def __call__(self, call: Call) -> Reply:
        """Answer a request."""
        bucket, key = call.parts
        level = "object" if key else "bucket" if bucket else "all"
        aspects = {name for name, value in call.query.items() if not value or name in _ASPECTS} - _LISTING
        if call.method == "PUT" and "x-amz-copy-source" in call.headers:
            aspects.add("copy")
        aspect = " ".join(sorted(aspects))
        operation = _OPERATIONS.get((call.method, level, aspect))
        if operation is None or "versionId" in call.query:
            raise ServiceError("NotImplemented", f"S3 on this machine has no {call.method} ?{aspect} of {level}.")
        if call.headers.get("x-amz-expected-bucket-owner", ACCOUNT) != ACCOUNT:
            raise ServiceError("AccessDenied", f"All buckets on this machine belong to the account {ACCOUNT}.")
        if level != "all" and operation is not S3.create_bucket:
            self._objects.bucket(bucket)
        return operation(self, call, bucket, key)

    def list_buckets(self, call: Call, bucket: str, key: str) -> Reply:
        """ListBuckets."""
        found = [
            {"Name": each.name, "CreationDate": _time(each.stat()), "BucketRegion": REGION}
            for each in self._objects.buckets()
        ]
        return _xml("ListAllMyBucketsResult", {"Owner": {"ID": ACCOUNT}, "Buckets": {"Bucket": found}})

    def create_bucket(self, call: Call, bucket: str, key: str) -> Reply:
        """CreateBucket."""
        self._objects.make_bucket(bucket)
        return Reply(headers={"Location": f"/{bucket}"})

    def head_bucket(self, call: Call, bucket: str, key: str) -> Reply:
        """HeadBucket."""
        return Reply(headers={"x-amz-bucket-region": REGION})

    def locate_bucket(self, call: Call, bucket: str, key: str) -> Reply:
        """GetBucketLocation."""
        return _xml("LocationConstraint", "")

    def delete_bucket(self, call: Call, bucket: str, key: str) -> Reply:
        """DeleteBucket."""
        try:
            self._objects.bucket(bucket).rmdir()
        except OSError:
            raise ServiceError("BucketNotEmpty", "The bucket you tried to delete is not empty.") from None
        return Reply(204)

    def list_objects(self, call: Call, bucket: str, key: str) -> Reply:
        """ListObjects, in both versions."""
        query, second = call.query, call.query.get("list-type") == "2"
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        if second:
            after = unquote(query.get("continuation-token", "")) or query.get("start-after", "")
        else:
            after = query.get("marker", "")
        limit = min(_count(query.get("max-keys", "1000")), 1000)
        entries = list(islice(self._objects.list(bucket, prefix, after, delimiter), limit + 1))
        truncated, entries = len(entries) > limit, entries[:limit]

        def shown(text: str) -> str:
            return _quoted(text) if query.get("encoding-type") == "url" else text

        content: dict[str, Any] = {
            "Name": bucket,
            "Prefix": shown(prefix),
            "Delimiter": shown(delimiter) if delimiter else None,
            "MaxKeys": limit,
            "EncodingType": query.get("encoding-type"),
            "IsTruncated": truncated,
        }
        if second:
            content |= {"KeyCount": len(entries), "ContinuationToken": query.get("continuation-token")}
            content["StartAfter"] = shown(query["start-after"]) if query.get("start-after") else None
            content["NextContinuationToken"] = _quoted(entries[-1].key) if truncated and entries else None
        else:
            content["Marker"] = shown(after)
            content["NextMarker"] = shown(entries[-1].key) if truncated and entries and delimiter else None
        content["Contents"] = [
            {
                "Key": shown(entry.key),
                "LastModified": _time(entry.stat),
                "ETag": etag(entry.stat),
                "Size": 0 if entry.key.endswith("/") else entry.stat.st_size,
                "StorageClass": "STANDARD",
            }
            for entry in entries
            if entry.stat
        ]
        content["CommonPrefixes"] = [{"Prefix": shown(entry.key)} for entry in entries if not entry.stat]
        return _xml("ListBucketResult", content)

    def delete_objects(self, call: Call, bucket: str, key: str) -> Reply:
        """DeleteObjects."""
        root = xml.parse(call.whole())
        deleted, errors = [], []
        for node in root.findall("Object"):
            name = node.findtext("Key") or ""
            try:
                self._delete(bucket, name)
                deleted.append({"Key": name})
            except ServiceError as error:
                errors.append({"Key": name, "Code": error.code, "Message": str(error)})
        if root.findtext("Quiet") == "true":
            deleted = []
        return _xml("DeleteResult", {"Deleted": deleted, "Error": errors})

    def get_object(self, call: Call, bucket: str, key: str) -> Reply:
        """GetObject and HeadObject."""
        path = self._objects.existing(bucket, key)
        stat = path.stat()
        headers = {
            "content-type": "binary/octet-stream",
            "Last-Modified": email.utils.formatdate(stat.st_mtime, usegmt=True),
            "ETag": etag(stat),
            "Accept-Ranges": "bytes",
            **self._headers(bucket, key, etag(stat)),
            **{
                name.removeprefix("response-"): value
                for name, value in call.query.items()
                if name.startswith("response-")
            },
        }
        _check_conditions(call.headers, stat)
        size = 0 if path.is_dir() else stat.st_size
        span = _span(call.headers.get("range", ""), size)
        if span is None:
            begin, end, status = 0, size, 200
        else:
            (begin, end), status = span, 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        if call.method == "HEAD" or path.is_dir():
            return Reply(status, b"", headers, length=end - begin)
        file, _ = opened(path)
        return Reply(status, file, headers, begin, end - begin)

    def put_object(self, call: Call, bucket: str, key: str) -> Reply:
        """PutObject."""
        self._objects.path(bucket, key)  # before a body is sent that cannot be kept
        self._check_absent(call, bucket, key)
        with self._uploads.received(call) as file:
            if key.endswith("/"):
                return self._put_folder(bucket, key, file)
            version = self._put(file, bucket, key, _kept(call.headers))
        return Reply(headers={"ETag": version})

    def copy_object(self, call: Call, bucket: str, key: str) -> Reply:
        """CopyObject."""
        source_bucket, source_key = _source(call)
        source = self._objects.existing(source_bucket, source_key)
        version = etag(source.stat())
        replaced = call.headers.get("x-amz-metadata-directive") == "REPLACE"
        headers = _kept(call.headers) if replaced else self._headers(source_bucket, source_key, version)
        with self._uploads.new_file() as (file, path), source.open("rb") as content:
            shutil.copyfileobj(content, file, CHUNK)
            version = self._put(path, bucket, key, headers)
        stat = self._objects.existing(bucket, key).stat()
        return _xml("CopyObjectResult", {"ETag": version, "LastModified": _time(stat)})

    def delete_object(self, call: Call, bucket: str, key: str) -> Reply:
        """DeleteObject."""
        self._delete(bucket, key)
        return Reply(204)

    def create_upload(self, call: Call, bucket: str, key: str) -> Reply:
        """CreateMultipartUpload."""
        self._objects.path(bucket, key)
        upload = self._uploads.begin(bucket, key, _kept(call.headers))
        return _xml("InitiateMultipartUploadResult", {"Bucket": bucket, "Key": key, "UploadId": upload})

    def upload_part(self, call: Call, bucket: str, key: str) -> Reply:
        """UploadPart."""
        upload = call.query["uploadId"]
        self._uploads.folder(upload)
        with self._uploads.received(call) as file:
            return Reply(headers={"ETag": self._uploads.keep_part(upload, call.query.get("partNumber", ""), file)})

    def copy_part(self, call: Call, bucket: str, key: str) -> Reply:
        """UploadPartCopy."""
        source = self._objects.existing(*_source(call))
        size = source.stat().st_size
        begin, end = _span(call.headers.get("x-amz-copy-source-range", ""), size) or (0, size)
        with self._uploads.new_file() as (file, path), source.open("rb") as content:
            content.seek(begin)
            while begin < end and (part := content.read(min(CHUNK, end - begin))):
                begin += file.write(part)
            version = self._uploads.keep_part(call.query["uploadId"], call.query.get("partNumber", ""), path)
        return _xml("CopyPartResult", {"ETag": version, "LastModified": _time(source.stat())})

    def complete_upload(self, call: Call, bucket: str, key: str) -> Reply:
        """CompleteMultipartUpload."""
        upload = call.query["uploadId"]
        headers = self._uploads.headers(upload)
        self._check_absent(call, bucket, key)
        try:
            parts = [
                (int(part.findtext("PartNumber") or ""), part.findtext("ETag") or "")
                for part in xml.parse(call.whole()).findall("Part")
            ]
        except ValueError:
            raise ServiceError("MalformedXML", "A part has no number.") from None
        with self._uploads.completed(upload, parts) as file:
            version = self._put(file, bucket, key, headers)
        content = {"Location": f"/{bucket}/{_quoted(key)}", "Bucket": bucket, "Key": key, "ETag": version}
        return _xml("CompleteMultipartUploadResult", content)

    def abort_upload(self, call: Call, bucket: str, key: str) -> Reply:
        """AbortMultipartUpload."""
        self._uploads.abort(call.query["uploadId"])
        return Reply(204)

    def list_uploads(self, call: Call, bucket: str, key: str) -> Reply:
        """ListMultipartUploads."""
        found = [
            {field: each[field] for field in ("Key", "UploadId", "Initiated")} for each in self._uploads.all(bucket)
        ]
        return _xml("ListMultipartUploadsResult", {"Bucket": bucket, "IsTruncated": False, "Upload": found})

    def list_parts(self, call: Call, bucket: str, key: str) -> Reply:
        """ListParts."""
        upload = call.query["uploadId"]
        found = [
            {
                "PartNumber": int(part.name),
                "LastModified": _time(part.stat()),
                "ETag": etag(part.stat()),
                "Size": part.stat().st_size,
            }
            for part in self._uploads.parts(upload)
        ]
        content = {"Bucket": bucket, "Key": key, "UploadId": upload, "IsTruncated": False, "Part": found}
        return _xml("ListPartsResult", content)

    def _put(self, file: Path, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        version = etag(self._objects.put(file, bucket, key).stat())
        note = self._note(bucket, key)
        if headers:
            note.parent.mkdir(parents=True, exist_ok=True)
            fresh = note.with_suffix(".new")
            fresh.write_text(json.dumps({"ETag": version, "Headers": dict(headers)}), encoding="utf-8")
            os.replace(fresh, note)
        else:
            note.unlink(missing_ok=True)
        return version

    def _put_folder(self, bucket: str, key: str, file: Path) -> Reply:
        if file.stat().st_size:
            raise ServiceError(
                "InvalidArgument", "Objects are files on this machine, and a folder, key/, holds no bytes."
            )
        return Reply(headers={"ETag": etag(self._objects.put_folder(bucket, key).stat())})

    def _delete(self, bucket: str, key: str) -> None:
        self._objects.delete(bucket, key)
        self._note(bucket, key).unlink(missing_ok=True)

    def _check_absent(self, call: Call, bucket: str, key: str) -> None:
        if call.headers.get("if-none-match") == "*" and self._objects.path(bucket, key).exists():
            raise ServiceError("PreconditionFailed", "The object exists already.")

    def _headers(self, bucket: str, key: str, version: str) -> dict[str, str]:
        try:
            note = json.loads(self._note(bucket, key).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return dict(note["Headers"]) if note["ETag"] == version else {}

    def _note(self, bucket: str, key: str) -> Path:
        return self._objects.root / ".headers" / bucket / hashlib.sha256(key.encode()).hexdigest()


#: (method, what it is asked of, aspect) -> operation.
_OPERATIONS = {
    ("GET", "all", ""): S3.list_buckets,
    ("PUT", "bucket", ""): S3.create_bucket,
    ("HEAD", "bucket", ""): S3.head_bucket,
    ("GET", "bucket", "location"): S3.locate_bucket,
    ("DELETE", "bucket", ""): S3.delete_bucket,
    ("GET", "bucket", ""): S3.list_objects,
    ("POST", "bucket", "delete"): S3.delete_objects,
    ("GET", "bucket", "uploads"): S3.list_uploads,
    ("GET", "object", ""): S3.get_object,
    ("HEAD", "object", ""): S3.get_object,
    ("PUT", "object", ""): S3.put_object,
    ("PUT", "object", "copy"): S3.copy_object,
    ("DELETE", "object", ""): S3.delete_object,
    ("POST", "object", "uploads"): S3.create_upload,
    ("PUT", "object", "uploadId"): S3.upload_part,
    ("PUT", "object", "copy uploadId"): S3.copy_part,
    ("POST", "object", "uploadId"): S3.complete_upload,
    ("DELETE", "object", "uploadId"): S3.abort_upload,
    ("GET", "object", "uploadId"): S3.list_parts,
}


def failure(error: ServiceError, call: Call) -> Reply:
    """Return the error as S3 gives it."""
    status = _STATUS.get(error.code, 400)
    content = {"Code": _CODES.get(error.code, error.code), "Message": str(error), "Resource": call.path}
    body = b"" if status == 304 else xml.document("Error", content | {"RequestId": call.id})
    return Reply(status, body, {"Content-Type": "application/xml"})


def _xml(name: str, content: Any) -> Reply:
    return Reply(200, xml.document(name, content, _NAMESPACE), {"Content-Type": "application/xml"})


def _time(stat: os.stat_result) -> str:
    return f"{datetime.fromtimestamp(stat.st_mtime, UTC):%Y-%m-%dT%H:%M:%S}.{stat.st_mtime_ns // 10**6 % 1000:03}Z"


def _quoted(text: str) -> str:
    return quote(text, safe="/", errors="surrogateescape")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ServiceError("InvalidArgument", "max-keys is not a number.")
    return int(text)


def _source(call: Call) -> tuple[str, str]:
    source = unquote(call.headers["x-amz-copy-source"].partition("?")[0]).removeprefix("/")
    bucket, _, key = source.partition("/")
    return bucket, key


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that an object is given back with."""
    found = {name: value for name, value in headers.items() if name in _KEPT or name.startswith("x-amz-meta-")}
    coding = [each.strip() for each in found.pop("content-encoding", "").split(",")]
    if coding := [each for each in coding if each not in ("", "aws-chunked")]:
        found["content-encoding"] = ",".join(coding)
    if found.get("content-type") in ("binary/octet-stream", "application/octet-stream"):
        del found["content-type"]
    return found


def _span(text: str, size: int) -> tuple[int, int] | None:
    """Return the begin and end that a header asks for, or None for all."""
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


def _check_conditions(headers: Mapping[str, str], stat: os.stat_result) -> None:
    """Raise `ServiceError` where the object is not as the request's conditions want it."""
    version = etag(stat)
    if "if-match" in headers and headers["if-match"] not in ("*", version, version.strip('"')):
        raise ServiceError("PreconditionFailed", "The object has changed.")
    if headers.get("if-none-match") in ("*", version, version.strip('"')):
        raise ServiceError("NotModified", "The object has not changed.")
    for header, holds in (("if-modified-since", False), ("if-unmodified-since", True)):
        try:
            since = email.utils.parsedate_to_datetime(headers[header]).timestamp()
        except (KeyError, ValueError):
            continue
        if (int(stat.st_mtime) <= since) is not holds:
            raise ServiceError("PreconditionFailed" if holds else "NotModified", "The object's time is another one.")
