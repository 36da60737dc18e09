"""Bodies of requests, read from the connection as they come."""

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

from byoc_vision.local.store import ServiceError
from byoc_vision.service.message import CHUNK, Source, is_coded, number


class Body:
    """The body of a request, of a known length or in chunks."""

    def __init__(self, handler: BaseHTTPRequestHandler, headers: Mapping[str, str]) -> None:
        self._handler, self._file = handler, handler.rfile
        self._expected = headers.get("expect", "").lower() == "100-continue"
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = number(headers.get("content-length", "0"))
        self._broken = length is None
        self._left = 0 if self._chunked else length or 0
        self._over = not self._chunked and not self._left
        self.trailers: dict[str, str] = {}

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, at the body's end a part of it; return how many bytes came.

        Raises `ServiceError` where the body is broken and `ConnectionError` where the client has left.
        """
        if self._broken:
            raise ServiceError("InvalidArgument", "The header Content-Length is not a number.")
        if self._expected and not self._over:  # only now, so that what is refused need not be sent
            self._expected = False
            self._handler.send_response_only(HTTPStatus.CONTINUE)
            self._handler.end_headers()
            self._handler.wfile.flush()
        filled = 0
        while filled < len(buffer) and not self._over and (self._left or self._next_chunk()):
            came = self._file.readinto(buffer[filled : filled + self._left])
            if not came:
                raise ConnectionResetError
            filled += came
            self._left -= came
            if not self._left:
                if self._chunked:
                    self._file.readline(8)
                else:
                    self._over = True
        return filled

    def drain(self, limit: int) -> bool:
        """Read what is left, up to `limit` bytes; return whether that was all."""
        if self._over and not self._broken:
            return True
        if self._broken or (self._expected and not self._over):
            return False
        with suppress(ServiceError, OSError):
            buffer = memoryview(bytearray(CHUNK))
            while not self._over and limit > 0 and (came := self.readinto(buffer[:limit])):
                limit -= came
        return self._over

    def _next_chunk(self) -> bool:
        try:
            self._left = _size(self._file.readline(1024).partition(b";")[0].strip())
        except ServiceError:
            self._broken = True  # where the next chunk begins nobody knows
            raise
        if not self._left:
            self._over = True
            while self._file.readline(1024).strip():  # trailers
                pass
        return bool(self._left)


class AwsChunks:
    """What is within a body that is coded `aws-chunked`: signed chunks, with checksums after them."""

    def __init__(self, body: Source) -> None:
        self._body, self._left, self._over = body, 0, False
        self._byte = memoryview(bytearray(1))
        self.trailers: dict[str, str] = {}

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, at the content's end a part of it; return how many bytes came."""
        filled = 0
        while filled < len(buffer) and not self._over:
            if not self._left:
                self._left = _size(self._line().partition(b";")[0].strip())
            if not self._left:
                self._over = True
                while line := self._line():
                    name, _, value = line.decode("latin-1").partition(":")
                    self.trailers[name.strip().lower()] = value.strip()
                break
            came = self._body.readinto(buffer[filled : filled + self._left])
            if not came:
                raise ServiceError("IncompleteBody", "The body ends within a chunk.")
            filled += came
            self._left -= came
            if not self._left:
                self._line()
        return filled

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) < 1024 and self._body.readinto(self._byte):
            line += self._byte
        return line


def content(body: Body, headers: Mapping[str, str]) -> Source:
    """Return what is within the body."""
    return AwsChunks(body) if is_coded(headers) else body


def _size(text: bytes) -> int:
    try:
        size = int(text, 16)
    except ValueError:
        size = -1
    if size < 0:
        raise ServiceError("InvalidArgument", "The body's chunks are broken.")
    return size
