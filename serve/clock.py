"""Since when a worker has worked on what it was handed, in memory that it shares with the supervisor.

A message at the begin and the end of each request would wake the supervisor twice, which costs more than 1 % of
the requests that two cores answer in a second.
"""

import fcntl
import mmap
import os
import struct
import time

_BYTES = struct.calcsize("d")


class Clock:
    """A worker's time at work, in both processes; made from the file that `shared_file` returned in one of them."""

    def __init__(self, file: int) -> None:
        memory = mmap.mmap(file, _BYTES)
        # What the model's own code forks must not end the time of the worker's request.
        memory.madvise(mmap.MADV_DONTFORK)
        self._began = memoryview(memory).cast("d")

    def begin(self) -> None:
        """Count from now on."""
        self._began[0] = time.monotonic()

    def end(self) -> None:
        """Count no more."""
        self._began[0] = 0.0

    @property
    def seconds(self) -> float:
        """Seconds that the worker has been at work, 0 when it is at rest."""
        began = self._began[0]
        return time.monotonic() - began if began else 0.0


def shared_file() -> int:
    """Return the descriptor of a new file for a `Clock`, which is in memory only."""
    file = os.memfd_create("clock", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(file, _BYTES)
    # Else a worker could shrink it, and the supervisor's next look at it would be a bus error.
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return file
