"""The containers of a training or processing job, one for each of its hosts, from their start to their end.

Each is a `docker run` in the foreground: what that prints are the container's lines, what it ends with is the
container's exit code. The containers have the job's folder as a label, by which they are found when the process that
started them was killed, for they outlive it.
"""

import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass

from byoc_vision.local import containers
from byoc_vision.local.instances import local_type
from byoc_vision.local.store import Record, Request, now

#: Seconds from SIGTERM to SIGKILL, as in the service.
_STOP_SECONDS = 120

#: Seconds between two looks at whether the job is to end.
_PAUSE = 0.5

#: What `docker run` itself ends with, where it has failed; the others may be a program's own, too.
_DOCKER_FAILED, _NOT_STARTED = 125, (126, 127)

#: How `docker run` begins a line of its own.
_DOCKER = "docker: "


@dataclass(frozen=True)
class Ending:
    """How the containers have ended.

    `codes` are their exit codes; `stopped` is the service's secondary status where they were made to end, else empty.
    """

    codes: Sequence[int]
    stopped: str
    last_line: str

    def reason(self, said: str = "") -> str:
        """Return why the job has failed, which `said` so itself, perhaps; nothing where it has not."""
        # The least: a host that was taken down for another's sake has 137 or 143, a client that was killed less than 0.
        code = min(filter(None, self.codes), default=0)
        not_started = code in _NOT_STARTED and self.last_line.startswith(_DOCKER)
        if code < 0 or _DOCKER_FAILED in self.codes or not_started:
            return f"InternalServerError: Docker did not run the container to its end ({self.last_line})"[:1024]
        return f"AlgorithmError: {f'{said}, ' if said else ''}exit code: {code}"[:1024] if code else ""


class Hosts:
    """The containers of one job.

    `commands` has for each host the options of `docker run`, the image and its arguments. The lines that the containers
    print go to the record's log, and to `look`, one at a time.
    """

    def __init__(
        self, record: Record, commands: Mapping[str, Sequence[str]], look: Callable[[str], object] = lambda _: None
    ) -> None:
        self._record, self._commands, self._look = record, commands, look
        token = secrets.token_hex(3)  # another container may be called as a job that was killed had called its own
        self._names = {host: f"byoc-vision-{record.name}-{host}-{token}" for host in commands}
        self._network = f"byoc-vision-{record.name}-{token}" if len(commands) > 1 else ""
        self._writing = threading.Lock()
        self._last_line = self._time = ""

    def run(self) -> Ending:
        """Run all to their end; stop all where that is asked for, their time is up, or one of them has failed.

        None is left then.
        """
        longest = self._record.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", float("inf"))
        deadline = time.monotonic() + longest
        if self._network:
            internal = ["--internal"] if _isolated(self._record.request) else []
            containers.checked("network", "create", *internal, "--label", _label(self._record), self._network)
        codes: list[int] = []
        stopped = ""
        with ThreadPoolExecutor(len(self._commands)) as pool:
            running = {pool.submit(self._see_through, host): host for host in self._commands}
            try:
                while running:
                    done, _ = wait(running, _PAUSE, FIRST_COMPLETED)
                    for future in done:
                        del running[future]
                        codes.append(future.result())
                    late = time.monotonic() > deadline
                    wanted = "Stopped" if self._record.stopping else "MaxRuntimeExceeded" if late else ""
                    if running and (wanted or any(codes)):
                        stopped = wanted
                        containers.stop(*(self._names[host] for host in running.values()), seconds=_STOP_SECONDS)
            except BaseException:  # else the pool would wait for the other hosts
                clear(self._record)
                raise
        # A container is removed at its end; something is left where the client has failed, or has made a network.
        if self._network or any(code < 0 or code == _DOCKER_FAILED for code in codes):
            clear(self._record)
        return Ending(codes, stopped, self._last_line)

    def _see_through(self, host: str) -> int:
        """Run the host's container and pass its lines on; return its exit code."""
        options = ["--rm", "--pull", "never", "--name", self._names[host], "--hostname", host]
        options += ["--label", _label(self._record)]
        if self._network:
            options += ["--network", self._network, "--network-alias", host]
        elif _isolated(self._record.request):
            # Its own name must lead somewhere, as in the service: torchrun asks for it.
            options += ["--network", "none", "--add-host", f"{host}:127.0.0.1"]
        command = ["docker", "run", *options, *self._commands[host]]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    self._write(host, containers.readable(line.decode(errors="replace")))
            except BaseException:  # else it would wait for a reader, and this for its end
                containers.remove(self._names[host])
                raise
        return process.returncode

    def _write(self, host: str, line: str) -> None:
        with self._writing, (self._record.folder / "log").open("a", encoding="utf-8") as log:
            self._time = max(self._time, now())  # a log is in the order of its times, whatever clocks do
            print(f"{self._time} {f'{host}: ' if self._network else ''}{line}", file=log)
            if line and not self._last_line.startswith(_DOCKER):  # after that line it only points to its help
                self._last_line = line
            self._look(line)


def clear(record: Record) -> None:
    """Remove the containers and the network that the record's job has left."""
    for container in containers.labelled(containers.OWNER, str(record.folder)):
        containers.remove(container)
    if record.request.get("ResourceConfig", {}).get("InstanceCount", 1) == 1:
        return
    for network in containers.docker("network", "ls", "--quiet", "--filter", f"label={_label(record)}").split():
        containers.docker("network", "rm", network)


def options(environment: Request, instance_type: str) -> list[str]:
    """Return the options of `docker run` for a job's environment variables, and for the machine it has.

    That is GPUs where the type has some, and a /dev/shm for half of the memory, as Linux gives a machine: Docker's has
    64 MB, too little for what a script's loaders pass on.
    """
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    variables = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
    gpus = ["--gpus", "all"] if local_type(instance_type) == "local_gpu" else []
    return [*variables, "--shm-size", str(half), *gpus]


def program(entrypoint: Sequence[str], image: str, arguments: Sequence[str]) -> list[str]:
    """Return how `docker run` ends: the image with a program, its own where `entrypoint` is empty, and arguments."""
    first, *others = entrypoint or [""]
    return [*(["--entrypoint", first] if first else []), image, *others, *arguments]


def _label(record: Record) -> str:
    return f"{containers.OWNER}={record.folder}"


def _isolated(request: Request) -> bool:
    """Whether the job's containers reach only each other; training and processing say it in different places."""
    return bool((request | request.get("NetworkConfig", {})).get("EnableNetworkIsolation"))
