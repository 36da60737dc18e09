"""The memory of this process and its container: how much is left, and that what tensors are freed from is kept."""

import ctypes
from contextlib import suppress
from pathlib import Path

import psutil

from byoc_vision.contract import cgroup

#: Parameters of glibc's mallopt: blocks that are mapped one by one, and free memory that is given back.
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1


def available(root: Path = cgroup.ROOT) -> int:
    """Return the bytes that may still be taken: those that the machine has left, or the container's limit leaves."""
    left = int(psutil.virtual_memory().available)
    limit, used = cgroup.memory_limit(root), cgroup.memory_used(root)
    return left if limit is None or used is None else min(left, limit - used)


def keep_freed() -> None:
    """Make this process, and those that it forks, reuse freed memory: every step of a network needs as much again.

    glibc returns large blocks to the system when they are freed. It maps them anew, and the system clears every page,
    for each layer's output: half of the time that a small network takes on a CPU.
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
