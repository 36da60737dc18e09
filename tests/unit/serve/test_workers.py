"""Workers as the supervisor sees them: they come, work, hang and go."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve import workers as module
from serve.clock import Clock
from serve.workers import Failure, Workers


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Socket:
    """The supervisor's end, and what it was told of measurements."""

    def __init__(self, path: Path, timeout: float = 60) -> None:
        self.path = path
        self.measured: list[tuple[str, dict[str, Any]]] = []
        self.refused: list[tuple[str, Failure]] = []
        self.workers = Workers(
            path, timeout, lambda *told: self.measured.append(told), lambda *told: self.refused.append(told)
        )

    def report(self, **fields: Any) -> "Worker":
        worker = Worker(self.path)
        worker.tell(**fields)
        return worker

    def worker(self, model: str = "a", description: str = "on cpu", starter: int | None = None) -> "Worker":
        info = {"arch": "resnet18"}
        return self.report(model=model, description=description, info=info, starter=starter or os.getpid())


class Worker:
    """A worker's end."""

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(path))
        _, (file,), _, _ = socket.recv_fds(self._connection, 1, 1)
        self.clock = Clock(file)
        with pytest.raises(PermissionError):
            os.truncate(file, 0)
        os.close(file)

    def tell(self, **fields: Any) -> None:
        self._connection.sendall(json.dumps(fields).encode() + b"\n")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Socket:
    return Socket(tmp_path / "workers.sock")


def test_a_worker_counts_as_long_as_its_connection_stands(supervisor: Socket) -> None:
    workers = supervisor.workers
    assert workers.alive("a") == 0
    connections = [supervisor.worker() for _ in range(3)]
    other = supervisor.worker("b", "on cuda:0")
    eventually(lambda: (workers.alive("a"), workers.alive("b"), workers.alive()) == (3, 1, 4))
    assert workers.wait_for_description("a") == "on cpu"
    assert workers.wait_for_description("b") == "on cuda:0"
    assert workers.models() == {"a": {"arch": "resnet18"}, "b": {"arch": "resnet18"}}
    connections.pop().close()
    eventually(lambda: workers.alive("a") == 2)
    for connection in connections:
        connection.close()
    eventually(lambda: workers.alive("a") == 0)
    assert workers.alive("b") == 1
    other.close()


def test_a_failure_is_told_once_and_is_no_worker(supervisor: Socket) -> None:
    supervisor.report(model="a", error="it is broken", trace="").close()
    assert supervisor.workers.wait_for_failure("a") == Failure("it is broken")
    assert supervisor.workers.alive("a") == 0


