"""A program as the child of the container's first process: its output is passed on, its signals reach it, it ends."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from byoc_vision.contract.cgroup import kernel_kills
from train.stopping import Stopped, StopSignal

#: Seconds from SIGTERM to SIGKILL. SageMaker kills the container 120 seconds after its own SIGTERM; what is left is for
#: the report.
GRACE = 105

#: Bytes of stdout and stderr that are kept, for the reason of a failure; bytes that are read at a time.
_KEPT, _CHUNK = 65536, 65536

#: Seconds between two looks at whether a stop was asked for; for what is left of a program that has ended.
_TICK, _REST = 0.5, 2.0


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code, or minus the signal; the last of what it wrote to stdout and stderr; whether
    the kernel killed one of the container's processes for memory meanwhile.
    """

    code: int
    output: str
    errors: str
    out_of_memory: bool


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    stop: StopSignal,
    line: Callable[[str], None] = lambda _: None,
    whole_group: bool = False,
    grace: float = GRACE,
) -> Ended:
    """Run the command in `folder` to its end; `line` gets every line of its output, which is passed on as it is.

    When a stop is asked for, the program gets SIGTERM and, `grace` seconds later, it and all that it started SIGKILL.
    With `whole_group` what it started gets SIGTERM too and is waited for: a shell does not pass signals on. What a
    program leaves running is killed once it has ended. Raises `Stopped` where a stop was asked for before its start.
    """
    if stop.requested:
        raise Stopped
    killed = kernel_kills()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    child = _Child(process, line, whole_group, grace)
    try:
        while not child.ended():
            child.wait()
            if stop.requested:
                child.stop()
    finally:
        child.close()
    output, errors = (child.written[stream].decode(errors="replace") for stream in (1, 2))
    return Ended(process.returncode, output, errors, kernel_kills() > killed)


class _Child:
    """The running program with its pipes."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", line: Callable[[str], None], whole_group: bool, grace: float
    ) -> None:
        assert process.stdout and process.stderr
        self.written = {1: b"", 2: b""}
        self._process, self._line, self._whole_group, self._grace = process, line, whole_group, grace
        self._deadline: float | None = None  # of a stop
        self._begun = {1: b"", 2: b""}  # lines whose end has not been read
        self._ready = selectors.DefaultSelector()
        self._ready.register(process.stdout, selectors.EVENT_READ, 1)
        self._ready.register(process.stderr, selectors.EVENT_READ, 2)
        self._watch = os.pidfd_open(process.pid)
        self._ready.register(self._watch, selectors.EVENT_READ)

    def ended(self) -> bool:
        """Return whether the program has ended and, where a stop was asked of its whole group, all of that."""
        over = self._process.poll() is not None
        return over and not (self._whole_group and self._deadline and self._group_lives())

    def wait(self) -> None:
        """Pass on what is written until the program ends, or for a moment."""
        for key, _ in self._ready.select(_TICK):
            if key.data is None:
                self._ready.unregister(self._watch)
            else:
                self._pass_on(key)

    def stop(self) -> None:
        """Ask the program for its end, once; kill it when its grace is over."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace
            if self._whole_group:
                self._signal_group(signal.SIGTERM)
            else:
                self._process.send_signal(signal.SIGTERM)
        elif time.monotonic() > self._deadline:
            self._signal_group(signal.SIGKILL)

    def close(self) -> None:
        """Pass on what is left in the pipes and kill what the program has left running, which may hold them open."""
        until = time.monotonic() + _REST
        while time.monotonic() < until and (ready := self._ready.select(0)):
            for key, _ in ready:
                if key.data is None:
                    self._ready.unregister(self._watch)
                else:
                    self._pass_on(key)
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        until = time.monotonic() + _REST
        while self._group_lives() and time.monotonic() < until:
            time.sleep(0.01)
        for rest in self._begun.values():
            self._line(rest.decode(errors="replace"))
        self._ready.close()
        os.close(self._watch)
        assert self._process.stdout and self._process.stderr
        self._process.stdout.close()
        self._process.stderr.close()

    def _pass_on(self, key: selectors.SelectorKey) -> None:
        chunk = os.read(key.fd, _CHUNK)
        if not chunk:
            self._ready.unregister(key.fileobj)
            return
        stream = int(key.data)
        left = memoryview(chunk)
        while left:
            left = left[os.write(stream, left) :]
        self.written[stream] = (self.written[stream] + chunk)[-_KEPT:]
        *lines, rest = (self._begun[stream] + chunk.replace(b"\r", b"\n")).split(b"\n")  # a bar is drawn over itself
        for text in lines:
            self._line(text.decode(errors="replace"))
        self._begun[stream] = rest[-_CHUNK:]

    def _group_lives(self) -> bool:
        with suppress(ChildProcessError):  # Orphans are the first process's to reap.
            while os.waitpid(-self._process.pid, os.WNOHANG)[0]:
                pass
        return any(_is_running(file, self._process.pid) for file in Path("/proc").glob("[0-9]*/stat"))

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _is_running(stat: Path, group: int) -> bool:
    """Return whether the process whose /proc/PID/stat this is belongs to the group, and is more than a dead entry."""
    try:
        state, _, member_of = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
    except (OSError, ValueError):  # it has ended meanwhile
        return False
    return int(member_of) == group and state not in "ZX"
