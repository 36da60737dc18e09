"""The service's process: start, stop, kill, a second one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from byoc_vision.local.client import Body
from byoc_vision.local.files import locate
from byoc_vision.local.store import ServiceError, Store
from byoc_vision.service import daemon, env
from tests.cloud.conftest import ROOT


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
    assert (byoc("status").returncode, byoc("stop").stdout) == (1, "the service does not run\n")
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
    assert Path(variables["AWS_CONFIG_FILE"]).exists()
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
    address_file = tmp_path / "root" / "service" / "service.json"
    address_text = address_file.read_text()
    for damaged in ("{", '{"host": "another version\'s"}'):
        address_file.write_text(damaged)
        for command in ("status", "start", "stop"):
            assert "service.json is damaged" in byoc(command).stderr
    address_file.write_text(address_text)
    assert byoc("stop").stdout == "stopped\n"
    assert byoc("status").returncode == 1
    assert byoc("status", root="other").returncode == 0


def test_clients_do_not_hash_what_stays_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "service").mkdir()
    env.prepare(Store(tmp_path))
    for name, value in env.variables(tmp_path, "http://127.0.0.1:1", None).items():
        monkeypatch.setenv(name, value)
    sent: list[Any] = []
    s3 = boto3.session.Session().client("s3")

    def answer(request: Any, **_: object) -> AWSResponse:
        sent.append(request)
        return AWSResponse("", 200, {}, Body())

    s3.meta.events.register("before-send.s3", answer)
    s3.put_object(Bucket="pictures", Key="a", Body=b"x")
    headers = {name.lower(): value for name, value in sent[0].headers.items()}
    assert headers["x-amz-content-sha256"] == b"UNSIGNED-PAYLOAD"
    assert not [name for name in headers if "checksum" in name or name == "content-md5"]


def test_elsewhere_the_variables_hold_the_token(tmp_path: Path) -> None:
    address = daemon.Address("0.0.0.0", 1, "secret", 2)
    assert address.url == "http://127.0.0.1:1"
    assert env.variables(tmp_path, address.url, address.token)["AWS_ACCESS_KEY_ID"] == "secret"


def test_a_uri_of_another_machine_is_refused(tmp_path: Path) -> None:
    for uri in ("s3://none/a", "s3://", "s3:///a", "https://a/b"):
        with pytest.raises(ServiceError, match="not on this machine"):
            locate(Store(tmp_path), uri)
