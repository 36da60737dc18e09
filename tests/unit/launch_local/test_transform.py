"""A transform job of this machine, with a server in the container's place: every file has an answer or a reason."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc_vision.local import server, transform
from byoc_vision.local.objects import Objects
from byoc_vision.local.store import Record, Store


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server that answers each picture with its bytes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving.server_port
    serving.shutdown()
    serving.server_close()


@pytest.fixture
def container(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server be the container of all jobs."""
    monkeypatch.setattr(server, "unpack", lambda *_: tmp_path)
    monkeypatch.setattr(server, "start", lambda *_, **more: "container")
    monkeypatch.setattr(server, "wait", lambda *_: None)
    monkeypatch.setattr(server, "free_port", lambda preferred=0: port)


def done(folder: Path, source: str, content_type: str, kind: str = "S3Prefix") -> Record:
    """Return a job that has run on what is at the URI `source`, with its answers in `folder`/out."""
    request = {
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": source}},
            "ContentType": content_type,
        },
        "TransformOutput": {"S3OutputPath": (folder / "out").as_uri()},
        "TransformResources": {"InstanceType": "local", "InstanceCount": 1},
    }
    record, lock = Store(folder / "store").create("transform-job", "job", request, Container={})
    with lock:
        transform.run(record)
    return record


def test_files_whose_answer_cannot_be_written_do_not_hold_up_the_others(tmp_path: Path, container: None) -> None:
    source = tmp_path / os.fsdecode(b"caf\xe9 #1")
    source.mkdir()
    longest, fits = "x" * 255, os.fsdecode(b"\xe9" * 251)
    for name in (longest, fits, "a.jpg"):
        (source / name).write_text("picture")
    record = done(tmp_path, f"{source.as_uri()}/", "application/x-image")
    assert record.status["TransformJobStatus"] == "Failed"
    assert record.status["Refused"] == {longest: "its answer cannot be written (File name too long)"}
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(["a.jpg.out", f"{fits}.out"])


@pytest.mark.parametrize(
    ("content_type", "asked"),
    [
        ("application/x-image", ["a.jpg.out", "picture.out"]),
        ("text/csv", ["a.jpg.out", "labels.csv.out", "picture.out", "readme.txt.out"]),
    ],
)
def test_of_a_folder_only_pictures_are_asked_about_as_pictures(
    tmp_path: Path, container: None, content_type: str, asked: list[str]
) -> None:
    source = tmp_path / "data"
    source.mkdir()
    for name in ("a.jpg", "picture", "readme.txt", "labels.csv", "Thumbs.db", "._a.jpg"):
        (source / name).write_text("content")
    assert done(tmp_path, f"{source.as_uri()}/", content_type).status["TransformJobStatus"] == "Completed"
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == asked


def test_of_a_bucket_everything_is_asked_about(tmp_path: Path, container: None) -> None:
    objects = Objects(Store(tmp_path / "store"))
    objects.make_bucket("mine")
    for name in ("a.jpg", "readme.txt"):
        (objects.bucket("mine") / name).write_text("content")
    objects.make_bucket("lists")
    (objects.bucket("lists") / "one").write_text('[{"prefix": "s3://mine/"}, "readme.txt"]')
    record = done(tmp_path, "s3://lists/one", "text/plain", "ManifestFile")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["readme.txt.out"]
    assert not (record.folder / "listed").exists()
    record.remove()
    assert done(tmp_path, "s3://mine/", "application/x-image").status["TransformJobStatus"] == "Completed"
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.jpg.out", "readme.txt.out"]
