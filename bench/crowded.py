"""Serving containers of little memory under the largest of what they admit."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException

from bench import load
from bench.attack import media
from bench.attack.request import LIMIT
from bench.containers import Endpoint, Server, container, limited, wait
from bench.results import BenchError, Table, Verdict, at_most

MEMORY = ("300m", "1g", "2g")

#: Clients that send a body of the longest size each, at once, and how often they do.
CLIENTS, TIMES = 150, 2

#: Of each of the largest pictures so many at once.
PICTURES = 8


@dataclass(frozen=True)
class Crowd:
    """What a container went through: answers by what was sent, and whether all is as before."""

    answers: dict[str, Counter[str]]
    kills: int
    ended: str
    changed: list[str]


def largest(server: Server, body: bytes, say: Callable[[str], None]) -> tuple[Table, list[Verdict]]:
    """Send the largest bodies and pictures, over all connections at once, to containers of each size."""
    found = {}
    for memory in MEMORY:
        say(f"{server.name}: {CLIENTS} connections with 6 MB each, and the largest pictures, in {memory}")
        found[memory] = _crowd(limited(server, memory), body)
    table = Table(
        f"{server.name}: little memory, the largest bodies and pictures",
        ["memory", *_crowds(body), "killed by the kernel", "container", "answered otherwise afterwards"],
        [
            [
                memory,
                *(
                    ", ".join(f"{n} × {what}" for what, n in sorted(each.answers[name].items()))
                    for name in _crowds(body)
                ),
                str(each.kills),
                each.ended or "goes on",
                ", ".join(each.changed) or "nothing",
            ]
            for memory, each in found.items()
        ],
    )
    kills = sum(each.kills + bool(each.ended) for each in found.values())
    changed = sum(len(each.changed) for each in found.values())
    return table, [
        at_most(f"{server.name}, processes killed by the kernel", kills, 0, "{:.0f}"),
        at_most(f"{server.name}, answered otherwise after the largest bodies", changed, 0, "{:.0f}"),
    ]


def _crowds(body: bytes) -> dict[str, Sequence[bytes]]:
    """Return what is sent at once, by its name."""
    return {
        f"{CLIENTS} × 6 MB, no picture": [bytes(LIMIT)] * CLIENTS * TIMES,
        f"{CLIENTS} × 6 MB, a picture": [_padded(body)] * CLIENTS * TIMES,
        f"{PICTURES} × 89 megapixels, grey PNG": [media.black(9_433, 9_433)] * PICTURES,
        f"{PICTURES} × 89 megapixels, RGB PNG": [media.black(9_433, 9_433, colour=2)] * PICTURES,
        f"{PICTURES} × 88 megapixels, progressive JPEG": [media.scans(9_380, 1)] * PICTURES,
        f"{PICTURES} × 16 megapixels, RGB PNG": [media.black(4_000, 4_000, colour=2)] * PICTURES,
    }


def _padded(body: bytes) -> bytes:
    """Return a JPEG of the longest size: what follows its end is not part of the picture."""
    return body.ljust(LIMIT, b"\0")


def _crowd(server: Server, body: bytes) -> Crowd:
    with container(server) as running:
        answers: dict[str, Counter[str]] = {name: Counter() for name in _crowds(body)}
        try:
            wait(server, running, body)
            before = _state(running, body)
            for name, bodies in _crowds(body).items():
                answers[name] = _at_once(running, bodies)
            time.sleep(1)  # until what waits for nobody is gone
            after = _state(running, body)
            changed = [f"{name}: {before[name]} → {after[name]}" for name in before if before[name] != after[name]]
            return Crowd(answers, running.kernel_kills, "", changed)
        except BenchError:
            return Crowd(answers, 0, f"ended: {running.last_line}", ["everything"])


def _state(running: Endpoint, body: bytes) -> dict[str, str]:
    """Return how a few good and large bodies are answered."""
    bodies = {"a picture": [body] * 20, "a picture of 6 MB": [_padded(body)] * 8, "6 MB": [bytes(LIMIT)] * 8}
    return {name: ", ".join(sorted(_at_once(running, each, clients=2, bytewise=True))) for name, each in bodies.items()}


def _at_once(
    running: Endpoint, bodies: Sequence[bytes], clients: int = CLIENTS, bytewise: bool = False
) -> Counter[str]:
    """Send each of `bodies` over a connection of its own, and count the answers, by status or all their bytes."""

    def one(body: bytes) -> str:
        try:
            status, answer = load.ask(running.port, body)
        except (OSError, HTTPException) as error:
            return type(error).__name__
        return f"{status} {answer!r}" if bytewise else str(status)

    with ThreadPoolExecutor(clients) as threads:
        return Counter(threads.map(one, bodies))
