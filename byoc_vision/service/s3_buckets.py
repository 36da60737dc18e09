"""S3's operations on buckets, and listings of what is in one."""

import base64
from itertools import islice
from typing import Any
from urllib.parse import quote

from byoc_vision.local.store import ACCOUNT, REGION, ServiceError
from byoc_vision.service import xml
from byoc_vision.service.message import Call, Reply
from byoc_vision.service.s3_content import Content, time, xml_reply
from byoc_vision.service.uploads import etag


def list_buckets(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListBuckets."""
    buckets = [
        {"Name": bucket.name, "CreationDate": time(bucket.stat()), "BucketRegion": REGION}
        for bucket in content.objects.buckets()
    ]
    return xml_reply("ListAllMyBucketsResult", {"Owner": {"ID": ACCOUNT}, "Buckets": {"Bucket": buckets}})


def create_bucket(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """CreateBucket."""
    if body := call.whole():
        region = xml.parse(body).findtext("LocationConstraint") or REGION
        if region != REGION:
            reason = f"A bucket cannot be in {region}; this machine is {REGION}."
            raise ServiceError("IllegalLocationConstraintException", reason)
    content.objects.make_bucket(bucket)
    return Reply(headers={"Location": f"/{bucket}"})


def head_bucket(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """HeadBucket."""
    return Reply(headers={"x-amz-bucket-region": REGION})


def locate_bucket(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """GetBucketLocation."""
    return xml_reply("LocationConstraint", "")


def delete_bucket(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """DeleteBucket."""
    try:
        content.objects.bucket(bucket).rmdir()
    except OSError:
        raise ServiceError("BucketNotEmpty", "The bucket you tried to delete is not empty.") from None
    return Reply(204)


def list_objects(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListObjects, in both versions."""
    query, second = call.query, call.query.get("list-type") == "2"
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    if second:
        after = _place(query["continuation-token"]) if "continuation-token" in query else query.get("start-after", "")
    else:
        after = query.get("marker", "")
    limit = min(_count(query.get("max-keys", "1000")), 1000)
    entries = list(islice(content.objects.list(bucket, prefix, after, delimiter), limit + 1))
    truncated, entries = len(entries) > limit > 0, entries[:limit]

    def shown(text: str) -> str:
        return _quoted(text) if query.get("encoding-type") == "url" else text

    result: dict[str, Any] = {
        "Name": bucket,
        "Prefix": shown(prefix),
        "Delimiter": shown(delimiter) if delimiter else None,
        "MaxKeys": limit,
        "EncodingType": query.get("encoding-type"),
        "IsTruncated": truncated,
    }
    if second:
        result |= {"KeyCount": len(entries), "ContinuationToken": query.get("continuation-token")}
        result["StartAfter"] = shown(query["start-after"]) if query.get("start-after") else None
        result["NextContinuationToken"] = _token(entries[-1].key) if truncated else None
    else:
        result["Marker"] = shown(after)
        result["NextMarker"] = shown(entries[-1].key) if truncated and delimiter else None
    result["Contents"] = [
        {
            "Key": shown(entry.key),
            "LastModified": time(entry.stat),
            "ETag": etag(entry.stat),
            "Size": 0 if entry.key.endswith("/") else entry.stat.st_size,
            "StorageClass": "STANDARD",
        }
        for entry in entries
        if entry.stat
    ]
    result["CommonPrefixes"] = [{"Prefix": shown(entry.key)} for entry in entries if not entry.stat]
    return xml_reply("ListBucketResult", result)


def delete_objects(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """DeleteObjects."""
    root = xml.parse(call.whole())
    deleted, errors = [], []
    for node in root.findall("Object"):
        name = node.findtext("Key") or ""
        try:
            content.delete(bucket, name)
            deleted.append({"Key": name})
        except ServiceError as error:
            errors.append({"Key": name, "Code": error.code, "Message": str(error)})
    if root.findtext("Quiet") == "true":
        deleted = []
    return xml_reply("DeleteResult", {"Deleted": deleted, "Error": errors})


def _quoted(text: str) -> str:
    return quote(text, safe="/", errors="surrogateescape")


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode(errors="surrogateescape")).decode()


def _place(token: str) -> str:
    try:
        return base64.b64decode(token, b"-_", validate=True).decode(errors="surrogateescape")
    except ValueError:
        raise ServiceError("InvalidArgument", "The continuation token is none that a listing gave.") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ServiceError("InvalidArgument", "max-keys is not a number.")
    return int(text)


OPERATIONS = {
    ("GET", "all", ""): list_buckets,
    ("PUT", "bucket", ""): create_bucket,
    ("HEAD", "bucket", ""): head_bucket,
    ("GET", "bucket", "location"): locate_bucket,
    ("DELETE", "bucket", ""): delete_bucket,
    ("GET", "bucket", ""): list_objects,
    ("POST", "bucket", "delete"): delete_objects,
}
