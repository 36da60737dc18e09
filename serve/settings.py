"""What the container was told (environment) and what it was given (cores, memory, GPUs), read once at start."""

import math
import os
import resource
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from byoc_vision.contract import cgroup
from byoc_vision.contract.errors import UserError
from serve.memory import MB, Memory, visible_memory

#: SageMaker's own limit for a real-time request.
DEFAULT_PAYLOAD_MB = 6

#: Seconds, at most, of whatever may take time.
_DAY = 86_400

#: With less memory, another worker is not worth its core.
_LEAST_WORKER = 256 * MB

#: Processes and threads: those of nginx, Java and the supervisor; those of a worker besides its threads that compute.
_OTHER_THREADS, _WORKER_THREADS = 56, 4

#: Connections that nginx has at once, at most, and files that a program may need besides.
_CONNECTIONS, OTHER_FILES = 2048, 192

#: Cells of a heat map's side, at most: the runs of the network grow with their square.
_MOST_CELLS = 16

#: What `BYOC_PRECISION` may be, with the numeric forms too coarse for it. Of the others the fastest is chosen.
PRECISIONS = {"fastest": (), "bfloat16": ("int8",), "float32": ("int8", "bfloat16", "float16")}


@dataclass(frozen=True)
class Settings:
    """Sizes in bytes, times in seconds."""

    port: int
    model_dir: Path
    multi_model: bool
    gpus: int
    connections: int
    workers: int
    threads: int
    batch_size: int
    max_request_bytes: int
    memory: Memory
    invocation_timeout: int
    startup_timeout: int
    precision: str
    min_probability: float
    heat_map_cells: int
    jvm_options: tuple[str, ...]

    @property
    def worker_bytes(self) -> int:
        """The memory a worker may take with its model."""
        return self.memory.workers_bytes // self.workers

    @property
    def patience(self) -> int:
        """How long nginx waits for an answer: the supervisor ends a worker that takes too long before."""
        return self.invocation_timeout + 5

    @property
    def request_bytes(self) -> int:
        """The memory that is kept for requests where there are many models, nobody knows how many."""
        return self.memory.workers_bytes // 4

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read SageMaker's variables from `environ`; raises `UserError` naming one that is not usable."""
        base = Path(environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
        multi_model = _one_of(environ, "SAGEMAKER_MULTI_MODEL", ("false", "true")) == "true"
        cores, gpus = visible_cores(), visible_gpus()
        max_request = (
            _number(environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB", min(DEFAULT_PAYLOAD_MB, _most_mb()), _most_mb()) * MB
        )
        memory = Memory.divided(visible_memory(), max_request)
        # One process a core (or a GPU) and no more threads than cores: more of either only fight for the same cores.
        # Of many models few are busy at a time, so each gets one process and all cores.
        fitting = 1 if multi_model else gpus or max(1, min(cores, memory.workers_bytes // _LEAST_WORKER))
        workers = _number(environ, "SAGEMAKER_MODEL_SERVER_WORKERS", fitting, 1024)
        threads = max(1, cores // workers)
        _check_threads(_OTHER_THREADS + workers * (_WORKER_THREADS + threads))
        timeout = _number(environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT", 60, _DAY)
        return cls(
            port=_number(environ, "SAGEMAKER_BIND_TO_PORT", 8080, 65535),
            model_dir=base / ("models" if multi_model else "model"),
            multi_model=multi_model,
            gpus=gpus,
            connections=_connections(),
            workers=workers,
            threads=threads,
            # A GPU takes hardly longer for many pictures than for one, a core so many times as long.
            batch_size=_number(environ, "SAGEMAKER_MODEL_SERVER_BATCH_SIZE", 16 if gpus else 1, 1024),
            max_request_bytes=max_request,
            memory=memory,
            invocation_timeout=_number(environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", timeout, _DAY),
            startup_timeout=_number(environ, "SAGEMAKER_STARTUP_TIMEOUT", 600, _DAY),
            precision=_one_of(environ, "BYOC_PRECISION", tuple(PRECISIONS)),
            min_probability=min_probability(environ),
            heat_map_cells=heat_map_cells(environ),
            jvm_options=_words(environ, "SAGEMAKER_MODEL_SERVER_VMARGS"),
        )


def min_probability(environ: Mapping[str, str]) -> float:
    """Return the probability below which an answer is unsure; raises `UserError` where that is none."""
    text = environ.get("BYOC_MIN_PROBABILITY", "0")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UserError(f"BYOC_MIN_PROBABILITY is {text[:100]!r}; set it to a number from 0 to 1, or leave it out")
    return value


def heat_map_cells(environ: Mapping[str, str]) -> int:
    """Return the cells of a heat map's side, 0 where none are made; raises `UserError` where that is no such number."""
    return _number(environ, "BYOC_HEAT_MAPS", 0, _MOST_CELLS, least=0)


def _most_mb() -> int:
    """Return the megabytes of a request for which there is room, in Java's memory several times."""
    return max(1, visible_memory() // 16 // MB)


def _number(environ: Mapping[str, str], name: str, default: int, most: int, least: int = 1) -> int:
    text = environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
        raise UserError(f"{name} is {text[:100]!r}; set it to a whole number from {least} to {most}, or leave it out")
    return int(text)


def _one_of(environ: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    text = environ.get(name, values[0])
    if text.lower() not in values:
        raise UserError(f"{name} is {text[:100]!r}; set it to one of {', '.join(values)}, or leave it out")
    return text.lower()


def _words(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    text = environ.get(name, "")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UserError(f"{name} is {text[:100]!r}; set it as a shell would read it, or leave it out") from error


def _check_threads(needed: int) -> None:
    limit = visible_threads()
    if limit < needed:
        raise UserError(
            f"the container may have {limit} processes and threads, and needs {needed}; start it with a higher "
            "--pids-limit and --ulimit nproc, or with fewer workers (SAGEMAKER_MODEL_SERVER_WORKERS)"
        )


def _connections() -> int:
    """Return how many connections there may be; each is a file. Raises `UserError` where those are too few."""
    files = visible_files()
    if files < 2 * OTHER_FILES:
        raise UserError(
            f"a process may have {files} files, and needs {2 * OTHER_FILES}; start the container with a higher "
            "--ulimit nofile"
        )
    return int(min(_CONNECTIONS, files - OTHER_FILES))


def visible_files() -> float:
    """Return how many files a process may have open once it has asked for all it may, infinity where nothing limits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if most == resource.RLIM_INFINITY else most


def visible_threads(root: Path = cgroup.ROOT) -> float:
    """Return how many processes and threads this container may have, infinity where nothing limits them."""
    limit = cgroup.number(root, "pids.max", "pids/pids.max")
    of_user, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return min(math.inf if limit is None else limit, math.inf if of_user == resource.RLIM_INFINITY else of_user)


def visible_cores(root: Path = cgroup.ROOT) -> int:
    """Return how many cores this container may use at once: its CPU set, cut to its quota."""
    cores = len(os.sched_getaffinity(0))
    quota = cgroup.read(root, "cpu.max").split()  # version 2: "200000 100000" or "max 100000"
    if not quota:
        quota = [cgroup.read(root, f"cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
    if quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def visible_gpus() -> int:
    """Return the number of GPUs the driver shows; multi-model-server asks the same program, and deals them out."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return len(listing.stdout.splitlines()) if listing.returncode == 0 else 0
