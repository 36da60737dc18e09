"""A transform job of this machine, with a server in the container's place: every file has an answer or a reason."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc_vision.local import server, transform
from byoc_vision.local.store import Store


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


def test_files_whose_answer_cannot_be_written_do_not_hold_up_the_others(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "unpack", lambda *_: tmp_path)
    monkeypatch.setattr(server, "start", lambda *_: "container")
    monkeypatch.setattr(server, "wait", lambda *_: None)
    monkeypatch.setattr(server, "free_port", lambda: port)
    source = tmp_path / os.fsdecode(b"caf\xe9 #1")
    source.mkdir()
    longest, fits = "x" * 255, os.fsdecode(b"\xe9" * 251)
    for name in (longest, fits, "a.jpg"):
        (source / name).write_text("picture")
    request = {
        "TransformInput": {"DataSource": {"S3DataSource": {"S3Uri": f"{source.as_uri()}/"}}},
        "TransformOutput": {"S3OutputPath": (tmp_path / "out").as_uri()},
        "TransformResources": {"InstanceType": "local", "InstanceCount": 1},
    }
    record, lock = Store(tmp_path / "store").create("transform-job", "job", request, Container={})
    with lock:
        transform.run(record)
    assert record.status["TransformJobStatus"] == "Failed"
    assert record.status["Refused"] == {longest: "its answer cannot be written (File name too long)"}
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(["a.jpg.out", f"{fits}.out"])
