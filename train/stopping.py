"""Turn SIGTERM (SageMaker stops the job) and Ctrl-C into an orderly end at the next safe place."""

import signal
from types import FrameType


class Stopped(Exception):  # noqa: N818 (no error: it was asked for)
    """The run was asked to stop and has saved what it had."""


class StopSignal:
    """Remembers that a stop was asked for; work calls `check` where it may be left off."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """From now on, SIGTERM and Ctrl-C only ask for a stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def check(self) -> None:
        """Raise `Stopped` when a stop was asked for."""
        if self.requested:
            raise Stopped

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def leave_signals_to_parent(worker: int) -> None:
    """Let a data-loader process ignore Ctrl-C, which the terminal sends it too: the parent decides when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
