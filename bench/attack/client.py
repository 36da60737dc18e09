"""Sends the mix, and counts what becomes of it."""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.attack import Mix
from bench.attack.answers import Answer, LostError, fault, read_answer
from bench.attack.request import Request

#: Seconds that a hostile client waits for an answer: longer than the server's own limit for one.
PATIENCE = 90
#: Seconds that it waits for one that may never come.
IMPATIENCE = 0.3
#: Connections that are held open at once, which at some hundred requests a second lets them be older than any limit.
HELD = 200
#: Seconds between two tellings of how it goes.
INTERVAL = 5


@dataclass
class Tally:
    """What became of hostile requests: how many of each kind got each status, and examples of what was wrong."""

    sent: int = 0
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Count what `other` has counted too."""
        self.sent += other.sent
        self.statuses += other.statuses
        self.faults += other.faults
        self.examples = other.examples | self.examples


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
            return self._oldest(request) if len(self._held) > held else []
        try:
            connection.send(request.data)
            return self._alone(request, connection)
        finally:
            connection.close()

    def _oldest(self, request: Request) -> list[Answer]:
        """Return what the longest held connection was told, which is closed."""
        oldest = self._held.popleft()
        oldest.socket.settimeout(0.001)
        try:
            return [read_answer(oldest.stream, request.method)]
        except (OSError, LostError):
            return []
        finally:
            oldest.close()

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


def send(port: int, mix: Mix, requests: int, clients: int, tell: Callable[[Tally], None]) -> None:
    """Send so many requests of `mix` from so many clients at once.

    `tell` is given what has become of them since it was last called, every few seconds and at the end.
    """
    tally, lock, numbers = Tally(), threading.Lock(), iter(range(requests))

    def run() -> None:
        client = Client(port)
        while (number := next(numbers, None)) is not None:
            kind, request = mix.request(number)
            tried = attempt(client, kind, request, number, HELD // clients)
            with lock:
                tally.add(tried)
        client.close()

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(INTERVAL)
            with lock:
                part, tally = tally, Tally()
            tell(part)


def attempt(client: Client, kind: str, request: Request, number: int, held: int) -> Tally:
    """Send one request and judge what comes back."""
    tally, begun = Tally(sent=1), time.monotonic()
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
