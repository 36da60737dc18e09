"""What the kernel says of this container: the files of its control group, of version 2 or else of version 1."""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def read(root: Path, *files: str) -> str:
    """Return what is in the first of `files` that is there, nothing where none is."""
    for file in files:
        try:
            return (root / file).read_text().strip()
        except OSError:
            continue
    return ""


def number(root: Path, *files: str) -> int | None:
    """Return the number in the first of `files` that is there; None where none is, or it is "max"."""
    content = read(root, *files)
    return int(content) if content.isdigit() else None


def memory_limit(root: Path = ROOT) -> int | None:
    """Return the bytes of memory that the container may use; None where nothing limits it."""
    return number(root, "memory.max", "memory/memory.limit_in_bytes")


def memory_used(root: Path = ROOT) -> int | None:
    """Return the bytes of memory that the container uses; None where nobody counts them."""
    return number(root, "memory.current", "memory/memory.usage_in_bytes")


def kernel_kills(root: Path = ROOT) -> int:
    """Return how many processes of the container the kernel has killed because its memory was used up."""
    counts = dict(line.split() for line in read(root, "memory.events", "memory/memory.oom_control").splitlines())
    return int(counts.get("oom_kill", 0))
