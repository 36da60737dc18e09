"""SageMaker on this machine, over HTTP: what boto3 and hostile clients are answered. No containers here."""

import http.client
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from byoc_vision.local import channels, containers, models, process, training, tuning
from byoc_vision.local.files import locate
from byoc_vision.local.store import ACCOUNT, Lock, ServiceError, Store, now
from byoc_vision.service import daemon, env
from byoc_vision.service.server import Server
from tests.cloud.conftest import ROOT

BUCKET = "pictures"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/local"

#: A header that says which service a request is for. No secret is checked.
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature="
    + "0" * 64
)


class Service:
    """A service that runs in this process, and clients of it."""

    def __init__(self, root: Path, host: str = "127.0.0.1", token: str | None = None) -> None:
        self.store = Store(root)
        self._server = Server(self.store, host, 0, token)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def access(self) -> dict[str, str]:
        """What a client is made with."""
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        return {"endpoint_url": f"http://127.0.0.1:{self.port}", **keys}

    def client(self, service: str, region: str = "us-east-1", **access: str) -> Any:
        """Return boto3's client of a service."""
        once = Config(retries={"total_max_attempts": 1})
        return boto3.client(service, region, config=once, **self.access | access)

    def ask(
        self, method: str, path: str, body: bytes = b"", service: str | None = "s3", **headers: str
    ) -> tuple[int, bytes]:
        """Send a request by hand; return the status and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        signed = {"Authorization": SIGNED.format(service=service)} if service else {}
        connection.request(method, path, body, signed | {k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path / "root")
    yield running
    running.close()


@pytest.fixture
def s3(service: Service) -> Any:
    """A client of S3; there is one empty bucket."""
    client = service.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def sagemaker(service: Service, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of SageMaker, at a machine whose jobs nobody sees through."""
    service.client("s3").create_bucket(Bucket=BUCKET)
    locks: list[Lock] = []
    monkeypatch.setattr(process, "start", lambda record, lock: locks.append(lock))
    monkeypatch.setattr(containers, "require", lambda image: None)
    yield service.client("sagemaker")
    for lock in locks:
        lock.release()


@contextmanager
def refused(code: str, match: str | None = None) -> Iterator[None]:
    with pytest.raises(ClientError, match=match) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == code


def keys(client: Any, **options: Any) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **options)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def training_request(name: str = "job", **fields: Any) -> dict[str, Any]:
    request = {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/results"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    return request | fields


# S3


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
    for key in ("link", "folder/secret"):
        with refused("NoSuchKey"):
            s3.get_object(Bucket=BUCKET, Key=key)
    assert keys(s3) == []


def test_listing_is_in_the_order_of_keys_in_pages_and_folded(s3: Any) -> None:
    names = ["a", "a-b/c", "a.b", "a/b/c", "a/b/d", "a/e", "b/f", "b0", "ä"]
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"x")
        if name == "a":
            s3.delete_object(Bucket=BUCKET, Key=name)
    names.remove("a")
    for size in (1, 2, 3, 1000):
        assert keys(s3, PaginationConfig={"PageSize": size}) == names
        pages = s3.get_paginator("list_objects").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": size})
        assert [entry["Key"] for page in pages for entry in page["Contents"]] == names
        paginator = s3.get_paginator("list_objects_v2")
        pages = list(paginator.paginate(Bucket=BUCKET, Delimiter="/", Prefix="a", PaginationConfig={"PageSize": size}))
        folded = [
            [entry["Key"] for page in pages for entry in page.get("Contents", [])],
            [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])],
        ]
        assert folded == [["a.b"], ["a-b/", "a/"]]
    assert keys(s3, Prefix="a/b") == ["a/b/c", "a/b/d"]
    assert keys(s3, Prefix="a/", StartAfter="a/b/c") == ["a/b/d", "a/e"]
    assert keys(s3, Prefix="nothing/") == []
    found = s3.list_objects_v2(Bucket=BUCKET, Delimiter="b")
    assert [entry["Prefix"] for entry in found["CommonPrefixes"]] == ["a-b", "a.b", "a/b", "b"]
    with refused("InvalidArgument"):
        s3.list_objects_v2(Bucket=BUCKET, MaxKeys=-1)


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


