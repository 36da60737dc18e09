"""What one hostile client sends, as bytes, and how it goes about it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

JPEG, JSON, NPY = "image/jpeg", "application/json", "application/x-npy"

#: The longest body that an endpoint takes by default, in bytes.
LIMIT = 6 * 1024 * 1024

#: `kept`: over a connection that others have used and will use. `alone`: over one of its own. `left`: over one that is
#: closed, and `reset`: aborted, before an answer was read. `held`: never finished, and the connection is kept open.
Manner = Literal["kept", "alone", "left", "reset", "held"]


@dataclass(frozen=True)
class Request:
    """Bytes to send, how many answers are due, and how many more may come.

    None is due to bytes that may end before a request does, and to a client that goes.
    """

    data: bytes
    manner: Manner = "kept"
    answers: int = 1
    more: int = 0
    method: str = "POST"


def post(
    body: bytes,
    content_type: str | bytes | None = JPEG,
    headers: Mapping[str, str] | None = None,
    path: str = "/invocations",
) -> Request:
    """Return a well-formed POST of `body`."""
    lines = [f"POST {path} HTTP/1.1".encode(), b"Host: endpoint"]
    if content_type is not None:
        typed = content_type if isinstance(content_type, bytes) else content_type.encode("utf-8", "surrogatepass")
        lines.append(b"Content-Type: " + typed)
    lines += [f"{name}: {value}".encode() for name, value in (headers or {}).items()]
    lines.append(b"Content-Length: %d" % len(body))
    return Request(b"\r\n".join(lines) + b"\r\n\r\n" + body)


def head(*lines: str | bytes) -> bytes:
    """Return the lines of a request's head as they go over the wire, the empty one at its end included."""
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\r\n\r\n"


#: Fields of a head, and the shortest request that is answered.
HOST, TYPE = "Host: endpoint", f"Content-Type: {JPEG}"
PING = head("GET /ping HTTP/1.1", HOST)


def text(generator: random.Random, length: int, alphabet: Sequence[str]) -> str:
    """Return so many characters drawn from one `alphabet`."""
    return "".join(generator.choices(alphabet, k=length))
