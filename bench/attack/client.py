"""Sends the mix, reads what comes back byte by byte, and judges each answer."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from io import BufferedReader

from bench.attack import Mix
from bench.attack.request import Request

#: Seconds that a hostile client waits for an answer: longer than the server's own limit for one.
PATIENCE = 90
#: Seconds that it waits for one that may never come.
IMPATIENCE = 1
#: The status of an answer without one: whoever asks in no version of HTTP gets just a body, as in HTTP 0.9.
BARE = 9
#: Connections that are held open at once.
HELD = 40

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


@dataclass
class Tally:
    """What became of hostile requests: how many of each kind got each status, and examples of what was wrong."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Count what `other` has counted too."""
        self.statuses += other.statuses
        self.faults += other.faults
        self.examples = other.examples | self.examples


def fault(answer: Answer, method: str = "POST") -> str | None:
    """Return what breaks the contract in `answer`: a success, or a status of the client's or an excused one with
    `{"error": "one sentence"}`."""
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
    if not isinstance(content, dict) or list(content) != ["error"] or not isinstance(content["error"], str):
        return "not {error: sentence}"
    sentence = content["error"]
    if not sentence.strip() or not sentence.isprintable() or "Traceback" in sentence or "Exception" in sentence:
        return "not one sentence"
    if status != BARE and answer.headers.get("content-type", "").partition(";")[0] != "application/json":
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


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.stream = self.socket.makefile("rb")

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        # A server that has refused a request may close before it is sent whole, and its answer is there all the same.
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)


class Client:
    """One hostile client: what it sends, one request after the other, and the connections it keeps."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: _Connection | None = None
        self._held: deque[_Connection] = deque()

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._held, *([self._kept] if self._kept else [])):
            connection.close()

    def send(self, request: Request, held: int) -> list[Answer]:
        """Send a request and return its answers, holding at most `held` connections open.

        Raises `LostError`, `ValueError` or `OSError` where an answer is due and none comes.
        """
        if request.manner == "kept":
            return [self._over_kept(request)]
        connection = _Connection(self._port)
        if request.manner == "held":
            connection.send(request.data)
            self._held.append(connection)
            if len(self._held) > held:
                self._held.popleft().close()
            return []
        try:
            connection.send(request.data)
            return self._alone(request, connection)
        finally:
            connection.close()

    def _over_kept(self, request: Request) -> Answer:
        connection = self._kept or _Connection(self._port)
        self._kept = None
        try:
            connection.send(request.data)
            answer = read_answer(connection.stream, request.method)
        except (OSError, ValueError, LostError):
            connection.close()
            raise
        if answer.last:
            connection.close()
        else:
            self._kept = connection
        return answer

    @staticmethod
    def _alone(request: Request, connection: _Connection) -> list[Answer]:
        if request.manner == "reset":
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if request.manner in ("left", "reset"):
            return []
        answers: list[Answer] = []
        while len(answers) < request.answers and not (answers and answers[-1].last):
            answers.append(read_answer(connection.stream, request.method))
        connection.socket.settimeout(IMPATIENCE)
        with contextlib.suppress(OSError, ValueError, LostError):
            answers += (read_answer(connection.stream, request.method) for _ in range(request.more))
        return answers


def send(port: int, mix: Mix, first: int, last: int, clients: int) -> Tally:
    """Send the requests `first` to `last` (not included) of `mix` from so many clients at once."""
    tally, lock, numbers = Tally(), threading.Lock(), iter(range(first, last))

    def run() -> None:
        client = Client(port)
        while (number := next(numbers, None)) is not None:
            kind, request = mix.request(number)
            found = attempt(client, kind, request, number, HELD // clients)
            with lock:
                tally.add(found)
        client.close()

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def attempt(client: Client, kind: str, request: Request, number: int, held: int) -> Tally:
    """Send one request and judge what comes back."""
    tally, begun = Tally(), time.monotonic()
    try:
        answers = client.send(request, held)
    except (OSError, ValueError, LostError) as error:
        words = "no answer in time" if isinstance(error, TimeoutError) else "no answer"
        tally.statuses[kind, words] += 1
        tally.faults[kind, words] += 1
        tally.examples[f"{kind}: {words}"] = f"request {number}: {type(error).__name__} {error}"
        return tally
    for answer in answers:
        tally.statuses[kind, str(answer.status)] += 1
        if wrong := fault(answer, request.method):
            tally.faults[kind, wrong] += 1
            seconds = time.monotonic() - begun
            tally.examples[f"{kind}: {wrong}"] = (
                f"request {number}: {answer.status} {answer.body[:200]!r} ({seconds:.1f} s)"
            )
    if not answers:
        tally.statuses[kind, "none due"] += 1
    return tally
