"""S3's operations on objects, from and to disk by streaming."""

import os
from stat import S_ISDIR

from byoc_vision.local.store import ServiceError
from byoc_vision.service.message import Call, Reply, http_date
from byoc_vision.service.s3_content import Content, check_conditions, kept, span, time, xml_reply
from byoc_vision.service.uploads import copy, etag, receive

#: Up to so many bytes are sent together with the headers: of small pictures most of the time goes into calls.
_SMALL = 1 << 15


def get_object(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """GetObject and HeadObject."""
    file, stat = content.objects.open(bucket, key)  # what is told is of this version, whatever is put there meanwhile
    sent = False
    try:
        reply = _told(content, call, bucket, key, file, stat)
        sent = reply.file is not None
        return reply
    finally:
        if not sent:
            os.close(file)


def _told(content: Content, call: Call, bucket: str, key: str, file: int, stat: os.stat_result) -> Reply:
    version = etag(stat)
    headers = {
        "content-type": "binary/octet-stream",
        "Last-Modified": http_date(int(stat.st_mtime)),
        "ETag": version,
        "Accept-Ranges": "bytes",
        **content.headers(bucket, key, version),
    }
    for name, value in call.query.items():
        if name.startswith("response-"):
            headers[name.removeprefix("response-")] = value.encode().decode("latin-1")  # as HTTP has it
    check_conditions(call.headers, stat)
    if call.query.get("partNumber", "1") != "1":
        raise ServiceError("InvalidPartNumber", "The requested part is not there; an object here has one.")
    size = 0 if key.endswith("/") else stat.st_size
    wanted = span(call.headers["range"], size) if "range" in call.headers else None
    if wanted is None:
        begin, end, status = 0, size, 200
    else:
        (begin, end), status = wanted, 206
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    if call.method == "HEAD" or not size:
        return Reply(status, b"", headers, length=end - begin)
    if end - begin <= _SMALL:
        return Reply(status, os.pread(file, end - begin, begin), headers)
    return Reply(status, b"", headers, os.fdopen(file, "rb", 0), begin, end - begin)


def tell_attributes(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """GetObjectAttributes."""
    file, stat = content.objects.open(bucket, key)
    os.close(file)
    size = 0 if key.endswith("/") else stat.st_size
    known = {"ETag": etag(stat).strip('"'), "ObjectSize": size, "StorageClass": "STANDARD"}
    wanted = call.headers.get("x-amz-object-attributes", "").replace(" ", "").split(",")
    reply = xml_reply("GetObjectAttributesResponse", {name: value for name, value in known.items() if name in wanted})
    reply.headers["Last-Modified"] = http_date(int(stat.st_mtime))
    return reply


def put_object(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """PutObject."""
    content.check_target(call.headers, bucket, key)  # before a body is sent that cannot be kept
    headers = kept(call.headers)
    with content.uploads.new_file() as (file, path):
        receive(call, file)
        version = content.put(path, bucket, key, headers, call.headers)
    return Reply(headers={"ETag": version})


def copy_object(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """CopyObject."""
    with content.source(call) as (source, stat, headers):
        size = 0 if S_ISDIR(stat.st_mode) else stat.st_size
        replaced = call.headers.get("x-amz-metadata-directive") == "REPLACE"
        with content.uploads.new_file() as (file, path):
            copy(source, 0, size, file)
            time_written = time(os.fstat(file.fileno()))
            version = content.put(path, bucket, key, kept(call.headers) if replaced else headers, call.headers)
    return xml_reply("CopyObjectResult", {"ETag": version, "LastModified": time_written})


def delete_object(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """DeleteObject."""
    content.delete(bucket, key, call.headers)
    return Reply(204)


def tell_tags(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """GetObjectTagging: there are none. Clients ask before they copy."""
    content.objects.existing(bucket, key)
    return xml_reply("Tagging", {"TagSet": ""})


OPERATIONS = {
    ("GET", "object", "attributes"): tell_attributes,
    ("GET", "object", "tagging"): tell_tags,
    ("GET", "object", ""): get_object,
    ("HEAD", "object", ""): get_object,
    ("PUT", "object", ""): put_object,
    ("PUT", "object", "copy"): copy_object,
    ("DELETE", "object", ""): delete_object,
}