def test_conditions(s3: Any) -> None:
    version = s3.put_object(Bucket=BUCKET, Key="a", Body=b"old", IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed"):
        s3.put_object(Bucket=BUCKET, Key="a", Body=b"new", IfNoneMatch="*")
    assert s3.get_object(Bucket=BUCKET, Key="a", IfMatch=version)["Body"].read() == b"old"
    with refused("304"):
        s3.get_object(Bucket=BUCKET, Key="a", IfNoneMatch=version)
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"newer")
    with refused("PreconditionFailed"):
        s3.get_object(Bucket=BUCKET, Key="a", IfMatch=version)


def test_what_a_container_writes_is_an_object(s3: Any, service: Service) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"old", Metadata={"name": "value"})
    file = locate(service.store, f"s3://{BUCKET}/a")
    file.write_bytes(b"written")
    found = s3.get_object(Bucket=BUCKET, Key="a")
    assert found["Body"].read() == b"written"
    assert found["Metadata"] == {}  # of another version


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


def test_a_client_that_leaves_in_the_middle_leaves_the_old_object(s3: Any, service: Service) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"old")
    head = f"PUT /{BUCKET}/a HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {SIGNED.format(service='s3')}\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\nhalf".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"old"
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


def test_buckets(s3: Any, service: Service) -> None:
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == [BUCKET]
    s3.create_bucket(Bucket=BUCKET)  # one's own
    s3.head_bucket(Bucket=BUCKET)
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] is None
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    with refused("BucketNotEmpty"):
        s3.delete_bucket(Bucket=BUCKET)
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a"}, {"Key": "none"}]})
    s3.delete_bucket(Bucket=BUCKET)
    for call in (s3.list_objects_v2, s3.delete_bucket):
        with refused("NoSuchBucket"):
            call(Bucket=BUCKET)
    with refused("NoSuchBucket"):
        s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    assert service.ask("PUT", "/.uploads")[0] == 400
    assert service.ask("PUT", "/.uploads/a", b"x")[0] == 404
    with refused("404"):
        s3.head_bucket(Bucket="none")


def test_what_s3_is_not_asked_here_is_said(s3: Any, service: Service) -> None:
    for call in (s3.get_bucket_acl, s3.get_bucket_versioning, s3.list_object_versions):
        with refused("NotImplemented"):
            call(Bucket=BUCKET)
    for body in (b"", b"<Delete>", b'<!DOCTYPE a [<!ENTITY b "c">]><Delete/>'):
        assert b"MalformedXML" in service.ask("POST", f"/{BUCKET}?delete", body)[1]


# Protocol


def test_a_request_must_be_signed_by_someone_for_this_region(service: Service) -> None:
    assert b"AccessDenied" in service.ask("GET", "/", service=None)[1]
    target = {"x_amz_target": "SageMaker.ListModels"}
    assert b"MissingAuthenticationToken" in service.ask("POST", "/", b"{}", service=None, **target)[1]
    for broken in (
        "AWS4-HMAC-SHA256 Credential=a",
        "Bearer a",
        SIGNED.format(service="sagemaker")[:-1],
        "\xff",
        "a" * 9999,
    ):
        status, body = service.ask("POST", "/", b"{}", service=None, authorization=broken, **target)
        assert (status, json.loads(body)["__type"]) == (400, "IncompleteSignature")
    with refused("InvalidSignatureException", "signed for .*eu-west-1"):
        service.client("sagemaker", "eu-west-1").list_models()
    with refused("AuthorizationHeaderMalformed", "signed for .*eu-west-1"):
        service.client("s3", "eu-west-1").list_buckets()
    for version in ("s3", "s3v4"):
        client = boto3.client("s3", "us-east-1", **service.access, config=Config(signature_version=version))
        url = urlsplit(client.generate_presigned_url("list_buckets"))
        assert service.ask("GET", f"{url.path}?{url.query}", service=None)[0] == 200


def test_a_page_in_a_browser_is_refused(service: Service) -> None:
    assert service.ask("GET", "/", host="evil.example")[0] == 403


