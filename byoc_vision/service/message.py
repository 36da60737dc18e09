"""A request and a reply as the services see them."""

import email.utils
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, Protocol
from urllib.parse import parse_qsl, unquote

from byoc_vision.contract.errors import UserError
from byoc_vision.local.store import ServiceError
from byoc_vision.requests import validation

#: Bytes that are read or written at a time.
CHUNK = 1 << 20

#: Bytes that are read at a time where nobody says how long the body is.
_SMALL = 1 << 16

#: The longest body that is read whole; S3's largest, a list of a thousand keys to delete, is smaller.
_WHOLE = 16 << 20


class Source(Protocol):
    """What a body is read from. At its end `trailers` has the headers that came after it."""

    trailers: dict[str, str]

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, at the body's end a part of it; return how many bytes came."""


def number(text: str) -> int | None:
    """Return the number that the text is, or None: for what has another form, and for more than any file has."""
    return int(text) if len(text) < 19 and text.isascii() and text.isdigit() else None


def is_coded(headers: Mapping[str, str]) -> bool:
    """Whether a body is coded `aws-chunked`."""
    named = "aws-chunked" in headers.get("content-encoding", "").replace(" ", "").split(",")
    return named or headers.get("x-amz-content-sha256", "").startswith("STREAMING-")


@dataclass(frozen=True)
class Call:
    """A request. `path` is as it was sent, still quoted; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Source
    id: str

    @property
    def parts(self) -> tuple[str, str]:
        """The path's first part and the rest, unquoted: S3's bucket and key."""
        bucket, _, key = self.path.removeprefix("/").partition("/")
        try:
            return unquote(bucket, errors="strict"), unquote(key, errors="strict")
        except UnicodeDecodeError:
            raise ServiceError("InvalidURI", "The path is not UTF-8.") from None

    def chunks(self) -> Iterator[memoryview]:
        """Yield the body in parts, each in the place of the one before."""
        buffer = memoryview(bytearray(max(1, min(CHUNK, self.length or _SMALL))))
        while came := self.body.readinto(buffer):
            yield buffer[:came]

    def whole(self) -> bytes:
        """Return the body; raise `ServiceError` where it is too long for that."""
        content = io.BytesIO()
        for part in self.chunks():
            content.write(part)
            if content.tell() > _WHOLE:
                raise ServiceError("RequestEntityTooLarge", f"The request is longer than {_WHOLE} bytes.")
        return content.getvalue()

    @property
    def length(self) -> int | None:
        """How long the content within the body is said to be."""
        return number(self.headers.get(f"{'x-amz-decoded-' if is_coded(self.headers) else ''}content-length", ""))

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object."""
        try:
            content = json.loads(self.whole() or b"{}")
        except (ValueError, RecursionError):
            raise ServiceError("SerializationException", "The request's body is not JSON.") from None
        if not isinstance(content, dict):
            raise ServiceError("SerializationException", "The request's body is not a JSON object.")
        return content

    def form(self) -> dict[str, str]:
        """Return the body as the fields of a form."""
        return dict(parse_qsl(self.whole().decode(errors="replace"), keep_blank_values=True))


class Reply:
    """An answer. Its body is `body` or, of a `file`, `length` bytes from `offset` on; without either it is not sent."""

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        file: BinaryIO | None = None,
        offset: int = 0,
        length: int | None = None,
    ) -> None:
        self.status, self.body, self.headers = status, body, dict(headers or {})
        self.file, self.offset = file, offset
        self.length = len(body) if length is None else length


@lru_cache(1 << 10)
def http_date(seconds: int) -> str:
    """Return the time as headers have it."""
    return email.utils.formatdate(seconds, usegmt=True)


#: Answers a request.
Service = Callable[[Call], Reply]


def checked(service: str, operation: str, call: Call, code: str) -> dict[str, Any]:
    """Return the JSON object that the operation is asked with; raise `ServiceError` of the code where it is wrong."""
    request = call.json()
    try:
        validation.check(operation, request, service)
    except UserError as error:
        raise ServiceError(code, f"1 validation error detected: {error}") from None
    return request


def json_reply(content: Mapping[str, Any], status: int = 200, **headers: str) -> Reply:
    """Return the content as the services that speak JSON give it."""
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/x-amz-json-1.1"} | headers)


def json_failure(error: ServiceError, status: int = 400) -> Reply:
    """Return the error as the services that speak JSON give it."""
    return json_reply({"__type": error.code, "message": str(error)}, status, **{"x-amzn-ErrorType": error.code})
