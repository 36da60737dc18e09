"""S3's operations on multipart uploads."""

from urllib.parse import quote

from byoc_vision.local.store import ServiceError
from byoc_vision.service import xml
from byoc_vision.service.message import CHUNK, Call, Reply
from byoc_vision.service.s3_content import Content, kept, span, time, xml_reply
from byoc_vision.service.s3_objects import check_absent, source_of
from byoc_vision.service.uploads import etag


def create_upload(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """CreateMultipartUpload."""
    content.objects.path(bucket, key)
    upload = content.uploads.begin(bucket, key, kept(call.headers))
    return xml_reply("InitiateMultipartUploadResult", {"Bucket": bucket, "Key": key, "UploadId": upload})


def upload_part(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """UploadPart."""
    upload = call.query["uploadId"]
    content.uploads.folder(upload)
    with content.uploads.received(call) as file:
        return Reply(headers={"ETag": content.uploads.keep_part(upload, call.query.get("partNumber", ""), file)})


def copy_part(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """UploadPartCopy."""
    source = content.objects.existing(*source_of(call))
    size = source.stat().st_size
    begin, end = span(call.headers.get("x-amz-copy-source-range", ""), size) or (0, size)
    with content.uploads.new_file() as (file, path), source.open("rb") as original:
        original.seek(begin)
        while begin < end and (part := original.read(min(CHUNK, end - begin))):
            begin += file.write(part)
        version = content.uploads.keep_part(call.query["uploadId"], call.query.get("partNumber", ""), path)
    return xml_reply("CopyPartResult", {"ETag": version, "LastModified": time(source.stat())})


def complete_upload(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """CompleteMultipartUpload."""
    upload = call.query["uploadId"]
    headers = content.uploads.headers(upload)
    check_absent(content, call, bucket, key)
    try:
        parts = [
            (int(part.findtext("PartNumber") or ""), part.findtext("ETag") or "")
            for part in xml.parse(call.whole()).findall("Part")
        ]
    except ValueError:
        raise ServiceError("MalformedXML", "A part has no number.") from None
    with content.uploads.completed(upload, parts) as file:
        version = content.put(file, bucket, key, headers)
    result = {"Location": f"/{bucket}/{quote(key)}", "Bucket": bucket, "Key": key, "ETag": version}
    return xml_reply("CompleteMultipartUploadResult", result)


def abort_upload(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """AbortMultipartUpload."""
    content.uploads.abort(call.query["uploadId"])
    return Reply(204)


def list_uploads(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListMultipartUploads."""
    found = [{field: each[field] for field in ("Key", "UploadId", "Initiated")} for each in content.uploads.all(bucket)]
    return xml_reply("ListMultipartUploadsResult", {"Bucket": bucket, "IsTruncated": False, "Upload": found})


def list_parts(content: Content, call: Call, bucket: str, key: str) -> Reply:
    """ListParts."""
    upload = call.query["uploadId"]
    found = [
        {
            "PartNumber": int(part.name),
            "LastModified": time(part.stat()),
            "ETag": etag(part.stat()),
            "Size": part.stat().st_size,
        }
        for part in content.uploads.parts(upload)
    ]
    result = {"Bucket": bucket, "Key": key, "UploadId": upload, "IsTruncated": False, "Part": found}
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
