"""The container's memory: how much there is, how it is divided, and what is in use."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from byoc_vision.contract import cgroup

MB = 1024 * 1024

#: Which process the kernel ends where memory is short, from -1000 to 1000: first one that loads a model, then one that
#: has requests, and only then the programs without which nothing is answered.
LOADING, SERVING = 1000, 500

#: Bodies from so many bytes on are medium, and large ones. (Powers of ten: nginx.conf can only count digits.)
MEDIUM_BODY, LARGE_BODY = 100_000, 1_000_000

#: What Java's heap and its buffers need without a request, what it takes besides, and what nginx and the supervisor
#: take; as seen, and a fifth more.
_HEAP, _DIRECT, _JAVA, _OTHERS = 32 * MB, 8 * MB, 48 * MB, 32 * MB

#: What the kernel takes for the container: page tables, sockets, and files that are just being read.
_KERNEL = 24 * MB


@dataclass(frozen=True)
class Memory:
    """The container's memory in bytes, divided, so that what is admitted fits.

    multi-model-server holds at most so many requests with small, with medium and with large bodies, each kind with a
    third of its room, so that no kind keeps out another. `workers_bytes` is for all workers together.
    """

    total: int
    heap_bytes: int
    direct_bytes: int
    small: int
    medium: int
    large: int
    workers_bytes: int

    @classmethod
    def divided(cls, total: int, max_request: int) -> "Memory":
        """Divide `total`: a 16th is for bodies, which Java has first in its buffers and then in its heap."""
        large = min(64, max(1, total // 48 // max_request))
        third = large * max_request
        heap, direct = _HEAP + 3 * third, _DIRECT + 3 * third
        at_nginx = third  # large ones wait in files, which may be memory
        rest = total - heap - direct - at_nginx - _JAVA - _OTHERS - _KERNEL
        return cls(total, heap, direct, third // MEDIUM_BODY, third // LARGE_BODY, large, max(0, rest))

    @property
    def requests(self) -> int:
        """Requests of any size."""
        return self.small + self.medium + self.large


def visible_memory(root: Path = cgroup.ROOT) -> int:
    """Return the bytes of memory this container may use: its limit, or else the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = cgroup.memory_limit(root)
    return machine if limit is None else min(machine, limit)


def own_memory(process: int | str = "self") -> int:
    """Return the bytes of memory that a process alone holds, without those of files; 0 when it has ended."""
    try:
        lines = (line.split() for line in Path(f"/proc/{process}/status").read_text().splitlines())
        return 1024 * next((int(line[1]) for line in lines if line[0] == "RssAnon:"), 0)
    except OSError:
        return 0


def may_be_killed(rank: int) -> None:
    """Tell the kernel to end this process before those of a lower rank, -1000 to 1000, where memory is short."""
    # Where the container was given a higher rank than that, only root could lower it.
    with contextlib.suppress(PermissionError):
        Path("/proc/self/oom_score_adj").write_text(str(rank), encoding="ascii")
