"""S3 on this machine: multipart uploads, coded bodies, a full disk."""

import io
import os
import resource
from typing import Any

from tests.cloud.service.conftest import BUCKET, Service, keys, refused


def test_a_large_object_comes_in_parts_and_is_copied(s3: Any, service: Service) -> None:
    content = os.urandom(11 << 20)
    s3.upload_fileobj(io.BytesIO(content), BUCKET, "a/large", ExtraArgs={"Metadata": {"name": "value"}})
    s3.copy({"Bucket": BUCKET, "Key": "a/large"}, BUCKET, "b")
    for key in ("a/large", "b"):
        target = io.BytesIO()
        s3.download_fileobj(BUCKET, key, target)
        assert target.getvalue() == content
        assert s3.head_object(Bucket=BUCKET, Key=key)["Metadata"] == {"name": "value"}
    assert list((service.store.root / "s3" / ".uploads").iterdir()) == []


def test_a_multipart_upload_step_by_step(s3: Any, service: Service) -> None:
    upload = {"Bucket": BUCKET, "Key": "a", "UploadId": s3.create_multipart_upload(Bucket=BUCKET, Key="a")["UploadId"]}
    parts = []
    for number, body in ((1, b"1" * (5 << 20)), (2, b"small"), (3, b"2")):
        version = s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": version})
    assert [part["Size"] for part in s3.list_parts(**upload)["Parts"]] == [5 << 20, 5, 1]
    assert [each["Key"] for each in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == ["a"]
    for wanted, code in (
        (parts, "EntityTooSmall"),
        ([parts[2], parts[0]], "InvalidPartOrder"),
        ([parts[0], {"PartNumber": 2, "ETag": "other"}], "InvalidPart"),
        ([{"PartNumber": 9, "ETag": "none"}], "InvalidPart"),
    ):
        with refused(code):
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": wanted})
    with refused("InvalidArgument"):
        s3.upload_part(**upload, PartNumber=10_001, Body=b"x")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [parts[0], parts[2]]})
    assert s3.head_object(Bucket=BUCKET, Key="a")["ContentLength"] == (5 << 20) + 1
    for call in (s3.list_parts, s3.abort_multipart_upload, s3.complete_multipart_upload):
        with refused("NoSuchUpload"):
            call(**upload)
    with refused("NoSuchUpload"):
        s3.list_parts(Bucket=BUCKET, Key="a", UploadId="../../..")


def test_an_aborted_upload_leaves_nothing(s3: Any, service: Service) -> None:
    upload = {"Bucket": BUCKET, "Key": "a", "UploadId": s3.create_multipart_upload(Bucket=BUCKET, Key="a")["UploadId"]}
    s3.upload_part(**upload, PartNumber=1, Body=b"x" * 1000)
    (part,) = (service.store.root / "s3" / ".uploads").glob("*/00001")
    os.truncate(part, 5 << 30)  # as if as much had come
    s3.abort_multipart_upload(**upload)
    assert keys(s3) == []
    assert list((service.store.root / "s3" / ".uploads").iterdir()) == []


def test_a_full_disk_is_said_and_loses_nothing(s3: Any, service: Service) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"old")
    upload = {"Bucket": BUCKET, "Key": "a", "UploadId": s3.create_multipart_upload(Bucket=BUCKET, Key="a")["UploadId"]}
    least, half = b"1" * (5 << 20), b"2" * (1 << 19)
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in ((1, least), (2, half))
    ]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room, call in (
        # In both there is room for all but a part of what is written last.
        (len(half) - 1000, lambda: s3.put_object(Bucket=BUCKET, Key="a", Body=half)),
        (len(half) - 1000, lambda: s3.upload_part(**upload, PartNumber=2, Body=half)),
        (len(least) + 1000, lambda: s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with refused("EntityTooLarge", "disk is full"):
                call()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"old"
    assert not list((service.store.root / "s3" / ".uploads").glob("put-*"))
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})  # once there is room
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == least + half


def test_bodies_in_signed_chunks(s3: Any, service: Service) -> None:
    coded = b"4;chunk-signature=0\r\nabcd\r\n3;chunk-signature=0\r\nefg\r\n0;\r\nx-amz-checksum-crc32:x\r\n\r\n"
    headers = {"x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "content_encoding": "aws-chunked"}
    status, _ = service.ask("PUT", f"/{BUCKET}/a", coded, x_amz_decoded_content_length="7", **headers)
    assert status == 200
    found = s3.get_object(Bucket=BUCKET, Key="a")
    assert (found["Body"].read(), found.get("ContentEncoding")) == (b"abcdefg", None)
    for broken in (coded.replace(b"4;", b"x;"), coded[:20], b"fffffffff;\r\nabc"):
        status, body = service.ask("PUT", f"/{BUCKET}/a", broken, x_amz_decoded_content_length="7", **headers)
        assert (status, b"<Error>" in body) == (400, True)
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"abcdefg"
