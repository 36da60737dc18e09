"""The memory of this process and its container: how much is left, and that what tensors are freed from is kept."""

import ctypes
from contextlib import suppress
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")

#: Parameters of glibc's mallopt: blocks that are mapped one by one, and free memory that is given back.
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1


def available(cgroup: Path = CGROUP) -> int:
    """Return the bytes that may still be taken: those that the machine has left, or the container's limit leaves."""
    left = int(psutil.virtual_memory().available)
    for limit, used in (  # version 2 and version 1
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # there is none, or it is "max"
            left = min(left, int((cgroup / limit).read_text()) - int((cgroup / used).read_text()))
    return left


def keep_freed() -> None:
    """Make this process, and those that it forks, reuse freed memory: every step of a network needs as much again.

    glibc returns large blocks to the system when they are freed. It maps them anew, and the system clears every page,
    for each layer's output: half of the time that a small network takes on a CPU.
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
