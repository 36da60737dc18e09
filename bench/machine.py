"""What a measurement was made on, for whoever compares it with another."""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def same_program(**more: str) -> dict[str, str]:
    """Return the environment of a process that takes this copy of the program and the packages here, and no other."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])} | more


def about() -> dict[str, str]:
    """Return the machine, the commit and the date, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {
        "": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "GPU": gpu(),
        "commit": _commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    return {what: value for what, value in facts.items() if value}


def gpu() -> str:
    """Return the name of the first GPU that NVIDIA's driver shows, or nothing."""
    return (gpus() or [""])[0]


def gpus() -> list[str]:
    """Return the names of all GPUs that NVIDIA's driver shows."""
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    name = re.search(r"^model name\s*: (.*)", text, re.MULTILINE)
    wide = [flag for flag in ("avx512_vnni", "avx512_bf16", "amx_int8") if f" {flag}" in text]
    return (name[1] if name else platform.machine()) + (f" ({', '.join(wide)})" if wide else "")


def _commit() -> str:
    commit = _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    return commit + ("-dirty" if commit and _output("git", "-C", str(ROOT), "status", "--porcelain") else "")


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
