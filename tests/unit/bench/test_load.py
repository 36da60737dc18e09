"""The load generator against a server that answers as it is told."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench import load


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if body != b"bad" else 400)
        answer = b'{"predictions": [{"predicted_class": 3}]}' if body == b"ours" else b'{"predicted_class": 4}'
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_answers_are_counted_over_all_connections(port: int) -> None:
    found = load.drive(port, [b"ours", b"bad"], connections=2, seconds=0.3)
    assert len(found.latencies) > 0 and found.errors > 0
    assert 0 < found.percentile(0.5) <= found.percentile(0.99)
    assert found.failures == {"400": found.errors}


def test_other_bytes_than_the_right_ones_are_wrong_until_the_load_is_stopped(port: int) -> None:
    right, stop = load.ask(port, b"ours")[1], threading.Event()
    threading.Timer(0.3, stop.set).start()
    found = load.drive(port, [b"ours", b"theirs"], connections=2, right=right, stop=stop)
    assert len(found.latencies) > 0 and found.failures["wrong"] > 0
    assert found.errors == found.failures["wrong"]


def test_where_nobody_listens_requests_are_refused() -> None:
    found = load.drive(1, [b"ours"], connections=1, seconds=0.1)
    assert found.failures["refused"] == found.errors > 0


def test_the_class_is_read_from_either_kind_of_answer(port: int) -> None:
    assert load.predicted(port, b"ours") == 3
    assert load.predicted(port, b"theirs") == 4


def test_no_answer_is_no_class(port: int) -> None:
    assert load.predicted(port, b"bad") is None
    assert load.predicted(1, b"ours") is None
