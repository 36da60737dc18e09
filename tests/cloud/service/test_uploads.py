"""S3 on this machine: multipart uploads, coded bodies, a full disk."""

import io
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.service.conftest import BUCKET, Service, keys, refused


@pytest.mark.parametrize("kernel", ["Linux", "macOS"])
def test_a_large_object_comes_in_parts_and_is_copied(
    s3: Any, service: Service, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    if kernel == "macOS":
        monkeypatch.delattr(os, "copy_file_range")
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


def test_an_upload_is_of_one_object(s3: Any) -> None:
    for key in ("a", "b/c"):
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    assert [each["Key"] for each in s3.list_multipart_uploads(Bucket=BUCKET, Prefix="b")["Uploads"]] == ["b/c"]
    other = {"Bucket": BUCKET, "Key": "a", "UploadId": upload}
    version = s3.upload_part(**other | {"Key": "b/c"}, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": version}]}
    for call in (
        lambda: s3.upload_part(**other, PartNumber=1, Body=b"x"),
        lambda: s3.list_parts(**other),
        lambda: s3.complete_multipart_upload(**other, MultipartUpload=parts),
    ):
        with refused("NoSuchUpload"):
            call()
    assert keys(s3) == []


def test_uploads_and_parts_are_listed_as_asked_for(s3: Any) -> None:
    uploads = {
        key: s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"] for key in ("b/2", "a", "b/1", "b/3")
    }
    paginator = s3.get_paginator("list_multipart_uploads")
    pages = [page.get("Uploads", []) for page in paginator.paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 3})]
    assert [[each["Key"] for each in page] for page in pages] == [["a", "b/1", "b/2"], ["b/3"]]
    found = s3.list_multipart_uploads(Bucket=BUCKET, Prefix="b/", KeyMarker="b/1")["Uploads"]
    assert [each["Key"] for each in found] == ["b/2", "b/3"]
    with refused("NotImplemented", "delimiter"):
        s3.list_multipart_uploads(Bucket=BUCKET, Delimiter="/")
    upload = {"Bucket": BUCKET, "Key": "a", "UploadId": uploads["a"]}
    for number in (1, 2, 3):
        s3.upload_part(**upload, PartNumber=number, Body=b"x" * number)
    pages = s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2})
    assert [[part["PartNumber"] for part in page["Parts"]] for page in pages] == [[1, 2], [3]]
    assert [part["PartNumber"] for part in s3.list_parts(**upload, PartNumberMarker=1)["Parts"]] == [2, 3]


def test_what_an_upload_is_asked_is_what_is_done(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="source", Body=b"0123456789")
    upload = {"Bucket": BUCKET, "Key": "a"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    for asked in ("bytes=0-10", "bytes=20-30", "bytes=-3", "bytes=5-", "bytes=5-4", "0-3"):
        with refused("InvalidArgument", "x-amz-copy-source-range"):
            s3.upload_part_copy(**upload, PartNumber=1, CopySource=f"{BUCKET}/source", CopySourceRange=asked)
    copied = {"PartNumber": 1, "CopySource": f"{BUCKET}/source", "CopySourceRange": "bytes=2-9"}
    part = {"PartNumber": 1, "ETag": s3.upload_part_copy(**upload, **copied)["CopyPartResult"]["ETag"]}
    with refused("NoSuchUpload"):
        s3.abort_multipart_upload(**upload | {"Key": "b"})
    with refused("InvalidRequest", "8 bytes"):
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]}, MpuObjectSize=9)
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]}, MpuObjectSize=8)
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"23456789"


def test_an_aborted_upload_leaves_nothing(s3: Any, service: Service) -> None:
    upload = {"Bucket": BUCKET, "Key": "a", "UploadId": s3.create_multipart_upload(Bucket=BUCKET, Key="a")["UploadId"]}
    s3.upload_part(**upload, PartNumber=1, Body=b"x" * 1000)
    (data,) = (service.store.root / "s3" / ".uploads").glob("*/data")
    os.truncate(data, 5 << 30)  # as if as much had come
    s3.abort_multipart_upload(**upload)
    assert keys(s3) == []
    assert list((service.store.root / "s3" / ".uploads").iterdir()) == []


