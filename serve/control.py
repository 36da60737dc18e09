"""Servers on unix sockets, each connection in a thread of its own: what the supervisor is reached through."""

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any

#: The type of the one text that is answered, of Prometheus' format.
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

#: A status, and an object that is sent as JSON, or a text as it is.
Answer = tuple[int, dict[str, Any] | str]


def serve_http(path: Path, answer: Callable[[str, str, bytes], Answer]) -> None:
    """Answer HTTP on the unix socket `path` with what `answer(method, path, body)` returns."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = answer(self.command, self.path, body)
            if isinstance(content, str):
                payload, content_type = content.encode(), _PROMETHEUS
            else:
                payload, content_type = json.dumps(content).encode() + b"\n", "application/json"
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)

        # The names http.server looks for.
        do_GET = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815

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
