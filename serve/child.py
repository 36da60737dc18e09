"""Programs that the supervisor starts and waits for, beside those that it watches; and how processes have ended."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Of the flags of a process: it is ending, or has ended and nobody has waited for it yet.
_EXITING = 0x4


def run(
    command: Sequence[str], seconds: float, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> tuple[list[str], int]:
    """Run a program in `folder`, with more `variables`; return the lines that it printed, and its exit status.

    Raises `TimeoutError` where it takes longer, when it is killed with all that it has started.
    """
    program = subprocess.Popen(
        # The supervisor waits for all of its children, so the status of this one is told by its last line.
        ["sh", "-c", '"$@" 2>&1; echo "$?"', "sh", *command],
        cwd=folder,
        env={**os.environ, **(variables or {})},
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        raise TimeoutError(f"it took over {seconds:g} s") from None
    *lines, status = output.splitlines() or ["1"]
    return lines, int(status)


def meaning(status: int) -> str:
    """Return what a status of `os.waitpid` says."""
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def ending(pid: int) -> str:
    """Return how a process has ended that is another's child, in brackets; nothing where the kernel does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The name, in brackets, may hold anything. See proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        if int(fields[6]) & _EXITING:
            return f" ({meaning(int(fields[49]))})"
    return ""