def test_elsewhere_a_token_is_wanted(tmp_path: Path) -> None:
    running = Service(tmp_path / "root", "0.0.0.0", "secret")
    try:
        with refused("InvalidClientTokenId"):
            running.client("sagemaker").list_models()
        assert running.client("sagemaker", aws_access_key_id="secret").list_models()["Models"] == []
    finally:
        running.close()


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'"a"', b"[" * 100_000])
def test_what_is_not_json_is_refused(service: Service, body: bytes) -> None:
    status, answer = service.ask("POST", "/", body, "sagemaker", x_amz_target="SageMaker.ListModels")
    assert (status, json.loads(answer)["__type"]) == (400, "SerializationException")


def test_what_is_not_http_does_no_harm(service: Service) -> None:
    put = f"PUT /pictures/a HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {SIGNED.format(service='s3')}\r\n"
    for text in (
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET " + "a" * 70_000,
        f"{put}Content-Length: -5\r\n\r\n",
        f"{put}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(text.encode())
            connection.settimeout(10)
            assert b" 4" in connection.recv(100) or b" 5" in connection.recv(100)
    assert service.client("s3").list_buckets()["Buckets"] == []


def test_an_upload_that_is_refused_is_not_sent(service: Service) -> None:
    head = f"PUT /none/a HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {SIGNED.format(service='s3')}\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\nContent-Length: {5 << 30}\r\n\r\n".encode())
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 404")


def test_the_small_services(service: Service) -> None:
    assert service.client("sts").get_caller_identity()["Account"] == ACCOUNT
    assert service.client("iam").get_role(RoleName="any")["Role"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/any"
    permitted = service.client("iam").simulate_principal_policy(PolicySourceArn=ROLE, ActionNames=["a:b", "c:d"])
    assert [result["EvalDecision"] for result in permitted["EvaluationResults"]] == ["allowed"] * 2
    credentials = service.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="me")["Credentials"]
    assert credentials["Expiration"].year > 2026
    token = service.client("ecr").get_authorization_token()["authorizationData"][0]
    assert token["proxyEndpoint"].startswith(f"https://{ACCOUNT}.")
    for call in (
        service.client("iam").list_users,
        service.client("ecr").describe_registry,
        service.client("logs").describe_queries,
        service.client("sagemaker").list_domains,
        service.client("dynamodb").list_tables,
    ):
        with refused("UnknownOperationException"):
            call()
    status, body = service.ask("POST", "/", b"{}", "sagemaker", x_amz_target="SageMaker.Nonsense")
    assert (status, json.loads(body)["__type"]) == (400, "UnknownOperationException")


# SageMaker


