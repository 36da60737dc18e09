"""What nginx passes on, and what it answers itself.

The HTTP parser behind it, which nobody mends any more, sees only what nginx wrote.
"""

import contextlib
import http.client
import json
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from serve import config, control
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

    def raw(self, data: bytes, patience: float = 10, ends: bool = False) -> bytes:
        """Send bytes, and no more if that `ends` it; return all that comes back before nothing more comes."""
        answer = b""
        with socket.create_connection(("127.0.0.1", PORT), timeout=patience) as connection:
            with contextlib.suppress(OSError):  # it need not read all of them
                connection.sendall(data)
                if ends:
                    connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while part := connection.recv(65536):
                    answer += part
        return answer

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
    (tmp_path / "models" / config.MODEL_NAME).touch()
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
    headers = front.headers()
    assert abs(float(headers.pop("x-received")) - time.time()) < 60
    assert headers == {
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


def error(answer: bytes) -> tuple[int, str]:
    """Return the status and the sentence of an answer, which must be one of our form."""
    head, _, body = answer.partition(b"\r\n\r\n")
    content = json.loads(body or head)
    assert list(content) == ["error"], answer
    # Who does not say HTTP/1.x gets an answer without a head.
    return int(head.split()[1]) if body else 0, content["error"]


UNREADABLE = {
    "NUL": b"\0POST /invocations HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "lower case": b"post /invocations HTTP/1.1\r\nHost: x\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": b"GET /ping HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/9.9": b"GET /ping HTTP/9.9\r\n\r\n",
    "unknown coding": b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c403") + b"\n",
    "all bytes": bytes(range(256)),
    "HTTP/0.9": b"POST /invocations\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "half an escape": b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    "an escaped NUL": b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "above the root": b"GET /../../etc HTTP/1.1\r\nHost: x\r\n\r\n",
    "negative length": b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length beyond numbers": b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    "bad chunk": b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_told_in_json(front: Front, case: str) -> None:
    assert error(front.raw(UNREADABLE[case])) in {(400, MALFORMED), (0, MALFORMED)}
    assert not front.passed


MALFORMED = "the request is not well-formed HTTP"


def test_random_bytes_are_told_in_json(front: Front) -> None:
    numbers = random.Random(0)
    lines = [b"POST /invocations HTTP/1.1", b"Host: x", b"Content-Length: 0", b"Transfer-Encoding: chunked"]
    for _ in range(200):
        data = bytearray(b"\r\n".join([*lines[: numbers.randrange(1, 5)], b"", b""]))
        for _ in range(numbers.randrange(1, 20)):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        answer = front.raw(bytes(data) + b"\r\n\r\n", patience=0.05)
        if answer and OK not in answer and not answer.startswith(b"ok"):
            status, sentence = error(answer[: answer.index(b"}") + 1])
            assert sentence and (status == 0 or 400 <= status < 500)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("GET /" + "a" * 100_000 + " HTTP/1.1", "Host: x"), 414),
        (("GET / HTTP/1.1", "Host: x", "X: " + "a" * 100_000), 431),
        (("POST /invocations HTTP/1.1", "Host: x", *(f"X-{number}: {'a' * 100}" for number in range(80))), 431),
        (("POST /ping HTTP/1.1", "Host: x", "Content-Length: 3"), 405),
        (("FOO /metrics HTTP/1.1", "Host: x"), 405),
        (("GET /ping HTTP/1.1", "Host: x", "Content-Length: 100000"), 413),
        (("GET /metrics HTTP/1.1", "Host: x", "Content-Length: 6291456", "Expect: 100-continue"), 413),
        (("GET /error HTTP/1.1", "Host: x"), 404),
    ],
)
def test_what_is_refused_is_told_in_json(front: Front, lines: tuple[str, ...], status: int) -> None:
    assert error(front.raw("\r\n".join([*lines, "Connection: close", "", "abc"]).encode()))[0] == status
    assert not front.passed


def test_of_long_headers_only_what_the_model_server_reads_is_passed_on(front: Front) -> None:
    head = ["POST /invocations HTTP/1.1", "Host: x", "Content-Length: 3", "Accept: " + "b" * 2000]
    for length in range(100, 8000, 500):
        if front.ask(*head, "Content-Type: image/jpeg", "X: " + "a" * length) == 200:
            assert len(front.passed.pop()) < 8192


def test_the_supervisor_hears_no_headers(front: Front, tmp_path: Path) -> None:
    seen = []
    control.serve_http(tmp_path / "control.sock", lambda *request: seen.append(request) or (200, {}))
    many = (f"X-{number}: a" for number in range(150))
    assert front.ask("GET /ping HTTP/1.1", "Host: x", *many, body=b"") == 200
    assert seen == [("GET", "/ping", b"")]


@pytest.mark.parametrize("path", ["/metrics?a=b", "/%6detrics", "/ping/../metrics", "//metrics", "http://x/metrics"])
def test_the_supervisor_hears_one_name_of_a_page(front: Front, tmp_path: Path, path: str) -> None:
    seen = []
    control.serve_http(tmp_path / "control.sock", lambda *request: seen.append(request) or (200, {}))
    assert front.ask(f"GET {path} HTTP/1.1", "Host: x", body=b"") == 200
    assert seen == [("GET", "/metrics", b"")]


def test_a_client_that_has_sent_all_may_end_its_side(front: Front, tmp_path: Path) -> None:
    control.serve_http(tmp_path / "control.sock", lambda *request: (200, {}))
    whole = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    for data in (whole, b"GET /ping HTTP/1.0\r\n\r\n"):
        assert front.raw(data, ends=True).startswith(b"HTTP/1.1 200 ")


def test_before_the_model_is_loaded_nothing_is_passed_on(front: Front, tmp_path: Path) -> None:
    (tmp_path / "models" / config.MODEL_NAME).unlink()
    lines = ("POST /invocations HTTP/1.1", "Host: x", "Content-Length: 3", "Connection: close", "", "abc")
    assert error(front.raw("\r\n".join(lines).encode())) == (503, NOT_READY)
    assert front.ask("GET /invocations HTTP/1.1", "Host: x", body=b"") == 405
    assert not front.passed


NOT_READY = "the model is not ready, or too many requests are waiting; try again"


def test_many_who_ask_for_metrics_do_not_keep_others_from_a_ping(front: Front, tmp_path: Path) -> None:
    go_on = threading.Event()

    def answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, str]]:
        if path == "/metrics":
            go_on.wait(60)
        return 200, {}

    control.serve_http(tmp_path / "control.sock", answer)
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(front.ask, "GET /metrics HTTP/1.1", "Host: x", body=b"") for _ in range(20)]
        done, under_way = wait(waiting, return_when=FIRST_COMPLETED)
        assert under_way and {each.result() for each in done} == {503}
        assert front.ask("GET /ping HTTP/1.1", "Host: x", body=b"") == 200
        go_on.set()
    assert sorted(each.result() for each in waiting) == [200, 200] + [503] * 18
