"""S3's operations on multipart uploads."""

from functools import partial
from urllib.parse import quote

from byoc_vision.local.store import ServiceError
from byoc_vision.service import xml
from byoc_vision.service.message import Call, Reply
from byoc_vision.service.s3_content import Content, kept, span, time, xml_reply
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
        begin, end = span(call.headers.get("x-amz-copy-source-range", ""), stat.st_size) or (0, stat.st_size)
        upload, number = call.query["uploadId"], call.query.get("partNumber", "")
        content.multipart.headers(upload, bucket, key)
        version = content.multipart.keep(upload, number, end - begin, partial(copy, source, begin, end))
    return xml_reply("CopyPartResult", {"ETag": version, "LastModified": time(stat)})


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
        version = content.put(file, bucket, key, headers, call.headers)
    result = {"Location": f"/{bucket}/{quote(key)}", "Bucket": bucket, "Key": key, "ETag": version}
    return xml_reply("CompleteMultipartUploadResult", result)


def abort_upload(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """AbortMultipartUpload."""
    content.multipart.abort(call.query["uploadId"])
    return Reply(204)


def list_uploads(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListMultipartUploads."""
    uploads = [
        {field: upload[field] for field in ("Key", "UploadId", "Initiated")}
        for upload in content.multipart.all(bucket)
        if upload["Key"].startswith(call.query.get("prefix", ""))
    ]
    return xml_reply("ListMultipartUploadsResult", {"Bucket": bucket, "IsTruncated": False, "Upload": uploads})


def list_parts(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListParts."""
    upload = call.query["uploadId"]
    content.multipart.headers(upload, bucket, key)
    parts = [
        {
            "PartNumber": part.number,
            "LastModified": time(part.file.stat()),
            "ETag": part.version,
            "Size": part.size,
        }
        for part in content.multipart.parts(upload)
    ]
    result = {"Bucket": bucket, "Key": key, "UploadId": upload, "IsTruncated": False, "Part": parts}
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
