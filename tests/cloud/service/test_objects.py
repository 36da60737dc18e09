"""S3 on this machine: objects, one by one, as boto3 and hostile clients ask for them."""

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from byoc_vision.local.files import locate
from tests.cloud.service.conftest import BUCKET, SIGNED, Service, keys, refused


@pytest.mark.parametrize(
    "key", ["a", "a/b/c.jpg", "a b", "ü/漢字.jpg", "a%2Fb", "p+q&r=s?#t", "'\"<>&", ".a", "a..b", "~"]
)
def test_an_object_comes_back_as_it_was(s3: Any, service: Service, key: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"content", ContentType="image/jpeg", Metadata={"name": "value"})
    found = s3.get_object(Bucket=BUCKET, Key=key)
    assert found["Body"].read() == b"content"
    assert (found["ContentType"], found["Metadata"]) == ("image/jpeg", {"name": "value"})
    head = s3.head_object(Bucket=BUCKET, Key=key)
    assert (head["ContentLength"], head["ETag"]) == (7, found["ETag"])
    assert keys(s3) == [key]
    assert (service.store.root / "s3" / BUCKET / key).read_bytes() == b"content"
    s3.delete_object(Bucket=BUCKET, Key=key)
    s3.delete_object(Bucket=BUCKET, Key=key)  # what is gone is gone
    assert keys(s3) == []
    assert list((service.store.root / "s3" / BUCKET).iterdir()) == []


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("../evil", "InvalidArgument"),
        ("a/../../../evil", "InvalidArgument"),
        ("..", "InvalidArgument"),
        ("a/./b", "InvalidArgument"),
        ("a//b", "InvalidArgument"),
        ("/a", "InvalidArgument"),
        ("a" * 256, "InvalidArgument"),
        ("a/" * 600, "KeyTooLongError"),
    ],
)
def test_a_key_that_cannot_be_a_file_is_refused(s3: Any, service: Service, key: str, code: str) -> None:
    for call in (
        lambda: s3.put_object(Bucket=BUCKET, Key=key, Body=b"x"),
        lambda: s3.get_object(Bucket=BUCKET, Key=key),
        lambda: s3.create_multipart_upload(Bucket=BUCKET, Key=key),
    ):
        with refused(code):
            call()
    assert keys(s3) == []
    assert keys(s3, Prefix=key[:900]) == []
    assert not list(service.store.root.parent.rglob("evil"))


@pytest.mark.parametrize(
    "path", ["/pictures/%2e%2e/%2e%2e/evil", "/pictures/../evil", "/../../evil", "/pictures/a%00b", "/%ff"]
)
def test_a_path_written_by_hand_leads_nowhere_else(s3: Any, service: Service, path: str) -> None:
    status, body = service.ask("PUT", path, b"x")
    assert 400 <= status < 500
    assert b"<Code>" in body
    assert not list(service.store.root.parent.rglob("evil"))


def test_a_slash_may_be_quoted(s3: Any, service: Service) -> None:
    assert service.ask("PUT", f"/{BUCKET}/a%2Fb", b"x")[0] == 200
    assert keys(s3) == ["a/b"]