def test_a_training_job_is_told_as_the_service_tells_it(sagemaker: Any, service: Service) -> None:
    request = training_request(Tags=[{"Key": "a", "Value": "b"}])
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    told = sagemaker.describe_training_job(TrainingJobName="job")
    assert told["TrainingJobStatus"] == "InProgress"
    assert told["OutputDataConfig"] == {
        "KmsKeyId": "",
        "CompressionType": "GZIP",
        "S3OutputPath": f"s3://{BUCKET}/results",
    }
    assert told["ResourceConfig"]["InstanceType"] == "ml.m5.xlarge"
    assert told["CreationTime"].year >= 2026
    assert "Tags" not in told
    with refused("ResourceInUse", "already existing"):
        sagemaker.create_training_job(**request)
    for number in range(3):
        sagemaker.create_training_job(**training_request(f"other-{number}"))
    pages = sagemaker.get_paginator("list_training_jobs").paginate(PaginationConfig={"PageSize": 2})
    listed = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    assert listed == ["other-2", "other-1", "other-0", "job"]
    created = sagemaker.describe_training_job(TrainingJobName="other-0")["CreationTime"]
    for bound, count in (("Before", 2), ("After", 3)):
        assert len(sagemaker.list_training_jobs(**{f"CreationTime{bound}": created})["TrainingJobSummaries"]) == count
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "c", "Value": "d"}, {"Key": "a", "Value": "e"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["c"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "e"}]
    with refused("ValidationException"):
        sagemaker.list_tags(ResourceArn=arn.replace("job/job", "job/none"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"RoleArn": "MySageMakerExecutionRole"}, "RoleArn"),
        ({"TrainingJobName": "a/../b"}, "TrainingJobName"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://none/a"}}, "no bucket 'none'"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://pictures/../.."}}, "cannot be a file's name"),
        ({"OutputDataConfig": {"S3OutputPath": "https://a"}}, "https://a is not on this machine"),
        ({"ResourceConfig": {"InstanceType": "m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}}, "InstanceType"),
        ({"AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "Stream"}}, "TrainingInputMode"),
        (
            {
                "InputDataConfig": [
                    {
                        "ChannelName": "training",
                        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/none/"}},
                    }
                ]
            },
            "nothing at s3://pictures/none/",
        ),
    ],
)
def test_a_request_is_checked_as_the_service_does_it(sagemaker: Any, fields: dict[str, Any], said: str) -> None:
    with refused("ValidationException", said):
        sagemaker.create_training_job(**training_request(**fields))
    assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


def test_pipe_mode_is_refused_and_none_is_nothing(sagemaker: Any, service: Service) -> None:
    service.client("s3").put_object(Bucket=BUCKET, Key="data/a.jpg", Body=b"x")
    channel = {
        "ChannelName": "training",
        "CompressionType": "None",
        "RecordWrapperType": "None",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data"}},
    }
    sagemaker.create_training_job(**training_request(InputDataConfig=[channel | {"InputMode": "FastFile"}]))
    with refused("ValidationException", "Pipe"):
        sagemaker.create_training_job(**training_request("other", InputDataConfig=[channel | {"InputMode": "Pipe"}]))


def test_a_channel_may_be_a_manifest(sagemaker: Any, service: Service, tmp_path: Path) -> None:
    s3 = service.client("s3")
    for key in ("data/a b/ü.jpg", "data/b.jpg", "secret"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())

    def channel(*manifest: Any, kind: str = "ManifestFile") -> dict[str, Any]:
        s3.put_object(Bucket=BUCKET, Key="manifest", Body=json.dumps(manifest).encode())
        source = {"S3DataType": kind, "S3Uri": f"s3://{BUCKET}/manifest"}
        return {"ChannelName": "training", "DataSource": {"S3DataSource": source}}

    good = channel({"prefix": f"s3://{BUCKET}/data/"}, "a b/ü.jpg", "b.jpg")
    sagemaker.create_training_job(**training_request(InputDataConfig=[good]))
    folder = channels.folder(service.store, good["DataSource"]["S3DataSource"], tmp_path / "listed")
    assert {str(file.relative_to(folder)) for file in folder.rglob("*.jpg")} == {"a b/ü.jpg", "b.jpg"}
    with refused("ValidationException", "has S3Prefix and ManifestFile"):
        wrong = channel(kind="AugmentedManifestFile")
        sagemaker.create_training_job(**training_request("other", InputDataConfig=[wrong]))
    for manifest, said in (
        (({"prefix": f"s3://{BUCKET}/data/"}, "../secret"), "cannot be a file's name"),
        (({"prefix": f"s3://{BUCKET}/data/"}, "none"), "no such object"),
        (({"prefix": "s3://none/"}, "a"), "no bucket"),
        ((), "no manifest of the form"),
        (({"prefix": 1}, {}), "no manifest of the form"),
    ):
        with refused("ValidationException", said):
            sagemaker.create_training_job(**training_request("other", InputDataConfig=[channel(*manifest)]))


def test_the_resources_of_trials_as_the_sdk_sends_them(sagemaker: Any) -> None:
    definition = training_request()
    del definition["TrainingJobName"], definition["ResourceConfig"]
    definition["AlgorithmSpecification"] |= {"MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}]}
    config = {
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
        "ParameterRanges": {"CategoricalParameterRanges": [{"Name": "a", "Values": ["b", "c"]}]},
    }
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}
    for name, given in (("plain", resources), ("list", {"InstanceConfigs": [resources]})):
        whole = definition | {"HyperParameterTuningResourceConfig": given}
        assert tuning.trial(whole)["ResourceConfig"] == resources
        sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, HyperParameterTuningJobConfig=config, TrainingJobDefinition=whole
        )
        told = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        assert told["TrainingJobDefinition"]["OutputDataConfig"]["KmsKeyId"] == ""
        assert told["TrainingJobDefinition"]["ResourceConfig"] == resources
        assert told["TrainingJobDefinition"]["StaticHyperParameters"] == {"_tuning_objective_metric": "loss"}
    with refused("ValidationException", "ResourceConfig"):
        sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName="none", HyperParameterTuningJobConfig=config, TrainingJobDefinition=definition
        )


def test_a_model_may_be_a_folder_of_objects(sagemaker: Any, service: Service) -> None:
    service.client("s3").put_object(Bucket=BUCKET, Key="model/weights", Body=b"x")
    source = {"S3Uri": f"s3://{BUCKET}/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": "image", "ModelDataSource": {"S3DataSource": source}}
    sagemaker.create_model(ModelName="a", ExecutionRoleArn=ROLE, Containers=[container])
    assert sagemaker.describe_model(ModelName="a")["Containers"][0]["Image"] == "image"
    for wrong in ({"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/none.tar.gz"}, container | {"Mode": "MultiModel"}):
        with refused("ValidationException"):
            sagemaker.create_model(ModelName="b", ExecutionRoleArn=ROLE, PrimaryContainer=wrong)
    sagemaker.delete_model(ModelName="a")
    with refused("ValidationException", "Could not find model a"):
        sagemaker.describe_model(ModelName="a")


def test_a_model_is_registered_approved_and_deployed(sagemaker: Any, service: Service) -> None:
    service.client("s3").put_object(Bucket=BUCKET, Key="model.tar.gz", Body=b"x")
    container = {"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz", "Environment": {"a": "1", "b": "1"}}
    types = {"SupportedContentTypes": ["image/jpeg"], "SupportedResponseMIMETypes": ["application/json"]}
    request = {"ModelPackageGroupName": "dogs", "InferenceSpecification": types | {"Containers": [container]}}
    with refused("ValidationException", "Could not find model package group dogs"):
        sagemaker.create_model_package(**request)
    sagemaker.create_model_package_group(ModelPackageGroupName="dogs")
    first, second = (sagemaker.create_model_package(**request)["ModelPackageArn"] for _ in range(2))
    assert (first, second) == tuple(f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package/dogs/{n}" for n in (1, 2))
    model = {"ModelName": "dogs", "ExecutionRoleArn": ROLE}
    wanted = {"ModelPackageName": second, "Environment": {"b": "2"}}
    with refused("ValidationException", "PendingManualApproval"):
        sagemaker.create_model(PrimaryContainer=wanted, **model)
    sagemaker.update_model_package(ModelPackageArn=second, ModelApprovalStatus="Approved")
    approved = sagemaker.list_model_packages(ModelPackageGroupName="dogs", ModelApprovalStatus="Approved")
    assert [package["ModelPackageArn"] for package in approved["ModelPackageSummaryList"]] == [second]
    told = sagemaker.describe_model_package(ModelPackageName=second)
    assert (told["ModelPackageVersion"], told["ModelPackageStatus"]) == (2, "Completed")
    sagemaker.add_tags(ResourceArn=second, Tags=[{"Key": "a", "Value": "b"}])
    sagemaker.create_model(PrimaryContainer=wanted, **model)
    assert models.container(service.store, "dogs") == container | {"Environment": {"a": "1", "b": "2"}}
    with refused("ConflictException"):
        sagemaker.delete_model_package_group(ModelPackageGroupName="dogs")
    for package in (first, second):
        sagemaker.delete_model_package(ModelPackageName=package)
    sagemaker.delete_model_package_group(ModelPackageGroupName="dogs")
    assert sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    for name in (second, "dogs", second.replace("dogs", ".."), "model-package/../1"):
        with refused("ValidationException"):
            sagemaker.describe_model_package(ModelPackageName=name)


def test_a_processing_job_is_checked(sagemaker: Any, service: Service) -> None:
    place = {"S3Uri": f"s3://{BUCKET}/none/", "LocalPath": "/opt/ml/processing/a"}
    given = {"InputName": "a", "S3Input": place | {"S3DataType": "S3Prefix", "S3InputMode": "File"}}
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    request = {
        "ProcessingJobName": "job",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingResources": {"ClusterConfig": cluster},
    }
    for wrong, said in (
        ({"ProcessingInputs": [given]}, "nothing at"),
        ({"ProcessingInputs": [given | {"S3Input": given["S3Input"] | {"S3InputMode": "Pipe"}}]}, "File mode"),
        ({"ProcessingResources": {"ClusterConfig": cluster | {"InstanceCount": 2}}}, "one instance"),
    ):
        with refused("ValidationException", said):
            sagemaker.create_processing_job(**request | wrong)
    sagemaker.create_processing_job(**request)
    sagemaker.stop_processing_job(ProcessingJobName="job")
    assert sagemaker.describe_processing_job(ProcessingJobName="job")["ProcessingJobStatus"] == "Stopping"
    assert len(sagemaker.list_processing_jobs()["ProcessingJobSummaries"]) == 1


def test_of_clients_that_create_one_job_at_once_one_does(sagemaker: Any) -> None:
    def create(_: int) -> str:
        try:
            sagemaker.create_training_job(**training_request())
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create, range(8))) == ["", *["ResourceInUse"] * 7]
    assert len(sagemaker.list_training_jobs()["TrainingJobSummaries"]) == 1


def test_two_services_know_nothing_of_each_other(sagemaker: Any, service: Service, tmp_path: Path) -> None:
    sagemaker.create_training_job(**training_request())
    other = Service(tmp_path / "other")
    try:
        assert other.port != service.port
        assert other.client("s3").list_buckets()["Buckets"] == []
        assert other.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
    finally:
        other.close()


def test_waiters_wait(sagemaker: Any, service: Service) -> None:
    sagemaker.create_training_job(**training_request())
    record = service.store.find(training.KIND, "job")
    training.enter(record, "Completed", "done", TrainingJobStatus="Completed", TrainingEndTime=now())
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName="job")


