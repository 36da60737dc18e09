"""When the container gives up."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from byoc_vision.contract.errors import UserError
from serve import __main__, model_server, supervisor, workers
from serve.settings import Settings
from serve.supervisor import State, Supervisor


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Supervisor:
    """A container that was ready, and whose workers have died."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setattr(workers, "_REPORT_SECONDS", 0)
    running = Supervisor(Settings.from_environment({}))
    running._workers.expect("model")
    running._workers.wait_for_description("model")
    running._state = State.READY
    return running


@pytest.mark.parametrize("place", ["/tmp/a b", "/tmp/;{", "/tmp/ä", f"/{'t' * 80}"])
def test_a_temporary_folder_that_programs_cannot_name_is_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr("tempfile.tempdir", place)
    with pytest.raises(UserError, match="TMPDIR is too long, or has odd characters"):
        Supervisor(Settings.from_environment({}))


def test_a_container_without_workers_ends_after_a_while(running: Supervisor) -> None:
    running._check_workers()
    running._workers._last_alive["model"] = time.monotonic() - workers.LOST_SECONDS - 1
    running._workers._patience["model"] += 100  # that was the start
    running._check_workers()
    running._workers._last_alive["model"] -= 100
    with pytest.raises(UserError, match="no worker has been alive for 160 seconds"):
        running._check_workers()


def test_one_of_many_models_without_workers_is_unloaded_after_a_while(
    running: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    running._settings = replace(running._settings, multi_model=True)
    lost: list[tuple[str, str]] = []

    def lose(name: str, why: str) -> None:
        running._workers.leave(name)
        lost.append((name, why))

    monkeypatch.setattr(running._models, "lose", lose)
    running._workers.expect("other")
    running._workers.wait_for_description("other")
    running._workers._last_alive["model"] -= workers.LOST_SECONDS + 1
    for _ in range(3):
        running._check_workers()
    assert lost == [("model", "no worker has been alive for 60 seconds")]


def test_where_the_kernel_ends_workers_the_container_waits(
    running: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = count(1)
    monkeypatch.setattr(workers, "kernel_kills", lambda: next(kills))
    for _ in range(3):
        running._workers._last_alive["model"] = time.monotonic() - 1000
        running._check_workers()
    monkeypatch.setattr(workers, "kernel_kills", lambda: 3)
    running._check_workers()
    running._workers._last_alive["model"] = time.monotonic() - 1000
    with pytest.raises(UserError, match="no worker has been alive"):
        running._check_workers()


@pytest.mark.parametrize(
    ("number", "kills", "words"),
    [(signal.SIGKILL, 1, "memory is used up"), (signal.SIGKILL, 0, "restart"), (signal.SIGSEGV, 1, "restart")],
)
def test_a_program_that_ends_for_want_of_memory_is_told_so(
    running: Supervisor, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, kills: int, words: str
) -> None:
    monkeypatch.setattr(supervisor, "kernel_kills", lambda: kills)
    running._running = {2: "nginx"}
    running._events.put(supervisor.Exited(2, number))
    with pytest.raises(UserError, match=rf"nginx ended unexpectedly \(signal {number.name}\); .*{words}"):
        running._watch()


def test_the_end_of_a_program_is_not_lost_when_another_is_started() -> None:
    program = supervisor._start(["false"], [])
    os.waitid(os.P_PID, program, os.WEXITED | os.WNOWAIT)
    subprocess.run(["true"], check=True)
    assert os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]) == 1


def test_why_java_cannot_start_is_in_the_log(tmp_path: Path) -> None:
    settings = Settings.from_environment({"SAGEMAKER_MODEL_SERVER_VMARGS": "-Xmx1k"})
    ended = subprocess.run(
        model_server.command(settings, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert "Too small maximum heap" in ended.stderr


def test_a_container_that_is_stopped_while_it_imports_ends() -> None:
    code = """
import os
import runpy
import signal
import sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "serve.supervisor":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder())
runpy.run_module("serve", run_name="__main__")
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_reason_is_one_line_whatever_it_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BYOC_PRECISION", "x" * 9999)
    assert __main__.main() == 1
    assert capsys.readouterr().err.endswith(", or leave it out\n")

    def refuse(environ: object) -> None:
        raise UserError("SAGEMAKER_PROGRAM names a\nb.py; add it")

    monkeypatch.setattr(Settings, "from_environment", refuse)
    assert __main__.main() == 1
    assert capsys.readouterr().err == "SAGEMAKER_PROGRAM names a b.py; add it\n"
