"""What the container was told (environment) and what it was given (cores, memory, GPUs), read once at start."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from classifier.errors import UserError

MB = 1024 * 1024

#: SageMaker's own limit for a real-time request.
DEFAULT_PAYLOAD_MB = 6

#: Bodies of so many bytes are admitted before they are read, as there is room for them. A power of ten: nginx.conf can
#: only count digits.
LARGE_BODY = 1_000_000

#: What Java takes besides its heap and buffers; what nginx and the supervisor take; with less, one more worker is none.
_JAVA, _OTHERS, _WORKER = 96 * MB, 64 * MB, 256 * MB

#: What `BYOC_PRECISION` may be, with the numeric forms too coarse for it. Of the others the fastest is chosen.
PRECISIONS = {"fastest": (), "bfloat16": ("int8",), "float32": ("int8", "bfloat16", "float16")}

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Settings:
    """Sizes in bytes, times in seconds."""

    port: int
    model_dir: Path
    multi_model: bool
    gpus: int
    workers: int
    threads: int
    batch_size: int
    max_request_bytes: int
    memory: "Memory"
    invocation_timeout: int
    startup_timeout: int
    precision: str
    jvm_options: tuple[str, ...]

    @property
    def worker_bytes(self) -> int:
        """The memory of a worker. Of many models nobody knows how many will be there: what a request may take."""
        return self.memory.workers_bytes // (4 if self.multi_model else self.workers)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read SageMaker's variables from `environ`; raises `UserError` naming one that is not usable."""
        base = Path(environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
        multi_model = environ.get("SAGEMAKER_MULTI_MODEL", "false").lower() == "true"
        cores, gpus = visible_cores(), visible_gpus()
        max_request = _number(environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB", DEFAULT_PAYLOAD_MB) * MB
        memory = Memory.divided(visible_memory(), max_request)
        # One process a core (or a GPU) and no more threads than cores: more of either only fight for the same cores.
        # Of many models few are busy at a time, so each gets one process and all cores.
        fitting = 1 if multi_model else gpus or max(1, min(cores, memory.workers_bytes // _WORKER))
        workers = _number(environ, "SAGEMAKER_MODEL_SERVER_WORKERS", fitting)
        timeout = _number(environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT", 60)
        return cls(
            port=_number(environ, "SAGEMAKER_BIND_TO_PORT", 8080),
            model_dir=base / ("models" if multi_model else "model"),
            multi_model=multi_model,
            gpus=gpus,
            workers=workers,
            threads=max(1, cores // workers),
            # A GPU takes hardly longer for many pictures than for one, a core so many times as long.
            batch_size=_number(environ, "SAGEMAKER_MODEL_SERVER_BATCH_SIZE", 16 if gpus else 1),
            max_request_bytes=max_request,
            memory=memory,
            invocation_timeout=_number(environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", timeout),
            startup_timeout=_number(environ, "SAGEMAKER_STARTUP_TIMEOUT", 600),
            precision=_one_of(environ, "BYOC_PRECISION", tuple(PRECISIONS)),
            jvm_options=tuple(shlex.split(environ.get("SAGEMAKER_MODEL_SERVER_VMARGS", ""))),
        )


@dataclass(frozen=True)
class Memory:
    """The container's memory in bytes, divided, so that what is admitted fits.

    Of bodies from `LARGE_BODY` on, `large_bodies` may be there at once, from their first byte; multi-model-server may
    hold `requests` of any size. `workers_bytes` is for all workers together.
    """

    total: int
    heap_bytes: int
    direct_bytes: int
    large_bodies: int
    requests: int
    workers_bytes: int

    @classmethod
    def divided(cls, total: int, max_request: int) -> "Memory":
        """Divide `total`: a 32nd is for bodies, which Java has in its heap and in buffers, up to twice."""
        bodies = min(64, max(2, total // 32 // max_request))
        room = 2 * bodies * max_request
        heap, direct = 64 * MB + room, 32 * MB + room
        rest = total - heap - direct - room // 2 - _JAVA - _OTHERS
        return cls(total, heap, direct, bodies, bodies + room // 2 // LARGE_BODY, max(0, rest))


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UserError(f"{name} is {text!r}; set it to a whole number from 1 up, or leave it out")
    return int(text)


def _one_of(environ: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    text = environ.get(name, values[0])
    if text not in values:
        raise UserError(f"{name} is {text!r}; set it to one of {', '.join(values)}, or leave it out")
    return text


def visible_cores(cgroup: Path = CGROUP) -> int:
    """Return how many cores this container may use at once: its CPU set, cut to its quota."""
    cores = len(os.sched_getaffinity(0))
    quota = _read(cgroup / "cpu.max").split()  # version 2: "200000 100000" or "max 100000"
    if not quota:
        quota = [_read(cgroup / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    if quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def visible_memory(cgroup: Path = CGROUP) -> int:
    """Return the bytes of memory this container may use: its limit, or else the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read(cgroup / "memory.max") or _read(cgroup / "memory" / "memory.limit_in_bytes")
    return min(machine, int(limit)) if limit.isdigit() else machine


def used_memory(cgroup: Path = CGROUP) -> int:
    """Return the bytes of memory in use that the kernel cannot take back by forgetting files."""
    used = _read(cgroup / "memory.current") or _read(cgroup / "memory" / "memory.usage_in_bytes")
    statistics = _read(cgroup / "memory.stat") or _read(cgroup / "memory" / "memory.stat")
    return int(used or 0) - _field(statistics, "inactive_file") - _field(statistics, "active_file")


def kernel_kills(cgroup: Path = CGROUP) -> int:
    """Return how many processes of this container the kernel has killed because its memory was used up."""
    return _field(_read(cgroup / "memory.events") or _read(cgroup / "memory" / "memory.oom_control"), "oom_kill")


def visible_gpus() -> int:
    """Return the number of GPUs the driver shows; multi-model-server asks the same program, and deals them out."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return len(listing.stdout.splitlines()) if listing.returncode == 0 else 0


def _field(text: str, name: str) -> int:
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(name + " ")), 0)


def _read(file: Path) -> str:
    return file.read_text().strip() if file.is_file() else ""