def test_docker_that_was_stopped_is_not_the_requests_fault(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.client("s3").create_bucket(Bucket=BUCKET)
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(containers, "ready", lambda: None)
    with refused("ServiceUnavailable", "start it and try again"):
        service.client("sagemaker").create_training_job(**training_request())
    client.write_text("#!/bin/sh\necho 'Error: No such image: image' >&2\nexit 1\n")
    with refused("ValidationException", "no image image"):
        service.client("sagemaker").create_training_job(**training_request())


def test_logs_of_a_job(sagemaker: Any, service: Service) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}
    for name in ("job", "job-2"):
        sagemaker.create_training_job(**training_request(name, ResourceConfig=resources))
        service.store.find(training.KIND, name).update(TrainingStartTime=now())
    log = service.store.find(training.KIND, "job").folder / "log"
    log.write_text(f"{now()} algo-1: one\n{now()} algo-2: two\n{now()} algo-1: three\n{now()} algo-1: half")
    logs, group = service.client("logs"), "/aws/sagemaker/TrainingJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="job/", orderBy="LogStreamName")
    names = [stream["logStreamName"] for stream in streams["logStreams"]]
    assert [name.rpartition("-")[0] for name in names] == ["job/algo-1", "job/algo-2"]
    first = logs.get_log_events(logGroupName=group, logStreamName=names[0], startFromHead=True, limit=1)
    assert [event["message"] for event in first["events"]] == ["one"]
    after = {"nextToken": first["nextForwardToken"]}
    more = logs.get_log_events(logGroupName=group, logStreamName=names[0], startFromHead=True, **after)
    assert [event["message"] for event in more["events"]] == ["three"]
    after = {"nextToken": more["nextForwardToken"]}
    last = logs.get_log_events(logGroupName=group, logStreamName=names[0], startFromHead=True, **after)
    assert (last["events"], last["nextForwardToken"]) == ([], more["nextForwardToken"])
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, logStreamNamePrefix="job/")
    found = [event["message"] for page in pages for event in page["events"]]
    assert sorted(found) == ["one", "three", "two"]
    for pattern, messages in (
        ("one", ["one"]),
        ("-one", ["three", "two"]),
        ("?one ?two", ["one", "two"]),
        ('"t" -"two"', ["three"]),
    ):
        found = logs.filter_log_events(logGroupName=group, logStreamNamePrefix="job/", filterPattern=pattern)["events"]
        assert sorted(event["message"] for event in found) == messages
    with refused("InvalidParameterException", "regular expressions"):
        logs.filter_log_events(logGroupName=group, filterPattern="{ $.a = 1 }")
    with refused("InvalidParameterException", "no token"):
        logs.filter_log_events(logGroupName=group, nextToken="nonsense")
    with refused("ResourceNotFoundException"):
        logs.describe_log_streams(logGroupName="/aws/sagemaker/Endpoints/none")
    wrong_type = b'{"logGroupName": ["/aws/sagemaker/TrainingJobs"], "limit": "a"}'
    status, body = service.ask("POST", "/", wrong_type, "logs", x_amz_target="Logs_20140328.GetLogEvents")
    assert (status, json.loads(body)["__type"]) == (400, "InvalidParameterException")
    for wrong in (
        {"logGroupName": group, "logStreamName": "none"},
        {"logGroupName": "none", "logStreamName": names[0]},
    ):
        with refused("ResourceNotFoundException"):
            logs.get_log_events(**wrong)


