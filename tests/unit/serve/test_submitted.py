"""Code that is not in the model: the archive that SAGEMAKER_SUBMIT_DIRECTORY names, in S3 or in the container."""

import io
import socket
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from byoc_vision.contract.errors import UserError
from serve import submitted, user_code
from tests.unit.serve.conftest import MakeWorker, ask

SOURCE = b"""
import helper
def model_fn(model_dir): return None
def transform_fn(model, body, content_type, accept): return helper.NAME
"""


def packed(**files: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/") + ".py")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


class S3(BaseHTTPRequestHandler):
    """S3, as far as a download needs it; it holds one object."""

    content = packed(inference=SOURCE, helper=b"NAME = 'from S3'")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        found = self.path == "/bucket/job/sourcedir.tar.gz"
        body = self.content if found else b"<Error><Code>NoSuchKey</Code><Message>none of that key</Message></Error>"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def s3() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), S3)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials, and the folder that the supervisor names."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv(submitted.FOLDER_VARIABLE, str(tmp_path / "fetched"))
    monkeypatch.delitem(sys.modules, "helper", raising=False)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL"])
def test_code_in_s3_is_the_models(
    make_worker: MakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str, variable: str
) -> None:
    monkeypatch.setenv(variable, s3)
    monkeypatch.setenv("SAGEMAKER_SUBMIT_DIRECTORY", "s3://bucket/job/sourcedir.tar.gz")
    submitted.fetch("s3://bucket/job/sourcedir.tar.gz", tmp_path / "fetched", 600)
    worker, context = make_worker("this is no code and not what is asked for")
    assert ask(worker, context, b"x", "application/json")[1] == "from S3"


def test_an_archive_in_the_container_is_unpacked_as_well(
    make_worker: MakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "sourcedir.tar.gz"
    archive.write_bytes(packed(serving=SOURCE, helper=b"NAME = 'from a file'"))
    monkeypatch.setenv("SAGEMAKER_SUBMIT_DIRECTORY", f"file://{archive}")
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "serving.py")
    submitted.fetch(str(archive), tmp_path / "fetched", 600)
    worker, context = make_worker()
    assert ask(worker, context, b"x", "application/json")[1] == "from a file"


@pytest.mark.parametrize("value", ["", "/opt/ml/model/code", "/nowhere"])
def test_a_folder_is_nothing_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SAGEMAKER_SUBMIT_DIRECTORY", value)
    assert submitted.place({"SAGEMAKER_SUBMIT_DIRECTORY": value}) is None
    assert user_code.folder(tmp_path) == tmp_path / "code"


def test_code_without_the_program_is_no_reason_to_run_another(
    make_worker: MakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fetched").mkdir()
    monkeypatch.setenv("SAGEMAKER_SUBMIT_DIRECTORY", "s3://bucket/job/sourcedir.tar.gz")
    with pytest.raises(UserError, match=r"the code at s3://bucket/job/sourcedir.tar.gz has no inference.py; add it"):
        make_worker("def model_fn(model_dir): return None")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("s3://bucket/other.tar.gz", r"other.tar.gz could not be fetched \(.*404.*\); check the address"),
        ("s3://bucket", "SAGEMAKER_SUBMIT_DIRECTORY is s3://bucket; name a folder, an archive or an s3:// URI"),
        ("https://host/code.tar.gz", "SAGEMAKER_SUBMIT_DIRECTORY is https://host/code.tar.gz; name"),
        ("s3://Not a bucket/code.tar.gz", "could not be fetched .*[Ii]nvalid bucket name"),
    ],
)
def test_what_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str, place: str, words: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    check(place, tmp_path, words)


def test_without_credentials_a_network_or_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    place = "s3://bucket/job/sourcedir.tar.gz"
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        check(place, tmp_path, "could not be fetched .Could not connect to the endpoint URL")
    check(place, tmp_path, "could not be fetched .it took over 0.01 s.; check", seconds=0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    check(place, tmp_path, "could not be fetched .Unable to locate credentials.; check")


@pytest.mark.parametrize("content", [b"no archive", packed(**{"..__evil": b""}), packed(inference=SOURCE)[:-30]])
def test_an_archive_that_cannot_be_unpacked_safely(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "sourcedir.tar.gz"
    archive.write_bytes(content)
    check(str(archive), tmp_path, "sourcedir.tar.gz (is no tar archive|holds ../evil.py|cannot be unpacked)")
    assert not list(tmp_path.rglob("*.py"))


def check(place: str, folder: Path, words: str, seconds: float = 600) -> None:
    """The code cannot be fetched, which one sentence says."""
    with pytest.raises(UserError, match=words) as caught:
        submitted.fetch(place, folder / str(len(list(folder.iterdir()))), seconds)
    assert "\n" not in str(caught.value)
