"""What comes back: read byte by byte, and held against the contract for answers."""

import json
from dataclasses import dataclass
from io import BufferedReader

#: The status of an answer without one: whoever asks in no version of HTTP gets just a body, as in HTTP 0.9.
BARE = 9
#: Answers that are the server's own fault and yet right: not ready or too busy, too slow, no room.
EXCUSED = (503, 504, 507)


class LostError(Exception):
    """The connection ended where an answer was due."""


@dataclass(frozen=True)
class Answer:
    """One answer; `headers` by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def last(self) -> bool:
        """Whether the server closes the connection, which it may after any answer."""
        return self.headers.get("connection", "").lower() == "close"


def fault(answer: Answer, method: str = "POST") -> str | None:
    """Return what breaks the contract in `answer`: a success, or 4xx or an excused status with a sentence in JSON."""
    status = answer.status
    if status >= 500 and status not in EXCUSED:
        return "5xx"
    if 200 <= status < 300 or method == "HEAD":
        return None
    if status != BARE and not 400 <= status < 600:
        return "neither success nor error"
    try:
        content = json.loads(answer.body)
    except ValueError:
        return "not JSON"
    if status == BARE and isinstance(content, dict):
        return None
    if not isinstance(content, dict) or list(content) != ["error"] or not isinstance(content["error"], str):
        return "not {error: sentence}"
    sentence = content["error"]
    if len(sentence.splitlines()) != 1 or "Traceback" in sentence or "Exception" in sentence:
        return "not one sentence"
    if answer.headers.get("content-type", "").partition(";")[0] != "application/json":
        return "JSON under another type"
    return None


def read_answer(stream: BufferedReader, method: str = "POST") -> Answer:
    """Read one answer, 100 Continue left out; raises `LostError` where there is none."""
    line = stream.readline(65_537)
    if not line:
        raise LostError("closed")
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        return Answer(BARE, {}, line + stream.read())
    headers = {}
    while (line := stream.readline(65_537)) not in (b"\r\n", b"\n"):
        if not line:
            raise LostError("closed within the headers")
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    status = int(parts[1])
    if status == 100:
        return read_answer(stream, method)
    if method == "HEAD" or status in (204, 304):
        body = b""
    elif headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline(100), 16):
            body += stream.read(size)
            stream.readline(100)
        stream.readline(100)
    elif "content-length" in headers:
        body = stream.read(int(headers["content-length"]))
        if len(body) < int(headers["content-length"]):
            raise LostError("closed within the body")
    else:
        body = stream.read()
    return Answer(status, headers, body)
