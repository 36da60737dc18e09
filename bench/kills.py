"""Each process of a serving container killed under load: what is lost, and how it goes on."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench import load
from bench.containers import STARTER, SUPERVISOR, WORKER, Endpoint, Server, docker, endpoint
from bench.load import Load
from bench.results import BenchError, Side, Table, Verdict, none
from bench.serving import CONNECTIONS

#: Whom to kill; "all" of a role are killed at once.
VICTIMS = (
    "nginx master",
    "nginx worker",
    "multi-model-server (Java)",
    STARTER,
    WORKER,
    f"all of: {WORKER}",
    SUPERVISOR,
)

#: Seconds of load before the kill and after recovery, and the longest that recovery, or the end, may take.
BEFORE, AFTER, LONGEST = 3.0, 3.0, 150.0


@dataclass(frozen=True)
class Killed:
    """What became of a container of which `victim` was killed."""

    victim: str
    seconds: float
    load: Load
    exit_status: int | None
    said: list[str]
    mended: bool

    @property
    def silent(self) -> bool:
        """Whether nothing tells of the death. That of PID 1 can only be told by the container's status."""
        return not (self.mended or self.exit_status) or not (self.said or self.victim == SUPERVISOR)


def killed(server: Server, body: bytes, say: Callable[[str], None]) -> tuple[list[Side], Table, list[Verdict]]:
    """Kill each of `VICTIMS` in a container of its own."""
    kills = []
    for victim in VICTIMS:
        say(f"{server.name}: kill {victim}")
        with endpoint(server, body) as running:
            kills.append(_kill(running, victim, body))
    sides = [Side(f"{kill.victim} killed", "ours", [kill.seconds]) for kill in kills]
    table = Table(
        f"{server.name}: a process killed under the load of {CONNECTIONS} connections",
        ["process", "seconds", "requests lost until then", "container", "what the log says of it"],
        [
            [
                kill.victim,
                f"{kill.seconds:.1f}",
                ", ".join(f"{count} {what}" for what, count in kill.load.failures.items()) or "0",
                _outcome(kill),
                kill.said[-1 if kill.exit_status else 0][:200] if kill.said else "",
            ]
            for kill in kills
        ],
    )
    silent = sum(kill.silent for kill in kills)
    return sides, table, [none(f"{server.name}, killed processes of which nothing tells", silent)]


def _outcome(kill: Killed) -> str:
    if kill.exit_status is not None:
        return f"ended with status {kill.exit_status}"
    return "goes on, all its processes are there" if kill.mended else "goes on without it"


def _kill(running: Endpoint, victim: str, body: bytes) -> Killed:
    role = victim.removeprefix("all of: ")
    right, stop = load.ask(running.port, body)[1], threading.Event()
    with ThreadPoolExecutor(1) as threads:
        under_load = threads.submit(load.drive, running.port, [body], CONNECTIONS, right=right, stop=stop)
        try:
            time.sleep(BEFORE)
            before = [process.pid for process in running.processes() if process.role == role]
            if not before:
                raise BenchError(f"the container has no process {role}; it has {running.processes()}")
            lines = len(running.log.splitlines())
            begun = time.monotonic()
            if role == SUPERVISOR:  # the kernel lets no process inside kill it
                docker("kill", running.container)
            else:
                running.kill(*(before if role != victim else before[-1:]))
            mended = _wait(running, role, before, body, right, begun + LONGEST)
            seconds = time.monotonic() - begun
            if mended:
                time.sleep(AFTER)
        finally:
            stop.set()
    status = None if running.running else running.exit_status
    said = [line for line in running.log.splitlines()[lines:] if line.strip()]
    return Killed(victim, seconds, under_load.result(), status, said, mended)


def _wait(running: Endpoint, role: str, before: list[int], body: bytes, right: bytes, deadline: float) -> bool:
    """Return True when as many processes of the role are there as before, not all the same, and all is answered.

    Return False when the container has ended, or goes on without.
    """
    while running.running and time.monotonic() < deadline:
        try:
            now = [process.pid for process in running.processes() if process.role == role]
            ready = json.loads(load.ask(running.port, b"", "/ping", "GET")[1])["state"] == "ready"
            if len(now) >= len(before) and now != before and ready and load.ask(running.port, body)[1] == right:
                return True
        except (OSError, ValueError, BenchError):  # it is ending, or not ready again
            pass
        time.sleep(0.1)
    return False
