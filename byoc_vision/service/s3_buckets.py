"""S3's operations on buckets, and listings of what is in one."""

import base64
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

from byoc_vision.local.store import ACCOUNT, REGION, ServiceError
from byoc_vision.service import xml
from byoc_vision.service.message import Call, Reply
from byoc_vision.service.s3_content import ONLY_VERSION, Content, asked, time, xml_reply
from byoc_vision.service.uploads import etag

#: The most objects that one request deletes.
_DELETED = 1000

_OWNER: dict[str, Any] = {"Owner": {"ID": ACCOUNT}}


def list_buckets(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListBuckets."""
    query, limit = call.query, asked(call.query, "max-buckets", 10_000)
    prefix, here = query.get("prefix", ""), query.get("bucket-region", REGION) == REGION
    after = _place(query["continuation-token"]) if "continuation-token" in query else ""
    found = [each for each in content.objects.buckets() if here and each.name.startswith(prefix) and each.name > after]
    buckets = [
        {"Name": bucket.name, "CreationDate": time(bucket.stat()), "BucketRegion": REGION} for bucket in found[:limit]
    ]
    result = _OWNER | {"Buckets": {"Bucket": buckets}, "Prefix": prefix or None}
    if len(found) > limit > 0:
        result["ContinuationToken"] = _token(buckets[-1]["Name"])
    return xml_reply("ListAllMyBucketsResult", result)


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
    if second:
        after = _place(query["continuation-token"]) if "continuation-token" in query else query.get("start-after", "")
    else:
        after = query.get("marker", "")
    page = _Page(content, call, bucket, after)
    result = page.told
    if second:
        result |= {"KeyCount": len(page.entries), "ContinuationToken": query.get("continuation-token")}
        result["StartAfter"] = page.shown(query["start-after"]) if query.get("start-after") else None
        result["NextContinuationToken"] = _token(page.entries[-1].key) if page.truncated else None
    else:
        result["Marker"] = page.shown(after)
        more = page.truncated and "delimiter" in query
        result["NextMarker"] = page.shown(page.entries[-1].key) if more else None
    owner = _OWNER if not second or query.get("fetch-owner") == "true" else {}
    result["Contents"] = [each | owner for each in page.objects()]
    return xml_reply("ListBucketResult", result)


def list_versions(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListObjectVersions: each object has one, as in a bucket that keeps none."""
    page = _Page(content, call, bucket, call.query.get("key-marker", ""))
    result = page.told | {"KeyMarker": page.shown(page.after), "VersionIdMarker": ""}
    if page.truncated:
        result |= {"NextKeyMarker": page.shown(page.entries[-1].key), "NextVersionIdMarker": ONLY_VERSION}
    result["Version"] = [each | _OWNER | {"VersionId": ONLY_VERSION, "IsLatest": True} for each in page.objects()]
    return xml_reply("ListVersionsResult", result)


def tell_versioning(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """GetBucketVersioning: it was never switched on."""
    return xml_reply("VersioningConfiguration", "")


class _Page:
    """What of a bucket's listing a request asks for. `told` are the fields that all listings have."""

    def __init__(self, content: Content, call: Call, bucket: str, after: str) -> None:
        query = call.query
        self.after, self._quoted = after, query.get("encoding-type") == "url"
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        limit = asked(query, "max-keys")
        entries = list(islice(content.objects.list(bucket, prefix, after, delimiter), limit + 1))
        self.truncated, self.entries = len(entries) > limit > 0, entries[:limit]
        self.told: dict[str, Any] = {
            "Name": bucket,
            "Prefix": self.shown(prefix),
            "Delimiter": self.shown(delimiter) if delimiter else None,
            "MaxKeys": limit,
            "EncodingType": query.get("encoding-type"),
            "IsTruncated": self.truncated,
            "CommonPrefixes": [{"Prefix": self.shown(entry.key)} for entry in self.entries if not entry.stat],
        }

    def shown(self, text: str) -> str:
        """Return the text as the request wants keys to be written."""
        return quote(text, safe="/", errors="surrogateescape") if self._quoted else text

    def objects(self) -> Iterator[dict[str, Any]]:
        """Yield what is told of each object."""
        for entry in self.entries:
            if entry.stat:
                yield {
                    "Key": self.shown(entry.key),
                    "LastModified": time(entry.stat),
                    "ETag": etag(entry.stat),
                    "Size": 0 if entry.key.endswith("/") else entry.stat.st_size,
                    "StorageClass": "STANDARD",
                }


def delete_objects(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """DeleteObjects."""
    root = xml.parse(call.whole())
    deleted, errors, nodes = [], [], root.findall("Object")
    if len(nodes) > _DELETED:
        raise ServiceError("MalformedXML", f"A request deletes {_DELETED} objects at most; send several.")
    for node in nodes:
        name, version = node.findtext("Key") or "", node.findtext("VersionId") or ONLY_VERSION
        try:
            if version != ONLY_VERSION:
                raise ServiceError("NoSuchVersion", "S3 on this machine has no versions of objects.")
            if node.find("Size") is not None or node.find("LastModifiedTime") is not None:
                raise ServiceError("NotImplemented", "S3 on this machine deletes on the condition of an ETag only.")
            wanted = node.findtext("ETag")
            content.delete(bucket, name, {"if-match": wanted} if wanted else {})
            deleted.append({"Key": name})
        except ServiceError as error:
            errors.append({"Key": name, "Code": error.code, "Message": str(error)})
    if root.findtext("Quiet") == "true":
        deleted = []
    return xml_reply("DeleteResult", {"Deleted": deleted, "Error": errors})


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode(errors="surrogateescape")).decode()


def _place(token: str) -> str:
    try:
        return base64.b64decode(token, b"-_", validate=True).decode(errors="surrogateescape")
    except ValueError:
        raise ServiceError("InvalidArgument", "The continuation token is none that a listing gave.") from None


OPERATIONS = {
    ("GET", "all", ""): list_buckets,
    ("PUT", "bucket", ""): create_bucket,
    ("HEAD", "bucket", ""): head_bucket,
    ("GET", "bucket", "location"): locate_bucket,
    ("DELETE", "bucket", ""): delete_bucket,
    ("GET", "bucket", ""): list_objects,
    ("GET", "bucket", "versions"): list_versions,
    ("GET", "bucket", "versioning"): tell_versioning,
    ("POST", "bucket", "delete"): delete_objects,
}
