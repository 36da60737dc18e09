"""The page's server: files of the page, questions to the endpoint, pictures to keep. It answers on this machine only.

/TOKEN/              the page
/TOKEN/settings      GET: what the page must know, as JSON
/TOKEN/answers       POST a picture: the endpoint's answer, or an error that says why there is none
/TOKEN/kept?label=…  POST a picture: keep it with the label that is right

Endpoints are asked with the user's own credentials, so the token, which is new each time and known only to the page,
keeps out everybody else: other users of this machine, and other pages in the user's browser.
"""

import http.server
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from byoc_vision import http_server
from byoc_vision.contract.errors import UserError
from byoc_vision.demo.kept import Kept
from byoc_vision.pictures import MAX_BYTES, SUFFIXES, Picture
from byoc_vision.refusals import sentence

#: Path -> file of the page, and its type. The colours are the report's.
_HERE = Path(__file__).parent
_FILES = {
    "": (_HERE / "page.html", "text/html; charset=utf-8"),
    "page.js": (_HERE / "page.js", "text/javascript; charset=utf-8"),
    "page.css": (_HERE / "page.css", "text/css; charset=utf-8"),
    "report.css": (_HERE.parent / "debugger" / "report.css", "text/css; charset=utf-8"),
}

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

#: Bytes of a body that nobody wants which are read all the same: a browser that is still sending reads no answer.
_DRAINED = 64 << 20


@dataclass(frozen=True)
class Reply:
    """What is answered: JSON, unless it says another type."""

    content: bytes
    status: int = HTTPStatus.OK
    content_type: str = "application/json"


class Demo(http_server.Server):
    """Serves the page at `url` until `shutdown`.

    ask: returns the endpoint's answer about a picture; may raise `UserError`.
    endpoint, where: the endpoint's name, and where it is, in words.
    """

    def __init__(
        self, ask: Callable[[Picture], dict[str, Any]], endpoint: str, where: str, kept: Kept, port: int = 0
    ) -> None:
        self.ask, self.kept = ask, kept
        self.settings = {"endpoint": endpoint, "where": where, "folder": str(kept.folder)}
        self.token = secrets.token_urlsafe(16)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(f"port {port} cannot be listened on ({error.strerror}); give another --port") from None
        self.url = f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def answer(self, picture: Picture) -> dict[str, Any]:
        """Return the endpoint's `answer` about the picture or an `error`, and the `seconds` that it took."""
        begin = time.monotonic()
        try:
            said: dict[str, Any] = {"answer": self.ask(picture)}
        except Exception as error:
            if (reason := sentence(error)) is None:
                raise
            said = {"error": reason}
        return said | {"seconds": time.monotonic() - begin}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Demo
    timeout = 60

    def do_GET(self) -> None:
        """Send a file of the page, or the settings."""
        place = self._place()
        if place == "settings":
            labels = self.server.kept.labels()
            self._send(_json(self.server.settings | {"labels": labels}))
        elif place in _FILES:
            file, content_type = _FILES[place]
            self._send(Reply(file.read_bytes(), content_type=content_type))
        else:
            self._send(_refusal("there is no such page; use the address that was printed", HTTPStatus.NOT_FOUND))

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Ask about a picture, or keep it."""
        place = self._place()
        if place not in ("answers", "kept"):
            self.close_connection = True
            self._send(_refusal("there is no such page; use the address that was printed", HTTPStatus.NOT_FOUND))
            return
        try:
            content = self._body()
            if place == "answers":
                content_type = self.headers.get("Content-Type", "")
                known = content_type if content_type in SUFFIXES.values() else "application/x-image"
                reply = _json(self.server.answer(Picture("", content, known)))
            else:
                label = parse_qs(urlsplit(self.path).query, keep_blank_values=True).get("label", [""])[0]
                reply = _json({"file": str(self.server.kept.keep(content, label))})
        except UserError as error:
            reply = _refusal(str(error))
        self._send(reply)

    def _place(self) -> str | None:
        """Return what is asked for below the token; None without the token, and to who came by another host's name."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        parts = urlsplit(self.path).path.split("/", 2)
        if host not in ("127.0.0.1", "localhost") or len(parts) != 3:
            return None
        return parts[2] if secrets.compare_digest(parts[1].encode(), self.server.token.encode()) else None

    def _body(self) -> bytes:
        text = self.headers.get("Content-Length", "")
        size = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
        if 0 <= size <= MAX_BYTES:
            return self.rfile.read(size)
        self.close_connection = True
        left = min(size, _DRAINED)
        while left > 0 and (part := self.rfile.read(min(left, 1 << 16))):
            left -= len(part)
        if size < 0:
            raise UserError("the picture's length is not said; send Content-Length")
        raise UserError(f"it has {size / 2**20:.1f} MB and endpoints take 6; use a smaller picture")

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)

    def version_string(self) -> str:
        """Return the name in the header Server."""
        return "byoc-vision"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _json(content: dict[str, Any]) -> Reply:
    return Reply(json.dumps(content).encode())


def _refusal(reason: str, status: int = HTTPStatus.BAD_REQUEST) -> Reply:
    return Reply(json.dumps({"error": reason}).encode(), status)
