"""What a terminal shows: lines that are drawn over, and above them what the library does."""

import logging
import os
import shutil
import sys
from collections.abc import Iterable
from typing import TextIO

#: The last lines of stdout's terminal, which are drawn over.
_bottom: list[str] = []


def draws(stream: TextIO) -> bool:
    """Whether what the stream shows can be drawn over."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def draw(above: Iterable[str], bottom: Iterable[str]) -> None:
    """Draw the lines `bottom` in place of those of the last time, below the lines `above`, which stay.

    They are cut to what the terminal shows: nothing that wraps, or has left it, can be drawn over.
    """
    width, height = shutil.get_terminal_size()
    up = f"\033[{len(_bottom)}F\033[J" if _bottom else ""
    _bottom[:] = [line[: width - 1] for line in bottom][-max(1, height - 1) :]
    print(up, *(f"{line}\n" for line in (*above, *_bottom)), sep="", end="", flush=True)


def tell() -> None:
    """Print on stderr what the library does."""
    logger = logging.getLogger("byoc_vision")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [_Handler()]


class _Handler(logging.Handler):
    """Prints a line for each record; one that is `passing` is for terminals only, and the next is drawn over it."""

    def emit(self, record: logging.LogRecord) -> None:
        passing, terminal, said = getattr(record, "passing", False), draws(sys.stderr), record.getMessage()
        if passing and not terminal:
            return
        bottom = list(_bottom) if terminal else []
        if bottom:
            draw((), ())
        start, end = "\r\033[K" if terminal else "", "" if passing else "\n"
        if passing and len(said) > (most := shutil.get_terminal_size().columns - 1):
            said = f"…{said[len(said) - most + 1 :]}"  # its figures are at its end
        print(f"{start}{said}", end=end, file=sys.stderr, flush=True)
        if bottom:
            draw((), bottom)
