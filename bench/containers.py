"""Containers of the serving images: started, asked, looked into, and gone afterwards."""

import json
import re
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import load, places
from bench.results import BenchError, Kind

#: The longest wait for an endpoint's first answer, in seconds.
PATIENCE = 180.0

#: What a process of the container is, by words of its command line; workers are children of what starts them.
_ROLES = {
    "nginx: master": "nginx master",
    "nginx: worker": "nginx worker",
    "com.amazonaws.ml.mms.ModelServer": "multi-model-server (Java)",
    "model_service_worker.py": "starter of workers",
    "-m serve": "supervisor (PID 1)",
}
_CHOSEN = re.compile(r"chose ([\w ]+)")

STARTER, WORKER, SUPERVISOR = "starter of workers", "worker", "supervisor (PID 1)"

#: Prints what /proc says of each process. Runs inside the container, which has no `ps`.
_PROCESSES = """
import json, os, pathlib
found = []
for place in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        line = (place / "cmdline").read_text().replace(chr(0), " ").strip()
        parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        pages = int((place / "statm").read_text().split()[1])
    except OSError:
        continue
    if int(place.name) != os.getpid():
        found.append([int(place.name), parent, pages * os.sysconf("SC_PAGE_SIZE"), line])
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Server:
    """One side: what is started in which image with which model, and with which further options of `docker run`."""

    name: str
    kind: Kind
    image: str
    model: Path
    command: Sequence[str] = ("serve",)
    environment: Sequence[str] = ()
    options: Sequence[str] = ()
    target: str = "/opt/ml/model"


@dataclass(frozen=True)
class Process:
    """One process inside a container; `resident` are the bytes of it that are in memory, mapped files among them."""

    pid: int
    role: str
    resident: int


@dataclass(frozen=True)
class Endpoint:
    """A running server's container and its port on this machine, 0 where it has none."""

    container: str
    port: int

    @property
    def log(self) -> str:
        """All that it has said."""
        done = subprocess.run(["docker", "logs", self.container], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    @property
    def last_line(self) -> str:
        """The last line of its log."""
        return (self.log.strip().splitlines() or ["(it said nothing)"])[-1][:300]

    @property
    def running(self) -> bool:
        """Whether the container has not ended."""
        return docker("inspect", "--format", "{{.State.Running}}", self.container) == "true"

    @property
    def exit_status(self) -> int:
        """The status with which it has ended."""
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self.container))

    @property
    def kernel_kills(self) -> int:
        """How many of its processes the kernel has killed, for the memory that it may use was used up."""
        files = "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"
        counted = re.findall(
            r"^oom_kill (\d+)", self.execute("sh", "-c", f"cat {' '.join(files)} 2>&1 || true"), re.MULTILINE
        )
        return int(counted[0])

    def execute(self, *command: str, stdin: bytes = b"") -> str:
        """Return what a command prints inside the container, run as root, with `stdin` on its standard input."""
        return docker("exec", "--interactive", "--user", "0", self.container, *command, stdin=stdin)

    def processes(self) -> list[Process]:
        """Return the processes of the container that have a role in serving."""
        listed = json.loads(self.execute("python", "-c", _PROCESSES))
        roles = {pid: _role(line) for pid, _, _, line in listed}
        return [
            Process(pid, WORKER if roles[pid] == roles.get(parent) == STARTER else role, resident)
            for pid, parent, resident, _ in sorted(listed)
            if (role := roles[pid])
        ]

    def kill(self, *pids: int) -> None:
        """Send SIGKILL to processes of the container."""
        self.execute("python", "-c", f"import os; [os.kill(pid, 9) for pid in {list(pids)}]")


def _role(line: str) -> str:
    return next((role for words, role in _ROLES.items() if words in line), "")


def limited(server: Server, memory: str) -> Server:
    """Return the server in a container that may use so much memory, and no swap."""
    return replace(server, options=(*server.options, "--memory", memory, "--memory-swap", memory))


@contextmanager
def running(image: str, *command: str, options: Sequence[str] = ()) -> Iterator[str]:
    """Run a container, whose name the block is given; it is gone when the block ends, whatever happens."""
    name = f"byoc-vision-bench-{uuid.uuid4().hex[:12]}"
    try:
        docker("run", "--detach", "--name", name, *options, image, *command)
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)


@contextmanager
def container(server: Server) -> Iterator[Endpoint]:
    """Start the server; it is gone when the block ends, whatever happens."""
    options = ["--publish", "127.0.0.1::8080", "--volume", f"{server.model}:{server.target}:ro"]
    options += [option for value in server.environment for option in ("--env", value)]
    options += [*server.options, *places.bench_mount()]
    with running(server.image, *server.command, options=options) as name:
        published = subprocess.run(["docker", "port", name, "8080"], capture_output=True, text=True, check=False).stdout
        yield Endpoint(name, int(published.split()[0].rpartition(":")[2]) if published.strip() else 0)


@contextmanager
def endpoint(server: Server, body: bytes) -> Iterator[Endpoint]:
    """Run the server until the block ends; it begins when the picture `body` was answered."""
    with container(server) as started:
        wait(server, started, body)
        yield started


def wait(server: Server, started: Endpoint, body: bytes) -> None:
    """Return when the picture `body` was answered; raises `BenchError` where it is not."""
    deadline = time.monotonic() + PATIENCE
    while load.predicted(started.port, body) is None:
        check_running(server, started, deadline)
        time.sleep(0.1)


def chosen(started: Endpoint) -> str:
    """Return the numeric form that the container has chosen, which may take some seconds after its first answer."""
    deadline = time.monotonic() + PATIENCE
    while not (line := _CHOSEN.search(started.log)):
        if time.monotonic() > deadline:
            raise BenchError(f"the container does not say which form it chose: {started.last_line}")
        time.sleep(0.1)
    return line[1]


def check_running(server: Server, started: Endpoint, deadline: float) -> None:
    """Raise `BenchError` where the container has ended, or it is later than `deadline`."""
    if not started.running:
        raise BenchError(f"{server.name} ended before its first answer: {started.last_line}")
    if time.monotonic() > deadline:
        raise BenchError(
            f"{server.name} gave no answer in {PATIENCE:.0f} s; see what it says with docker run {server.image}"
        )


def docker(*arguments: str, stdin: bytes = b"") -> str:
    """Return what the Docker client prints; raises `BenchError` when it fails."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, check=False)
    printed, error = done.stdout.decode(errors="replace").strip(), done.stderr.decode(errors="replace").strip()
    if done.returncode != 0:
        raise BenchError(f"docker {arguments[0]} failed: {(error or printed)[:300]}")
    return printed
