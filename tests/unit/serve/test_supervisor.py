"""When the container gives up."""

import time
from itertools import count

import pytest

from byoc_vision.contract.errors import UserError
from serve import supervisor
from serve.settings import Settings
from serve.supervisor import State, Supervisor


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Supervisor:
    """A container that was ready, and whose workers have died."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", "/tmp")
    running = Supervisor(Settings.from_environment({}))
    running._state = State.READY
    return running


@pytest.mark.parametrize("place", ["/tmp/a b", "/tmp/;{", "/tmp/ä", f"/{'t' * 80}"])
def test_a_temporary_folder_that_programs_cannot_name_is_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr("tempfile.tempdir", place)
    with pytest.raises(UserError, match="TMPDIR is too long, or has odd characters"):
        Supervisor(Settings.from_environment({}))


def test_a_container_without_workers_ends_after_a_while(running: Supervisor) -> None:
    running._check_workers()
    running._last_alive = time.monotonic() - supervisor.LOST_SECONDS - 1
    running._patience += 100  # that was the start
    running._check_workers()
    running._last_alive -= 100
    with pytest.raises(UserError, match="no worker has been alive for 160 seconds"):
        running._check_workers()


def test_where_the_kernel_ends_workers_the_container_waits(
    running: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = count(1)
    monkeypatch.setattr(supervisor, "kernel_kills", lambda: next(kills))
    for _ in range(3):
        running._last_alive = time.monotonic() - 1000
        running._check_workers()
    monkeypatch.setattr(supervisor, "kernel_kills", lambda: 3)
    running._check_workers()
    running._last_alive = time.monotonic() - 1000
    with pytest.raises(UserError, match="no worker has been alive"):
        running._check_workers()
