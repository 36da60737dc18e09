"""A service that runs in the tests' process, and boto3's clients of it. No containers here."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from byoc_vision.local import containers, process
from byoc_vision.local.store import ACCOUNT, Lock, Store
from byoc_vision.service.server import Server

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