def test_a_full_disk_is_said_and_loses_nothing(s3: Any, service: Service) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"old")
    upload = {"Bucket": BUCKET, "Key": "a", "UploadId": s3.create_multipart_upload(Bucket=BUCKET, Key="a")["UploadId"]}
    least, half = b"1" * (5 << 20), b"2" * (1 << 19)
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in ((1, least), (2, least), (2, half))  # the last has no place in the whole, and is copied
    ][::2]
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
    for sum_, code in ((b"MSpqpg==", 200), (b"AAAAAA==", 400)):
        checked = coded.replace(b"crc32:x", b"crc32:" + sum_)
        status, _ = service.ask("PUT", f"/{BUCKET}/a", checked, x_amz_trailer="x-amz-checksum-crc32", **headers)
        assert status == code
    found = s3.get_object(Bucket=BUCKET, Key="a")
    assert (found["Body"].read(), found.get("ContentEncoding")) == (b"abcdefg", None)
    for broken in (coded.replace(b"4;", b"x;"), coded[:20], b"fffffffff;\r\nabc"):
        status, body = service.ask("PUT", f"/{BUCKET}/a", broken, x_amz_decoded_content_length="7", **headers)
        assert (status, b"<Error>" in body) == (400, True)
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"abcdefg"


class Upload:
    """A multipart upload to the key "a"."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self._upload = {"Bucket": BUCKET, "Key": "a"}
        self._upload["UploadId"] = s3.create_multipart_upload(**self._upload)["UploadId"]
        self.versions: dict[int, str] = {}

    def send(self, number: int, body: bytes, **options: Any) -> None:
        """Send a part."""
        self.versions[number] = self._s3.upload_part(**self._upload, PartNumber=number, Body=body, **options)["ETag"]

    def complete(self, *numbers: int) -> bytes:
        """End the upload with the parts; return the object."""
        parts = [{"PartNumber": number, "ETag": self.versions[number]} for number in numbers]
        self._s3.complete_multipart_upload(**self._upload, MultipartUpload={"Parts": parts})
        return bytes(self._s3.get_object(Bucket=BUCKET, Key="a")["Body"].read())


FIVE = 5 << 20


def test_parts_are_written_where_they_will_be(s3: Any, service: Service) -> None:
    upload, bodies = Upload(s3), {1: b"1" * FIVE, 2: b"2" * FIVE, 3: b"3" * 7}
    for number in (2, 1, 3):
        upload.send(number, bodies[number])
    (data,) = (service.store.root / "s3" / ".uploads").glob("*/data")
    inode = data.stat().st_ino
    assert upload.complete(1, 2, 3) == b"".join(bodies.values())
    assert (service.store.root / "s3" / BUCKET / "a").stat().st_ino == inode
    assert (service.store.root / "s3" / BUCKET / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ([(3, 7), (1, FIVE), (2, FIVE)], [1, 2, 3]),  # the shortest first
        ([(1, FIVE), (2, FIVE), (2, FIVE + 1), (3, 9)], [1, 2, 3]),  # one again
        ([(1, FIVE), (2, FIVE), (3, FIVE), (4, 9)], [1, 2, 3]),
        ([(1, FIVE), (2, FIVE), (3, FIVE), (4, 9)], [1, 4]),
        ([(2, FIVE), (5, FIVE), (9, 1)], [2, 5, 9]),
        ([(1, FIVE + 3), (2, FIVE), (3, FIVE + 3)], [1, 2, 3]),
        ([(1, 0)], [1]),
        ([(1, FIVE), (2, 0)], [1, 2]),
    ],
)
def test_parts_of_any_length_and_order_become_the_whole(
    s3: Any, sent: list[tuple[int, int]], wanted: list[int]
) -> None:
    upload, bodies = Upload(s3), {}
    for turn, (number, size) in enumerate(sent):
        bodies[number] = bytes([turn + 65]) * size
        upload.send(number, bodies[number])
    assert upload.complete(*wanted) == b"".join(bodies[number] for number in wanted)


def test_a_part_that_is_longer_than_it_says_leaves_the_others_alone(s3: Any, service: Service) -> None:
    upload = Upload(s3)
    upload.send(1, b"1" * FIVE)
    upload.send(3, b"3" * FIVE)
    path = f"/{BUCKET}/a?partNumber=2&uploadId={upload._upload['UploadId']}"
    chunk = b"x" * (2 * FIVE)
    long = b"%x\r\n%b\r\n0\r\n\r\n" % (len(chunk), chunk)
    for headers in (
        {"content_encoding": "aws-chunked", "x_amz_decoded_content_length": str(FIVE)},
        {"transfer_encoding": "chunked", "content_length": str(FIVE)},
    ):
        status, body = service.ask("PUT", path, long, **headers)
        assert (status, b"IncompleteBody" in body) == (400, True)
    upload.send(2, b"2" * FIVE)
    assert upload.complete(1, 2, 3) == b"".join(str(number).encode() * FIVE for number in (1, 2, 3))


def test_parts_may_be_far_from_each_other(s3: Any) -> None:
    upload = Upload(s3)
    for number in (10_000, 1):
        upload.send(number, str(number)[:1].encode() * FIVE)
    assert upload.complete(1, 10_000) == b"1" * 2 * FIVE


def test_a_part_that_failed_may_come_again_also_after_a_new_start(s3: Any, service: Service) -> None:
    upload = Upload(s3)
    upload.send(1, b"1" * FIVE)
    with refused("BadDigest"):
        upload.send(2, b"x" * FIVE, ContentMD5="AAAA")
    upload.send(3, b"3" * FIVE)
    upload.send(2, b"2" * FIVE)
    again = Service(service.store.root)
    try:
        upload.send(4, b"4" * FIVE)
        upload._s3 = again.client("s3")
        upload.send(5, b"5")
        with refused("InvalidArgument", "cannot both exist"):
            upload._s3.put_object(Bucket=BUCKET, Key="a/b", Body=b"x")
            upload.complete(1, 2, 3)
        upload._s3.delete_object(Bucket=BUCKET, Key="a/b")
        whole = b"".join(str(number).encode() * FIVE for number in range(1, 5)) + b"5"
        assert upload.complete(1, 2, 3, 4, 5) == whole
    finally:
        again.close()
    assert list((service.store.root / "s3" / ".uploads").iterdir()) == []


def test_one_upload_is_completed_once_of_many_times_at_once(s3: Any, service: Service) -> None:
    upload = Upload(s3)
    for number in (1, 2):
        upload.send(number, b"x" * FIVE)

    def complete(_: int) -> str:
        try:
            upload.complete(1, 2)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(complete, range(8))) == {"", "NoSuchUpload"}
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"x" * 2 * FIVE


def test_what_is_damaged_beside_the_buckets_does_no_harm(s3: Any, service: Service) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"x", Metadata={"name": "value"})
    upload = {"Bucket": BUCKET, "Key": "b", "UploadId": s3.create_multipart_upload(Bucket=BUCKET, Key="b")["UploadId"]}
    for note in (*(service.store.root / "s3").glob(".headers/*/*"), *(service.store.root / "s3").glob(".uploads/*/*")):
        note.write_text("{")
    (service.store.root / "s3" / "file").touch()
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"x"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)
    with refused("NoSuchUpload"):
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": "a"}]})
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [BUCKET]
    s3.abort_multipart_upload(**upload)
