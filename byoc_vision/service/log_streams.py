"""Log streams: the lines of a job or of an endpoint's containers as events, read from any place on.

A place in a stream is a number that grows with its lines, which come in the order of their times. So an answer costs
what is in it, not what was ever printed.
"""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from byoc_vision.local import logs
from byoc_vision.local.store import ServiceError

#: Bytes of a file that are read first, and at most, at a time: of many streams often only the first event is wanted.
_LEAST, _MOST = 1 << 13, 1 << 20


class Event(NamedTuple):
    """A line with its time in ms since 1970, its place, and the place after it.

    Without a message it says how far a search has come that found nothing there.
    """

    at: int
    place: int
    after: int
    message: str | None


class Pattern:
    """CloudWatch's filter pattern: terms, "phrases", -without and ?any of several. `every` are those that must be.

    Lines are compared as they lie in files: most are not wanted, and need not become text to see that.
    """

    def __init__(self, text: str) -> None:
        if re.match(r"\s*[\[{%]", text):
            reason = "The local engine's filterPattern has terms and phrases, but no fields and no regular expressions."
            raise ServiceError("InvalidParameterException", reason)
        terms = re.findall(r'([-?]?)(?:"([^"]*)"|(\S+))', text)
        self.every, self._some, self._none = (
            [(phrase or word).encode(errors="replace") for sign, phrase, word in terms if sign == wanted]
            for wanted in ("", "?", "-")
        )

    def matches(self, line: bytes) -> bool:
        """Whether the line is one that is looked for."""
        for term in self._none:
            if term in line:
                return False
        for term in self.every:
            if term not in line:
                return False
        return not self._some or any(term in line for term in self._some)


#: What any line matches.
EVERYTHING = Pattern("")


class Stream(Protocol):
    """What a log stream can be asked."""

    name: str

    def forward(self, place: int) -> Iterator[Event]:
        """Yield the events from the place on."""

    def search(self, place: int, pattern: Pattern) -> Iterator[Event]:
        """Yield the events from the place on that match the pattern, and now and then how far it has come."""

    def backward(self, place: int) -> Iterator[Event]:
        """Yield the events before the place, the last one first."""

    def find(self, at: float) -> int:
        """Return the place of the first event at the time, in ms, or later."""

    def check(self, place: int) -> None:
        """Raise `ServiceError` where no answer could have given the place."""


class FileStream:
    """A job's log file, or the lines in it that begin with `mark`, without it. A place is one in the file, in bytes."""

    def __init__(self, name: str, file: Path, mark: str = "") -> None:
        self.name, self._file, self._mark = name, file, mark.encode()

    def forward(self, place: int) -> Iterator[Event]:
        """See `Stream`."""
        return (event for event in self.search(place, EVERYTHING) if event.message is not None)

    def search(self, place: int, pattern: Pattern) -> Iterator[Event]:
        """See `Stream`."""
        needed, size = [self._mark, *pattern.every], _LEAST
        while block := self._read(place, size):
            lines = block[: block.rfind(b"\n") + 1]
            if not lines and len(block) < size:  # a line that is being written
                return
            event = None
            if all(text in lines for text in needed):
                for event in self._events(place, lines, pattern):
                    yield event
            last = lines.rfind(b"\n", 0, -1) + 1
            if lines and place + last != (event and event.place) and (at := _time(lines[last:])) is not None:
                yield Event(at, place + last, place + len(lines), None)
            place += len(lines)
            size = min(size * 4, _MOST) if lines else size * 4

    def backward(self, place: int) -> Iterator[Event]:
        """See `Stream`."""
        size = _LEAST
        while place:
            begin = max(0, place - size)
            block = self._read(begin, place - begin)
            cut = block.find(b"\n", 0, -1) + 1 if begin else 0
            if cut or not begin:
                yield from reversed(list(self._events(begin + cut, block[cut:])))
                place = begin + cut
            size = min(size * 4, _MOST) if cut else size * 4

    def find(self, at: float) -> int:
        """See `Stream`."""
        if at <= 0:
            return 0
        try:
            file = self._file.open("rb")
        except FileNotFoundError:
            return 0
        with file:
            low, high = 0, self._file.stat().st_size
            while low < high:
                middle = (low + high) // 2
                file.seek(max(0, middle - 1))
                if middle:
                    file.readline()
                while (line := file.readline()).endswith(b"\n") and (came := _time(line)) is None:
                    pass
                if line.endswith(b"\n") and came is not None and came < at:
                    low = file.tell()
                else:
                    high = middle
            return low

    def check(self, place: int) -> None:
        """See `Stream`."""
        if place and self._read(place - 1, 1) != b"\n":
            raise no_token()

    def _events(self, place: int, lines: bytes, pattern: Pattern = EVERYTHING) -> Iterator[Event]:
        for line in lines.split(b"\n")[:-1]:
            after = place + len(line) + 1
            text = line.partition(b" ")[2]
            mine = text.startswith(self._mark) and pattern.matches(text := text.removeprefix(self._mark))
            if mine and (at := _time(line)) is not None:
                yield Event(at, place, after, text.decode(errors="replace"))
            place = after

    def _read(self, place: int, size: int) -> bytes:
        try:
            with self._file.open("rb", buffering=0) as file:
                file.seek(place)
                return file.read(size)
        except FileNotFoundError:  # the job was deleted
            return b""


class ContainersStream:
    """What an endpoint's or a transform job's containers printed, of one variant where it is named.

    A place is a time in ns: from there on docker is asked.
    """

    def __init__(self, name: str, folder: Path, variant: str = "") -> None:
        self.name, self._folder, self._variant = name, folder, variant

    def forward(self, place: int) -> Iterator[Event]:
        """See `Stream`."""
        return self.search(place, EVERYTHING)

    def search(self, place: int, pattern: Pattern) -> Iterator[Event]:
        """See `Stream`."""
        for text, line in logs.Containers(self._folder, self._variant, _text(place - 1) if place else "").new_entries():
            if pattern.matches(line.encode(errors="replace")):
                came = _nanoseconds(text)
                yield Event(came // 10**6, came, came + 1, line)

    def backward(self, place: int) -> Iterator[Event]:
        """See `Stream`."""
        yield from reversed([event for event in self.forward(0) if event.place < place])

    def find(self, at: float) -> int:
        """See `Stream`."""
        return int(min(at * 10**6, time.time_ns()))

    def check(self, place: int) -> None:
        """See `Stream`."""
        if place > time.time_ns():
            raise no_token()


def no_token() -> ServiceError:
    """Return the error of a token that no answer had."""
    return ServiceError("InvalidParameterException", "The token is no token of a page; give the one that was answered.")


def milliseconds(text: str) -> int:
    """Return the time, as logs and status files have it, in ms since 1970."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _time(line: bytes) -> int | None:
    """Return the time at a line's beginning; None where there is none, since a disk was full when it was written."""
    try:
        return milliseconds(line.partition(b" ")[0].decode())
    except ValueError:
        return None


def _nanoseconds(text: str) -> int:
    """Return the time that docker writes, with nine digits after the second."""
    second = datetime.fromisoformat(f"{text[:19]}+00:00")
    return int(second.timestamp()) * 10**9 + int(text[20:].rstrip("Z").ljust(9, "0")[:9])


def _text(nanoseconds: int) -> str:
    second, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