def test_metrics_of_a_job(sagemaker: Any, service: Service) -> None:
    for name in ("job", "other"):
        sagemaker.create_training_job(**training_request(name))
    entries = [
        {"MetricName": "loss", "Value": value, "Timestamp": f"2026-01-01T00:0{minute}:30+00:00"}
        for minute, value in ((1, 3.0), (1, 1.0), (2, 0.5))
    ]
    log = service.store.find(training.KIND, "job").folder / "metrics.jsonl"
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    metrics = service.client("cloudwatch")
    metric = {"Namespace": "/aws/sagemaker/TrainingJobs", "MetricName": "loss"}
    metric |= {"Dimensions": [{"Name": "TrainingJobName", "Value": "job"}]}
    times = {"StartTime": datetime(2026, 1, 1, tzinfo=UTC), "EndTime": datetime(2026, 1, 2, tzinfo=UTC)}
    wanted = {"Period": 60, "Statistics": ["Average", "SampleCount"]}
    points = metrics.get_metric_statistics(**metric, **times, **wanted)["Datapoints"]
    assert [(point["Timestamp"].minute, point["Average"], point["SampleCount"]) for point in points] == [
        (1, 2.0, 2.0),
        (2, 0.5, 1.0),
    ]
    query = {"Id": "a", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Minimum"}}
    (result,) = metrics.get_metric_data(MetricDataQueries=[query], **times)["MetricDataResults"]
    assert (result["Id"], result["Values"]) == ("a", [0.5])
    assert [each["MetricName"] for each in metrics.list_metrics()["Metrics"]] == ["loss"]
    none = metric | {"Dimensions": [{"Name": "TrainingJobName", "Value": "../other"}]}
    assert metrics.get_metric_statistics(**none, **times, **wanted)["Datapoints"] == []
    with refused("InvalidParameterValue", "no expressions"):
        metrics.get_metric_data(MetricDataQueries=[{"Id": "a", "Expression": "1"}], **times)
    with refused("UnknownOperationException"):
        metrics.put_metric_data(Namespace="a", MetricData=[{"MetricName": "a", "Value": 1}])


@pytest.fixture
def container(service: Service) -> Iterator[Callable[[int, bytes], None]]:
    """Return a function that says what the container of the endpoint "a" answers from now on."""
    answer: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(answer["status"])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer["body"])))
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    member = {"Name": "a", "Port": server.server_port, "Variant": {"VariantName": "AllTraffic"}, "Container": {}}
    _, lock = service.store.create("endpoint", "a", {}, EndpointStatus="InService", Serving=[member])
    lock.release()
    yield lambda status, body: answer.update(status=status, body=body)
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_endpoint_is_asked(service: Service, container: Callable[[int, bytes], None]) -> None:
    runtime = service.client("sagemaker-runtime")
    container(200, b'{"a": 1}')
    answer = runtime.invoke_endpoint(EndpointName="a", Body=b"picture", ContentType="image/jpeg")
    assert (answer["Body"].read(), answer["ContentType"]) == (b'{"a": 1}', "application/json")
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    container(415, b"no picture")
    with pytest.raises(runtime.exceptions.ModelError, match="no picture") as caught:
        runtime.invoke_endpoint(EndpointName="a", Body=b"text")
    assert caught.value.response["OriginalStatusCode"] == 415
    with refused("ValidationError", "not found"):
        runtime.invoke_endpoint(EndpointName="none", Body=b"x")
    with refused("ValidationError"):
        runtime.invoke_endpoint(EndpointName="../a", Body=b"x")
    with refused("ValidationError", "not asynchronous"):
        runtime.invoke_endpoint_async(EndpointName="a", InputLocation="s3://a/b")
    with refused("UnknownOperationException", "no InvokeEndpointWithResponseStream; take InvokeEndpoint"):
        runtime.invoke_endpoint_with_response_stream(EndpointName="a", Body=b"x")


