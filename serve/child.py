"""Programs that the supervisor starts and waits for, beside those that it watches."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


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
