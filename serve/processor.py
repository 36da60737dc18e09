"""Which processor this is: what decides the numeric form that it runs fastest."""

import os
from hashlib import sha256
from pathlib import Path

#: With these people mask instructions from the libraries that compute.
_MASKS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")

_CPUINFO = Path("/proc/cpuinfo")


def instructions() -> set[str]:
    """Return the instruction sets of this processor, by the names of Linux."""
    return set(_field("flags").split())


def name() -> str:
    """Return the processor's name and a digest of its instructions: a hypervisor may show fewer than it has."""
    masks = [f"{mask}={os.environ.get(mask, '')}" for mask in _MASKS]
    digest = sha256(" ".join([*sorted(instructions()), *masks]).encode()).hexdigest()[:16]
    return f"{_field('model name') or 'unknown processor'}, instructions {digest}"


def _field(wanted: str) -> str:
    lines = (line.partition(":") for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((value.strip() for field, _, value in lines if field.strip() == wanted), "")
