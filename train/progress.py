"""Show how far long work has come: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Whether to draw bars. A job's entry says no: its log may be given a terminal, and is read as lines all the same.
bars = sys.stdout.isatty()


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield `items`; on a terminal redraw one line, elsewhere print a line every ten seconds."""
    begun = shown = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - shown < (0.1 if bars else 10):
            continue
        shown = now
        left = (now - begun) / done * (total - done)
        if bars:
            bar = "█" * (20 * done // total)
            print(f"\r{what} {bar:░<20} {100 * done // total} %, {left:.0f} s left \033[K", end="", flush=True)
        else:
            print(f"{what}: {100 * done // total} %, about {left:.0f} s left", flush=True)
    if bars:
        print("\r\033[K", end="", flush=True)
