"""S3's operations on multipart uploads."""

import re
from functools import partial
from typing import Any
from urllib.parse import quote

from byoc_vision.local.store import ServiceError
from byoc_vision.service import xml
from byoc_vision.service.message import Call, Reply
from byoc_vision.service.parts import PARTS
from byoc_vision.service.s3_content import Content, asked, kept, time, xml_reply
from byoc_vision.service.uploads import copy, receive


def create_upload(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """CreateMultipartUpload."""
    content.objects.path(bucket, key)
    upload = content.multipart.begin(bucket, key, kept(call.headers))
    return xml_reply("InitiateMultipartUploadResult", {"Bucket": bucket, "Key": key, "UploadId": upload})


def upload_part(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """UploadPart."""
    upload, number = call.query["uploadId"], call.query.get("partNumber", "")
    content.multipart.headers(upload, bucket, key)
    version = content.multipart.keep(upload, number, call.length, partial(receive, call))
    return Reply(headers={"ETag": version})


def copy_part(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """UploadPartCopy."""
    with content.source(call) as (source, stat, _):
        begin, end = _range(call, stat.st_size)
        upload, number = call.query["uploadId"], call.query.get("partNumber", "")
        content.multipart.headers(upload, bucket, key)
        version = content.multipart.keep(upload, number, end - begin, partial(copy, source, begin, end))
    return xml_reply("CopyPartResult", {"ETag": version, "LastModified": time(stat)})


def _range(call: Call, size: int) -> tuple[int, int]:
    """Return the begin and end of what is copied; S3 takes no less than what is asked for."""
    if (text := call.headers.get("x-amz-copy-source-range")) is None:
        return 0, size
    match = re.fullmatch(r"bytes=(\d{1,18})-(\d{1,18})", text)
    if not match or not int(match[1]) <= int(match[2]) < size:
        reason = f"x-amz-copy-source-range is not of the form bytes=FIRST-LAST, within the {size} bytes of the source."
        raise ServiceError("InvalidArgument", reason)
    return int(match[1]), int(match[2]) + 1


def complete_upload(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """CompleteMultipartUpload."""
    upload = call.query["uploadId"]
    headers = content.multipart.headers(upload, bucket, key)
    content.check_target(call.headers, bucket, key)
    try:
        parts = [
            (int(part.findtext("PartNumber") or ""), part.findtext("ETag") or "")
            for part in xml.parse(call.whole()).findall("Part")
        ]
    except ValueError:
        raise ServiceError("MalformedXML", "A part has no number.") from None
    with content.multipart.completed(upload, parts) as file:
        if call.headers.get("x-amz-mp-object-size", size := str(file.stat().st_size)) != size:
            raise ServiceError("InvalidRequest", f"The parts have {size} bytes, and not x-amz-mp-object-size.")
        version = content.put(file, bucket, key, headers, call.headers)
    result = {"Location": f"/{bucket}/{quote(key)}", "Bucket": bucket, "Key": key, "ETag": version}
    return xml_reply("CompleteMultipartUploadResult", result)


def abort_upload(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """AbortMultipartUpload."""
    content.multipart.abort(call.query["uploadId"], bucket, key)
    return Reply(204)


def list_uploads(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListMultipartUploads."""
    query = call.query
    if query.get("delimiter"):
        raise ServiceError("NotImplemented", "S3 on this machine has no delimiter for uploads; leave it out.")
    limit = asked(query, "max-uploads")
    last = query.get("key-marker", ""), query.get("upload-id-marker", "\U0010ffff")
    begun = sorted((upload["Key"], upload["UploadId"], upload["Initiated"]) for upload in content.multipart.all(bucket))
    begun = [each for each in begun if each[0].startswith(query.get("prefix", "")) and each[:2] > last]
    uploads = [{"Key": name, "UploadId": upload, "Initiated": at} for name, upload, at in begun[:limit]]
    result: dict[str, Any] = {"Bucket": bucket, "IsTruncated": len(begun) > limit > 0, "Upload": uploads}
    if result["IsTruncated"]:
        result |= {"NextKeyMarker": begun[limit - 1][0], "NextUploadIdMarker": begun[limit - 1][1]}
    return xml_reply("ListMultipartUploadsResult", result)


def list_parts(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListParts."""
    upload, limit = call.query["uploadId"], asked(call.query, "max-parts")
    content.multipart.headers(upload, bucket, key)
    after = asked(call.query, "part-number-marker", PARTS) if "part-number-marker" in call.query else 0
    there = [part for part in content.multipart.parts(upload) if part.number > after]
    parts = [
        {
            "PartNumber": part.number,
            "LastModified": time(part.file.stat()),
            "ETag": part.version,
            "Size": part.size,
        }
        for part in there[:limit]
    ]
    result: dict[str, Any] = {"Bucket": bucket, "Key": key, "UploadId": upload, "Part": parts}
    result["IsTruncated"] = len(there) > limit > 0
    if result["IsTruncated"]:
        result["NextPartNumberMarker"] = there[limit - 1].number
    return xml_reply("ListPartsResult", result)


OPERATIONS = {
    ("POST", "object", "uploads"): create_upload,
    ("PUT", "object", "uploadId"): upload_part,
    ("PUT", "object", "copy uploadId"): copy_part,
    ("POST", "object", "uploadId"): complete_upload,
    ("DELETE", "object", "uploadId"): abort_upload,
    ("GET", "object", "uploadId"): list_parts,
    ("GET", "bucket", "uploads"): list_uploads,
}