def test_a_file_and_a_folder_of_one_name_are_refused(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a/b", Body=b"x")
    for key in ("a", "a/b/c", "a/b/c/d", "a/b/"):
        with refused("InvalidArgument", "cannot both exist"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    assert keys(s3) == ["a/b"]


def test_a_link_that_a_container_left_leads_nowhere(s3: Any, service: Service) -> None:
    (service.store.root / "secret").write_text("secret")
    (service.store.root / "s3" / BUCKET / "link").symlink_to(service.store.root / "secret")
    (service.store.root / "s3" / BUCKET / "folder").symlink_to(service.store.root)
    os.mkfifo(service.store.root / "s3" / BUCKET / "pipe")
    for key in ("link", "folder/secret", "pipe"):
        with refused("NoSuchKey"):
            s3.get_object(Bucket=BUCKET, Key=key)
    assert keys(s3) == []


def test_a_folder_is_an_empty_object(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a/b/")
    assert keys(s3) == ["a/b/"]
    assert s3.get_object(Bucket=BUCKET, Key="a/b/")["Body"].read() == b""
    s3.put_object(Bucket=BUCKET, Key="a/b/c", Body=b"x")
    assert keys(s3) == ["a/b/c"]
    s3.delete_object(Bucket=BUCKET, Key="a/b/c")
    assert keys(s3) == []


def test_parts_of_an_object(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"0123456789")
    for wanted, part in (("bytes=2-4", b"234"), ("bytes=8-", b"89"), ("bytes=-3", b"789"), ("bytes=5-99", b"56789")):
        assert s3.get_object(Bucket=BUCKET, Key="a", Range=wanted)["Body"].read() == part
    assert s3.get_object(Bucket=BUCKET, Key="a", Range="lines=1-2")["Body"].read() == b"0123456789"
    with refused("InvalidRange"):
        s3.get_object(Bucket=BUCKET, Key="a", Range="bytes=10-")
    assert s3.get_object(Bucket=BUCKET, Key="a", PartNumber=1)["ContentLength"] == 10
    with refused("InvalidPartNumber"):
        s3.get_object(Bucket=BUCKET, Key="a", PartNumber=2)


def test_conditions(s3: Any) -> None:
    version = s3.put_object(Bucket=BUCKET, Key="a", Body=b"old", IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed"):
        s3.put_object(Bucket=BUCKET, Key="a", Body=b"new", IfNoneMatch="*")
    assert s3.get_object(Bucket=BUCKET, Key="a", IfMatch=version)["Body"].read() == b"old"
    for same in (version, "*", f'"other", {version}'):
        with refused("304"):
            s3.get_object(Bucket=BUCKET, Key="a", IfNoneMatch=same)
    s3.get_object(Bucket=BUCKET, Key="a", IfMatch=version, IfUnmodifiedSince=datetime(2020, 1, 1, tzinfo=UTC))
    s3.get_object(Bucket=BUCKET, Key="a", IfNoneMatch="other", IfModifiedSince=datetime(2090, 1, 1, tzinfo=UTC))
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"newer")
    with refused("PreconditionFailed"):
        s3.get_object(Bucket=BUCKET, Key="a", IfMatch=version)


def test_conditions_of_writing_and_copying(s3: Any) -> None:
    version = s3.put_object(Bucket=BUCKET, Key="a", Body=b"old", Metadata={"name": "value"})["ETag"]
    for key, wanted, code in (("a", '"other"', "PreconditionFailed"), ("none", version, "NoSuchKey")):
        for call in (s3.put_object, s3.delete_object):
            with refused(code):
                call(Bucket=BUCKET, Key=key, IfMatch=wanted)
    newer = s3.put_object(Bucket=BUCKET, Key="a", Body=b"new", IfMatch=version)["ETag"]
    source = {"Bucket": BUCKET, "Key": "b", "CopySource": f"{BUCKET}/a"}
    for wrong in ({"CopySourceIfMatch": version}, {"CopySourceIfNoneMatch": newer}):
        with refused("PreconditionFailed"):
            s3.copy_object(**source, **wrong)
    s3.copy_object(**source, CopySourceIfMatch=newer)
    with refused("NotImplemented", "no versions"):
        s3.copy_object(**source | {"CopySource": f"{BUCKET}/a?versionId=1"})
    s3.delete_object(Bucket=BUCKET, Key="a", IfMatch=newer)
    assert keys(s3) == ["b"]


def test_of_clients_that_make_an_object_at_once_one_does(s3: Any) -> None:
    def make(number: int) -> str:
        try:
            s3.put_object(Bucket=BUCKET, Key="lock", Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(24))) == ["", *["PreconditionFailed"] * 23]


def test_what_an_object_cannot_have_is_refused(s3: Any) -> None:
    for wanted in (
        {"Tagging": "a=b"},
        {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": datetime(2090, 1, 1, tzinfo=UTC)},
        {"WebsiteRedirectLocation": "/b"},
    ):
        for call in (s3.put_object, s3.create_multipart_upload):
            with refused("NotImplemented", "leave it out"):
                call(Bucket=BUCKET, Key="a", **wanted)
    for call in (s3.get_object, s3.delete_object):
        with refused("NotImplemented", "no versions"):
            call(Bucket=BUCKET, Key="a", VersionId="1")
    s3.put_object(Bucket=BUCKET, Key="a", ServerSideEncryption="AES256", ACL="private", StorageClass="STANDARD_IA")


def test_what_would_change_a_request_is_not_left_out(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"whole")
    with refused("NotImplemented", "x-amz-write-offset-bytes"):
        s3.put_object(Bucket=BUCKET, Key="a", Body=b"more", WriteOffsetBytes=5)
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"whole"
    source = {"CopySource": f"{BUCKET}/a", "Bucket": BUCKET, "Key": "b"}
    with refused("NotImplemented", "x-amz-tagging"):
        s3.copy_object(**source, TaggingDirective="REPLACE", Tagging="a=b")
    with refused("AccessDenied"):
        s3.copy_object(**source, ExpectedSourceBucketOwner="1" * 12)
    with refused("NotImplemented", "customer"):
        s3.get_object(Bucket=BUCKET, Key="a", SSECustomerAlgorithm="AES256", SSECustomerKey="0" * 32)
    with refused("InvalidArgument", "BUCKET/KEY"):
        s3.copy_object(**source | {"CopySource": BUCKET})
    with refused("NotImplemented", "versions"):
        s3.copy_object(**source | {"CopySource": f"{BUCKET}/a?versionId=other"})
    s3.copy_object(**source | {"CopySource": f"{BUCKET}/a?versionId=null"})
    assert s3.get_object(Bucket=BUCKET, Key="b")["Body"].read() == b"whole"


def test_a_folder_is_copied(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a/")
    s3.copy_object(Bucket=BUCKET, Key="b/", CopySource=f"{BUCKET}/a/")
    s3.copy_object(Bucket=BUCKET, Key="c", CopySource=f"{BUCKET}/a/")
    assert keys(s3) == ["a/", "b/", "c"]
    with refused("InvalidArgument", "holds no bytes"):
        s3.put_object(Bucket=BUCKET, Key="d/", Body=b"x")


def test_what_a_container_writes_is_an_object(s3: Any, service: Service) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"old", Metadata={"name": "value"})
    file = locate(service.store, f"s3://{BUCKET}/a")
    file.write_bytes(b"written")
    found = s3.get_object(Bucket=BUCKET, Key="a")
    assert found["Body"].read() == b"written"
    assert found["Metadata"] == {}  # of another version


def test_a_client_that_leaves_in_the_middle_leaves_the_old_object(s3: Any, service: Service) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"old")
    head = f"PUT /{BUCKET}/a HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {SIGNED.format(service='s3')}\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\nhalf".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"old"
    assert list((service.store.root / "s3" / ".uploads").iterdir()) == []


def test_clients_at_once_get_whole_objects(s3: Any, service: Service) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(8)]
    s3.put_object(Bucket=BUCKET, Key="a/b", Body=bodies[0])
    done = threading.Event()

    def write(number: int) -> None:
        client = service.client("s3")
        for _ in range(5):
            client.put_object(Bucket=BUCKET, Key="a/b", Body=bodies[number])
            client.put_object(Bucket=BUCKET, Key=f"c/{number}/d", Body=b"x")
            client.delete_object(Bucket=BUCKET, Key=f"c/{number}/d")  # with the folders that others put into

    with ThreadPoolExecutor(9) as pool:
        writers = [pool.submit(write, number) for number in range(8)]
        reader = pool.submit(lambda: [_read(service) for _ in iter(done.is_set, True)])
        for writer in writers:
            writer.result()
        done.set()
        assert set(reader.result()) <= set(bodies)
    assert keys(s3) == ["a/b"]


def _read(service: Service) -> bytes:
    return bytes(service.client("s3").get_object(Bucket=BUCKET, Key="a/b")["Body"].read())


def test_checksums_are_checked(s3: Any, service: Service) -> None:
    for header in ("content_md5", "x_amz_checksum_crc32", "x_amz_checksum_sha256"):
        status, body = service.ask("PUT", f"/{BUCKET}/a", b"content", **{header: "AAAA"})
        assert (status, b"BadDigest" in body) == (400, True)
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        s3.put_object(Bucket=BUCKET, Key="a", Body=b"content", ChecksumAlgorithm=algorithm)