def test_what_is_worked_on_is_known_and_what_was_measured_is_passed_on(supervisor: Socket) -> None:
    worker = supervisor.worker()
    for _ in range(2):
        worker.clock.begin()
        eventually(lambda: supervisor.workers.busy("a") == supervisor.workers.busy() == 1)
        worker.clock.end()
        worker.tell(measured={"decoding": [0.5]})
        eventually(lambda: supervisor.workers.busy("a") == 0)
    eventually(lambda: supervisor.measured == [("a", {"decoding": [0.5]})] * 2)
    worker.close()


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("killed", [False, True])
def test_a_death_is_told_in_a_line(
    supervisor: Socket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    busy: bool,
    killed: bool,
) -> None:
    worker = supervisor.worker()
    if busy:
        worker.clock.begin()
        eventually(lambda: supervisor.workers.busy("a") == 1)
    monkeypatch.setattr(module, "kernel_kills", lambda: int(killed))
    worker.close()
    eventually(lambda: supervisor.workers.deaths == 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert "of model a has died" in line
    assert ("while it worked on a request" in line) is busy
    assert ("memory was used up" in line) is killed
    assert supervisor.workers.busy("a") == 0


ENDS = """
import json, os, signal, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
socket.recv_fds(connection, 1, 1)
for line in sys.argv[2:]:
    connection.sendall(line.encode() + b"\\n")
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_how_a_worker_has_ended_is_told_also_while_it_loads(
    supervisor: Socket, capsys: pytest.CaptureFixture[str]
) -> None:
    begins = json.dumps({"model": "a"})
    loaded = json.dumps({"model": "a", "description": "", "info": {}, "starter": 1})
    command = (sys.executable, "-c", ENDS, str(supervisor.path), begins)
    supervisor.workers.expect("a")
    with subprocess.Popen(command):
        failure = supervisor.workers.wait_for_failure("a")
    assert failure is not None and "ended (signal SIGSEGV)" in failure.sentence
    assert capsys.readouterr().err == ""
    with subprocess.Popen([*command, loaded]):
        eventually(lambda: supervisor.workers.deaths == 1)
    assert "has died (signal SIGSEGV)" in capsys.readouterr().err


def test_an_end_that_was_planned_is_no_death(supervisor: Socket, capsys: pytest.CaptureFixture[str]) -> None:
    worker = supervisor.worker()
    eventually(lambda: supervisor.workers.alive("a") == 1)
    supervisor.workers.leave("a")
    worker.close()
    eventually(lambda: supervisor.workers.alive("a") == 0)
    assert (supervisor.workers.deaths, supervisor.workers.models()) == (0, {})
    # One that was on its way is none of the model's any more, and neither is the process that started it.
    with subprocess.Popen(["true"]) as starter:
        late = supervisor.worker(starter=starter.pid)
        eventually(lambda: supervisor.workers.alive("a") == 1)
    assert supervisor.workers.lost_starter() is None
    assert supervisor.workers.models() == {}
    late.close()
    eventually(lambda: supervisor.workers.alive("a") == 0)
    # When the model comes back, its workers count again.
    supervisor.workers.expect("a")
    supervisor.worker().close()
    eventually(lambda: supervisor.workers.deaths == 1)
    assert len(capsys.readouterr().err.splitlines()) == 1


HANGS = """
import json, socket, sys, time
from serve.clock import Clock
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
Clock(socket.recv_fds(connection, 1, 1)[1][0]).begin()
report = json.dumps({"model": "a", "description": "", "info": {}, "starter": 1})
connection.sendall(report.encode() + b"\\n")
time.sleep(1000)
"""


def test_a_worker_that_hangs_is_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor = Socket(tmp_path / "workers.sock", timeout=0.2)
    idle = supervisor.worker()
    with subprocess.Popen([sys.executable, "-c", HANGS, str(supervisor.path)]) as process:
        eventually(lambda: supervisor.workers.busy("a") == 1)
        while process.poll() is None:
            supervisor.workers.end_overdue()
            time.sleep(0.01)
        assert process.returncode == -9
    eventually(lambda: supervisor.workers.deaths == 1)
    assert supervisor.workers.alive("a") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"worker {process.pid} of model a is ended: a request took over 0.2 s"
    idle.close()


def test_a_model_that_proves_to_be_of_no_use_is_told_once(
    supervisor: Socket, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = [supervisor.worker(), supervisor.worker()]
    eventually(lambda: supervisor.workers.alive("a") == 2)
    for worker in workers:
        worker.tell(error="it is damaged")
        worker.close()
    eventually(lambda: supervisor.workers.alive("a") == 0)
    assert supervisor.refused == [("a", Failure("it is damaged"))]
    assert capsys.readouterr().err == ""


def test_the_process_that_starts_workers_is_missed(supervisor: Socket) -> None:
    with subprocess.Popen(["sleep", "1000"]) as starter:
        worker = supervisor.worker(starter=starter.pid)
        eventually(lambda: supervisor.workers.alive("a") == 1)
        assert supervisor.workers.lost_starter() is None
        starter.kill()
    assert supervisor.workers.lost_starter() == "a"
    supervisor.workers.leave("a")
    assert supervisor.workers.lost_starter() is None
    worker.close()


FORKS = """
import os, signal
from serve import handler

signal.signal(signal.SIGTERM, lambda *_: None)  # as multi-model-server's, which goes on
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))  # as early as can be
handler.leave_forks_to_user([])
if (child := os.fork()) == 0:
    os._exit(7)
assert os.waitpid(child, 0)[1] == signal.SIGTERM
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])  # here it arrives as before
"""


def test_a_forked_process_is_ended_by_a_signal_however_early() -> None:
    """A pool of processes that is left at once ends them so, and waits for them."""
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=60)


def test_a_worker_is_ended_by_a_signal_and_leaves_the_socket_for_the_next_one() -> None:
    ended = subprocess.run([sys.executable, "-c", f"{FORKS}os.kill(os.getpid(), signal.SIGTERM)"], timeout=60)
    assert ended.returncode == -signal.SIGTERM
