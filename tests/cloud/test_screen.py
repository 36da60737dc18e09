"""What the commands draw on a terminal, of any size."""

import io
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from byoc_vision.cli import screen
from byoc_vision.cli.trials import _Table


class Terminal(io.StringIO):
    """A terminal that wraps long lines, keeps what has left it, and knows the two codes that are used."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.width, self.height = width, height

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """All lines that were ever shown, as they are in the end."""
        lines, row = [""], 0
        for part in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+", self.getvalue()):
            if part == "\n":
                row += 1
            elif part in ("\x1b[J", "\x1b[K"):
                del lines[row:]
            elif part.startswith("\x1b"):  # up, but not to what has left the terminal
                row = max(row - int(part[2:-1]), len(lines) - self.height)
            elif part != "\r":
                pieces = [part[at : at + self.width] for at in range(0, len(part), self.width)]
                lines[row : row + len(pieces)] = pieces
                row += len(pieces) - 1
            lines += [""] * (row + 1 - len(lines))
        return lines[:-1]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], Terminal]:
    """Return a function that makes one of that width and height, which is stdout and stderr from then on."""

    def make(width: int, height: int) -> Terminal:
        shown = Terminal(width, height)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((width, height)))
        monkeypatch.setattr(sys, "stdout", shown)
        monkeypatch.setattr(sys, "stderr", shown)
        monkeypatch.setattr(screen, "_bottom", [])
        return shown

    return make


def trials(done: int, of: int) -> list[dict[str, Any]]:
    """Trials that end in turns, two at a time."""
    values = {"lr": "0.0123456789", "batch-size": "64", "arch": "a-network-of-a-long-name"}
    states = ["Completed"] * done + ["InProgress"] * 2
    return [{"TrainingJobStatus": state, "TunedHyperParameters": values} for state in states[:of]]


@pytest.mark.parametrize("size", [(200, 50), (80, 24), (40, 5), (20, 2)])
def test_the_trials_are_drawn_once_however_small_the_terminal(
    terminal: Callable[[int, int], Terminal], size: tuple[int, int]
) -> None:
    shown, table, count = terminal(*size), _Table(), 12
    screen.tell()
    for done in range(count + 1):
        table.show(trials(done, count))
        if done in (0, 5, count):
            logging.getLogger("byoc_vision").info("said after %d", done)
    text = "".join(shown.lines)
    assert re.findall(r" (\d+)  Completed", text) == [str(number) for number in range(1, count + 1)]
    assert "InProgress" not in text and [f"said after {done}" in text for done in (0, 5, count)] == [True] * 3
    assert text.count("a-network-of-a-long-name") == count  # what has ended is not cut


def test_progress_that_passes_stays_on_its_line(terminal: Callable[[int, int], Terminal]) -> None:
    shown = terminal(40, 5)
    screen.tell()
    logger = logging.getLogger("byoc_vision")
    for number in range(1, 4):
        logger.info("%s: %d/3 files", "a/long/path/of/pictures/" * 3, number, extra={"passing": True})
    assert shown.lines == [] and shown.getvalue().endswith("pictures/: 3/3 files")
    logger.info("done")
    assert shown.lines == ["done"]


def test_a_dumb_terminal_gets_plain_lines(
    terminal: Callable[[int, int], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, table = terminal(200, 24), _Table()
    monkeypatch.setenv("TERM", "dumb")
    for done in (0, 1, 1, 2):
        table.show(trials(done, 2))
    assert "\x1b" not in shown.getvalue() and len(shown.lines) == 4
