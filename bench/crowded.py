"""Serving containers of little memory under the largest of what they admit."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException

from bench import load, pictures
from bench.attack import media
from bench.attack.request import LIMIT
from bench.containers import Endpoint, Server, chosen, container, limited, wait
from bench.results import BenchError, Table, Verdict, none

MEMORY = ("300m", "1g", "2g")

#: Clients that send a body of the longest size each, at once, and how often they do.
CLIENTS, TIMES = 150, 2

#: Of each of the largest pictures so many at once.
PICTURES = 8

#: Of each of `_few` so many are asked afterwards, one after the other.
AFTER = 20


@dataclass(frozen=True)
class Crowd:
    """What a container went through: statuses by what was sent, and those of other answers than before, afterwards.

    `ended` is the last line of a container that is no more, or never was; nobody could ask it afterwards.
    """

    answers: dict[str, Counter[str]]
    changed: dict[str, Counter[str]]
    kills: int
    ended: str = ""


def largest(server: Server, body: bytes, say: Callable[[str], None]) -> tuple[Table, list[Verdict]]:
    """Send the largest bodies and pictures, over all connections at once, to containers of each size."""
    crowds = {}
    for memory in MEMORY:
        say(f"{server.name}: {CLIENTS} connections with 6 MB each, and the largest pictures, in {memory}")
        crowds[memory] = _crowd(limited(server, memory), body)
    rows = [
        *([what, *(_counted(crowd.answers[what]) for crowd in crowds.values())] for what in _crowds(body)),
        ["processes killed by the kernel", *(str(crowd.kills) for crowd in crowds.values())],
        ["the container", *(crowd.ended or "goes on" for crowd in crowds.values())],
        *(
            [
                f"answered otherwise afterwards: {what}",
                *(("" if crowd.ended else _counted(crowd.changed[what]) or "0") for crowd in crowds.values()),
            ]
            for what in _few(body)
        ),
    ]
    kills, ended = sum(crowd.kills for crowd in crowds.values()), sum(bool(crowd.ended) for crowd in crowds.values())
    changed = sum(statuses.total() for crowd in crowds.values() for statuses in crowd.changed.values())
    return Table(f"{server.name}: little memory, and the largest of what is sent", ["", *MEMORY], rows), [
        none(f"{server.name}, processes killed by the kernel", kills),
        none(f"{server.name}, containers of {', '.join(MEMORY)} that did not start or ended", ended),
        none(f"{server.name}, answers that differ after the largest bodies and pictures", changed),
    ]


def _counted(statuses: Counter[str]) -> str:
    return ", ".join(f"{count} × {what}" for what, count in sorted(statuses.items()) if count)


def _crowds(body: bytes) -> dict[str, Sequence[bytes]]:
    """Return what is sent at once, by its name."""
    return {
        f"{CLIENTS} × 6 MB, no picture": [bytes(LIMIT)] * CLIENTS * TIMES,
        f"{CLIENTS} × 6 MB, a picture": [pictures.padded(body, LIMIT)] * CLIENTS * TIMES,
        f"{PICTURES} × 89 megapixels, grey PNG": [media.black(9_433, 9_433)] * PICTURES,
        f"{PICTURES} × 89 megapixels, RGB PNG": [media.black(9_433, 9_433, colour=2)] * PICTURES,
        f"{PICTURES} × 88 megapixels, progressive JPEG": [media.scans(9_380, 1)] * PICTURES,
        f"{PICTURES} × 16 megapixels, RGB PNG": [media.black(4_000, 4_000, colour=2)] * PICTURES,
    }


def _crowd(server: Server, body: bytes) -> Crowd:
    crowds = _crowds(body)
    answers: dict[str, Counter[str]] = {name: Counter() for name in crowds}
    with container(server) as running:
        try:
            wait(server, running, body)
            chosen(running)
            before = {name: load.ask(running.port, picture) for name, picture in _few(body).items()}
            for name, bodies in crowds.items():
                kills = running.kernel_kills
                answers[name] = Counter(str(status) for status, _ in _at_once(running, bodies, CLIENTS))
                answers[name]["process killed"] += running.kernel_kills - kills
            changed = {
                name: Counter(str(now[0]) for now in _at_once(running, [picture] * AFTER, 1) if now != before[name])
                for name, picture in _few(body).items()
            }
            return Crowd(answers, changed, running.kernel_kills)
        except (OSError, HTTPException, BenchError):
            return Crowd(answers, {name: Counter() for name in _few(body)}, 0, running.last_line)


def _few(body: bytes) -> dict[str, bytes]:
    """Return what is asked before and afterwards."""
    return {"a picture": body, "a picture of 6 MB": pictures.padded(body, LIMIT), "6 MB, no picture": bytes(LIMIT)}


def _at_once(running: Endpoint, bodies: Sequence[bytes], clients: int) -> list[tuple[int | str, bytes]]:
    """Send `bodies` from so many clients; return the answers. Where none came, the status is the exception's name."""

    def one(body: bytes) -> tuple[int | str, bytes]:
        try:
            return load.ask(running.port, body)
        except (OSError, HTTPException) as error:
            return type(error).__name__, b""

    with ThreadPoolExecutor(clients) as threads:
        return list(threads.map(one, bodies))
