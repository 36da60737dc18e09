"""The supervisor's two sockets: one where workers say how they do, one that answers `/ping` and `/models`."""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any

#: multi-model-server says that a model has loaded, or has not, at about the time its workers say so themselves.
_REPORT_SECONDS = 5


@dataclass(frozen=True)
class Failure:
    """Why a model could not be loaded: a sentence, and the trace where the sentence alone is not enough."""

    sentence: str
    trace: str = ""
    status: int = 400


class Workers:
    """The workers that are alive and have loaded and warmed up their model, as they report it themselves.

    A worker connects, sends one line of JSON and keeps the connection as long as it lives, so that the kernel tells of
    its death at once, however it came.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Condition()
        self._alive: Counter[str] = Counter()
        self._failures: dict[str, Failure] = {}
        self._descriptions: dict[str, str] = {}
        serve(path, self._handler())

    def alive(self, model: str) -> int:
        """Return how many workers of `model` can answer."""
        with self._lock:
            return self._alive[model]

    def wait_for_description(self, model: str) -> str:
        """Return what the workers of `model` say of it, once one of them is alive."""
        with self._lock:
            self._lock.wait_for(lambda: self._alive[model], timeout=_REPORT_SECONDS)
            return self._descriptions.get(model, "")

    def wait_for_failure(self, model: str) -> Failure | None:
        """Return why loading `model` failed, if one of its workers says so within a few seconds."""
        with self._lock:
            self._lock.wait_for(lambda: model in self._failures, timeout=_REPORT_SECONDS)
            return self._failures.pop(model, None)

    def _handler(self) -> type[StreamRequestHandler]:
        workers = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline()
                if not line:  # it was ended before it could say anything
                    return
                report = json.loads(line)
                model = report["model"]
                if "error" in report:
                    with workers._lock:
                        workers._failures[model] = Failure(report["error"], report["trace"])
                        workers._lock.notify_all()
                    return
                with workers._lock:
                    workers._descriptions[model] = report["description"]
                    workers._alive[model] += 1
                    workers._lock.notify_all()
                try:
                    self.rfile.read()
                finally:
                    with workers._lock:
                        workers._alive[model] -= 1

        return Handler


def serve_http(path: Path, answer: Callable[[str, str, bytes], tuple[int, dict[str, Any]]]) -> None:
    """Answer HTTP on the unix socket `path` with what `answer(method, path, body)` returns: a status and an object."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = answer(self.command, self.path, body)
            payload = json.dumps(content).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)

        # The names http.server looks for.
        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: /ping comes every few seconds."""

    serve(path, Handler)


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a peer that went away; all else is a fault of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def serve(path: Path, handler: type[StreamRequestHandler]) -> None:
    """Handle connections to the unix socket `path` in threads that end with the process."""
    threading.Thread(target=_Server(str(path), handler).serve_forever, daemon=True).start()