# Process


@pytest.fixture
def byoc(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Return a function that runs `byoc service …` with a folder of its own."""

    def run(*arguments: str, root: str = "root") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "byoc_vision", "service", *arguments],
            cwd=ROOT,
            env=os.environ | {"BYOC_LOCAL": str(tmp_path / root)},
            capture_output=True,
            text=True,
        )

    yield run
    for folder in tmp_path.iterdir():
        run("stop", root=folder.name)


def test_a_service_starts_stops_and_keeps_what_it_has(
    byoc: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert (byoc("status").returncode, byoc("stop").stdout) == (1, "it does not run\n")
    assert "does not run; start it" in byoc("env").stderr
    started = byoc("start", "--port", "0")
    assert started.returncode == 0, started.stderr
    url = started.stdout.strip()
    assert byoc("start").stdout.strip() == url  # the one that runs
    assert url in byoc("status").stdout
    service = daemon.Service(tmp_path / "root")
    told = subprocess.run(
        ["sh", "-c", f"{byoc('env').stdout}\nenv"], capture_output=True, text=True, env={"AWS_PROFILE": "mine"}
    ).stdout
    variables = dict(line.partition("=")[::2] for line in told.splitlines())
    assert variables["AWS_ENDPOINT_URL"] == url
    assert "AWS_PROFILE" not in variables
    configuration = Path(variables["SAGEMAKER_USER_CONFIG_OVERRIDE"]).read_text()
    assert f"DefaultS3Bucket: {env.BUCKET}" in configuration
    s3 = boto3.client("s3", "us-east-1", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b")
    s3.put_object(Bucket=env.BUCKET, Key="a", Body=b"kept")
    assert service.address
    os.kill(service.address.pid, signal.SIGKILL)
    while service.address:
        pass
    assert byoc("start").stdout.strip() == url  # the same port as before
    assert s3.get_object(Bucket=env.BUCKET, Key="a")["Body"].read() == b"kept"
    other = byoc("start", "--port", url.rpartition(":")[2], root="other")
    assert other.returncode == 1
    assert other.stderr.count("\n") == 1
    assert "cannot be listened on" in other.stderr
    assert byoc("start", "--port", "0", root="other").stdout.strip() not in ("", url)
    assert byoc("stop").stdout == "stopped\n"
    assert byoc("status").returncode == 1
    assert byoc("status", root="other").returncode == 0


def test_elsewhere_the_variables_hold_the_token(tmp_path: Path) -> None:
    address = daemon.Address("0.0.0.0", 1, "secret", 2)
    assert address.url == "http://127.0.0.1:1"
    assert env.variables(tmp_path, address.url, address.token)["AWS_ACCESS_KEY_ID"] == "secret"


def test_a_uri_of_another_machine_is_refused(tmp_path: Path) -> None:
    for uri in ("s3://none/a", "s3://", "s3:///a", "https://a/b"):
        with pytest.raises(ServiceError, match="not on this machine"):
            locate(Store(tmp_path), uri)
