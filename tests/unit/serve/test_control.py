"""HTTP on a unix socket."""

import http.client
import socket
from pathlib import Path
from typing import Any

import pytest

from serve import control


@pytest.mark.parametrize(
    ("content", "content_type", "body"),
    [
        ({"state": "ready"}, "application/json", b'{"state": "ready"}\n'),
        ("a 1\n", "text/plain; version=0.0.4; charset=utf-8", b"a 1\n"),
    ],
)
def test_http_is_answered(tmp_path: Path, content: dict[str, Any] | str, content_type: str, body: bytes) -> None:
    seen = []

    def answer(method: str, path: str, body: bytes) -> control.Answer:
        seen.append((method, path, body))
        return 418, content

    control.serve_http(tmp_path / "control.sock", answer)
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(tmp_path / "control.sock"))
    connection.request("POST", "/models?x=1", b"body")
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (418, content_type)
    assert response.read() == body
    assert seen == [("POST", "/models?x=1", b"body")]
