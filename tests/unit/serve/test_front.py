"""What nginx passes on: the HTTP parser behind it, which nobody mends any more, sees only what nginx wrote itself."""

import http.client
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve import config
from serve.settings import Settings

PORT = 18080
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Front:
    """nginx with a model server that keeps what it is sent, and answers it well."""

    def __init__(self, runtime: Path) -> None:
        self.passed: list[bytes] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(runtime / "mms.sock"))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection:
                data = connection.recv(65536)
                while not data.endswith(b"abc") and (more := connection.recv(65536)):  # the body of all requests here
                    data += more
                self.passed.append(data)
                connection.sendall(OK)

    def headers(self) -> dict[str, str]:
        """Return the headers of the one request that was passed on."""
        (request,) = self.passed
        lines = request.decode().partition("\r\n\r\n")[0].split("\r\n")[1:]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def ask(self, *lines: str, body: bytes = b"abc") -> int:
        """Send a request as it is and return the status of the answer."""
        with socket.create_connection(("127.0.0.1", PORT), timeout=10) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """Start nginx with the container's own configuration, as whoever runs the test."""
    settings = Settings.from_environment({"SAGEMAKER_BIND_TO_PORT": str(PORT)})
    config.write(settings, tmp_path, "/dev/null", "root root")
    running = Front(tmp_path)
    nginx = subprocess.Popen(["nginx", "-c", str(tmp_path / "nginx.conf")])
    while socket.socket().connect_ex(("127.0.0.1", PORT)):
        assert nginx.poll() is None
        time.sleep(0.01)
    yield running
    nginx.terminate()
    nginx.wait()


def test_a_body_in_chunks_is_passed_on_whole(front: Front) -> None:
    lines = ("POST /invocations HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "TE: trailers")
    assert front.ask(*lines, body=b'3;a="b\r\nabc\r\n0\r\nX-Trailer: x\r\n\r\n') == 200
    assert front.headers() == {
        "host": "localhost",
        "content-type": "application/octet-stream",
        "content-length": "3",
    }


def test_neither_forms_nor_other_protocols_are_asked_for(front: Front) -> None:
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "Expect: 100-continue")
    form = ("Content-Type: multipart/form-data; boundary=x", "Content-Length: 3")
    assert front.ask("POST /invocations HTTP/1.1", "Host: x", *upgrade, *form) == 200
    headers = front.headers()
    assert headers["content-type"] == "application/octet-stream"
    assert not {"connection", "upgrade", "expect"} & headers.keys()


@pytest.mark.parametrize(
    "lines",
    [
        ("POST /invocations HTTP/1.1", "Host: x", "Transfer-Encoding: chunked, xchunked", "Content-Length: 3"),
        ("POST /invocations HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Content-Length: 3"),
        ("POST /invocations HTTP/1.0", "Transfer-Encoding: chunked", "Content-Length: 3"),
        ("POST /invocations HTTP/1.1", "Host: x", "Content-Length: 3", "Content-Length: 4"),
        ("POST /invocations HTTP/1.1", "Host: x", "Content-Length: 3", "X\x01: y"),
    ],
)
def test_what_can_be_understood_in_two_ways_is_not_passed_on(front: Front, lines: tuple[str, ...]) -> None:
    assert front.ask(*lines) == 400
    assert not front.passed
