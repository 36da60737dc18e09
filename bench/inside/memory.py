"""Run a module and watch its memory: `python -m bench.inside.memory MODULE ARGUMENT…`.

Prints one line of JSON, last: a list of [seconds, MB of the largest process, number of processes], two a second.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

INTERVAL = 0.5


def main(command: list[str]) -> list[list[float]]:
    """Run the command and return the samples; exits as it does when it fails."""
    process = subprocess.Popen(command, stdout=sys.stderr)
    begun = time.monotonic()
    samples = []
    while process.poll() is None:
        sizes = [size for pid in _family(process.pid) if (size := _resident(pid))]
        if sizes:
            samples.append([round(time.monotonic() - begun, 1), round(max(sizes) / 1e6, 1), len(sizes)])
        time.sleep(INTERVAL)
    if process.returncode != 0:
        sys.exit(process.returncode)
    return samples


def _family(pid: int) -> list[int]:
    """Return the process, its children, theirs, and so on."""
    try:
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")]
    except OSError:
        return []
    return [pid, *(descendant for child in children for descendant in _family(child))]


def _resident(pid: int) -> int:
    """Return the bytes of the process that are in memory, mapped files among them."""
    pages = _words(Path(f"/proc/{pid}/statm"))
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # the process has ended
        return []


if __name__ == "__main__":
    print(json.dumps(main([sys.executable, "-m", *sys.argv[1:]])))
