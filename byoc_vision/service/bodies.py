"""Bodies of requests, read from the connection as they come."""

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

from byoc_vision.local.store import ServiceError
from byoc_vision.service.message import CHUNK, Source


class Body:
    """The body of a request, of a known length or in chunks."""

    def __init__(self, handler: BaseHTTPRequestHandler, headers: Mapping[str, str]) -> None:
        self._handler, self._file = handler, handler.rfile
        self._expected = headers.get("expect", "").lower() == "100-continue"
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length", "0")
        self._broken = not (length.isascii() and length.isdigit())
        self._left = 0 if self._chunked or self._broken else int(length)
        self._over = not self._chunked and not self._left

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; nothing at the end.

        Raises `ServiceError` where it is broken and `ConnectionError` where the client has left.
        """
        if self._broken:
            raise ServiceError("InvalidArgument", "The header Content-Length is not a number.")
        if self._over:
            return b""
        if self._expected:  # only now, so that what is refused need not be sent
            self._expected = False
            self._handler.send_response_only(HTTPStatus.CONTINUE)
            self._handler.end_headers()
            self._handler.wfile.flush()
        if self._chunked and not self._left and not self._next_chunk():
            return b""
        part = self._file.read(min(size, self._left))
        if not part:
            raise ConnectionResetError
        self._left -= len(part)
        if not self._left:
            if self._chunked:
                self._file.readline(8)
            else:
                self._over = True
        return part

    def drain(self, limit: int) -> bool:
        """Read what is left, up to `limit` bytes; return whether that was all."""
        if self._broken or (self._expected and not self._over):
            return False
        with suppress(ServiceError, OSError):
            while limit > 0 and (part := self.read(min(limit, CHUNK))):
                limit -= len(part)
        return self._over

    def _next_chunk(self) -> bool:
        line = self._file.readline(1024).partition(b";")[0].strip()
        self._left = _size(line)
        if not self._left:
            self._over = True
            while self._file.readline(1024).strip():  # trailers
                pass
        return bool(self._left)


class AwsChunks:
    """What is within a body that is coded `aws-chunked`: signed chunks, with checksums after them."""

    def __init__(self, body: Source) -> None:
        self._body, self._left, self._over = body, 0, False

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; nothing at the end."""
        if not self._left and not self._over:
            self._left = _size(self._line().partition(b";")[0].strip())
            if not self._left:
                self._over = True
                while self._body.read(CHUNK):  # checksums
                    pass
        if self._over:
            return b""
        part = self._body.read(min(size, self._left))
        if not part:
            raise ServiceError("IncompleteBody", "The body ends within a chunk.")
        self._left -= len(part)
        if not self._left:
            self._line()
        return part

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) < 1024 and (byte := self._body.read(1)):
            line += byte
        return line


def content(body: Body, headers: Mapping[str, str]) -> Source:
    """Return what is within the body."""
    coded = "aws-chunked" in headers.get("content-encoding", "").replace(" ", "").split(",")
    return AwsChunks(body) if coded or headers.get("x-amz-content-sha256", "").startswith("STREAMING-") else body


def _size(text: bytes) -> int:
    try:
        size = int(text, 16)
    except ValueError:
        size = -1
    if size < 0:
        raise ServiceError("InvalidArgument", "The body's chunks are broken.")
    return size
