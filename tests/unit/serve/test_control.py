"""The supervisor's sockets: workers come and go, and /ping is answered."""

import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve import control


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def report(path: Path, **fields: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    connection.sendall(json.dumps(fields).encode() + b"\n")
    return connection


def test_a_worker_counts_as_long_as_its_connection_stands(tmp_path: Path) -> None:
    path = tmp_path / "workers.sock"
    workers = control.Workers(path)
    assert workers.alive("a") == 0
    connections = [report(path, model="a", description="on cpu") for _ in range(3)]
    other = report(path, model="b", description="on cuda:0")
    eventually(lambda: (workers.alive("a"), workers.alive("b")) == (3, 1))
    assert workers.wait_for_description("a") == "on cpu"
    assert workers.wait_for_description("b") == "on cuda:0"
    connections.pop().close()
    eventually(lambda: workers.alive("a") == 2)
    for connection in connections:
        connection.close()
    eventually(lambda: workers.alive("a") == 0)
    assert workers.alive("b") == 1
    other.close()


def test_a_failure_is_told_once_and_is_no_worker(tmp_path: Path) -> None:
    path = tmp_path / "workers.sock"
    workers = control.Workers(path)
    report(path, model="a", error="it is broken", trace="").close()
    assert workers.wait_for_failure("a") == control.Failure("it is broken")
    assert workers.alive("a") == 0


def test_http_is_answered_with_json(tmp_path: Path) -> None:
    seen = []

    def answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        seen.append((method, path, body))
        return 418, {"state": "ready"}

    control.serve_http(tmp_path / "control.sock", answer)
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(tmp_path / "control.sock"))
    connection.request("POST", "/models?x=1", b"body")
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (418, "application/json")
    assert json.loads(response.read()) == {"state": "ready"}
    assert seen == [("POST", "/models?x=1", b"body")]
