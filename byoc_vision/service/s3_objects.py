"""S3's operations on objects, from and to disk by streaming."""

import email.utils
import os
from urllib.parse import unquote

from byoc_vision.local.store import ServiceError
from byoc_vision.service.message import Call, Reply
from byoc_vision.service.s3_content import Content, check_conditions, kept, span, time, xml_reply
from byoc_vision.service.uploads import copy, etag, receive

#: Up to so many bytes are sent together with the headers: of small pictures most of the time goes into calls.
_SMALL = 1 << 15


def get_object(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """GetObject and HeadObject."""
    path = content.objects.existing(bucket, key)
    stat = path.stat()
    headers = {
        "content-type": "binary/octet-stream",
        "Last-Modified": email.utils.formatdate(stat.st_mtime, usegmt=True),
        "ETag": etag(stat),
        "Accept-Ranges": "bytes",
        **content.headers(bucket, key, etag(stat)),
        **{
            name.removeprefix("response-"): value.encode().decode("latin-1")  # as HTTP has it
            for name, value in call.query.items()
            if name.startswith("response-")
        },
    }
    check_conditions(call.headers, stat)
    size = 0 if path.is_dir() else stat.st_size
    wanted = span(call.headers.get("range", ""), size)
    if wanted is None:
        begin, end, status = 0, size, 200
    else:
        (begin, end), status = wanted, 206
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    if call.method == "HEAD" or not size:
        return Reply(status, b"", headers, length=end - begin)
    if end - begin > _SMALL:
        return Reply(status, b"", headers, path.open("rb"), begin, end - begin)
    with path.open("rb") as file:
        file.seek(begin)
        return Reply(status, file.read(end - begin), headers)


def put_object(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """PutObject."""
    content.objects.path(bucket, key)  # before a body is sent that cannot be kept
    check_absent(content, call, bucket, key)
    with content.uploads.new_file() as (file, path):
        size = receive(call, file)
        if key.endswith("/"):
            if size:
                raise ServiceError("InvalidArgument", "An object whose key ends in / is a folder, and holds no bytes.")
            return Reply(headers={"ETag": etag(content.objects.put_folder(bucket, key).stat())})
        version = content.put(path, bucket, key, kept(call.headers))
    return Reply(headers={"ETag": version})


def copy_object(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """CopyObject."""
    source_bucket, source_key = source_of(call)
    source = content.objects.existing(source_bucket, source_key)
    version = etag(source.stat())
    replaced = call.headers.get("x-amz-metadata-directive") == "REPLACE"
    headers = kept(call.headers) if replaced else content.headers(source_bucket, source_key, version)
    with content.uploads.new_file() as (file, path), source.open("rb") as original:
        copy(original, 0, os.fstat(original.fileno()).st_size, file)
        version = content.put(path, bucket, key, headers)
    stat = content.objects.existing(bucket, key).stat()
    return xml_reply("CopyObjectResult", {"ETag": version, "LastModified": time(stat)})


def delete_object(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """DeleteObject."""
    content.delete(bucket, key)
    return Reply(204)


def check_absent(content: Content, call: Call, bucket: str, key: str) -> None:
    """Raise `ServiceError` where the request wants to make the object, and it exists."""
    if call.headers.get("if-none-match") == "*" and content.objects.path(bucket, key).exists():
        raise ServiceError("PreconditionFailed", "The object exists already.")


def source_of(call: Call) -> tuple[str, str]:
    """Return the bucket and key that are to be copied."""
    source = unquote(call.headers["x-amz-copy-source"].partition("?")[0]).removeprefix("/")
    bucket, _, key = source.partition("/")
    return bucket, key


OPERATIONS = {
    ("GET", "object", ""): get_object,
    ("HEAD", "object", ""): get_object,
    ("PUT", "object", ""): put_object,
    ("PUT", "object", "copy"): copy_object,
    ("DELETE", "object", ""): delete_object,
}
