"""The folder of temporary files: each start has its own, and removes what was left."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serve import scratch

HOLD = "from serve import scratch; print(scratch.folder(), flush=True); input()"


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path_factory.mktemp("place")  # tmp_path is longer than such a folder's name may be
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    return place


def test_what_a_killed_process_has_left_is_removed_and_nothing_else(place: Path) -> None:
    (place / "byoc-forms").mkdir()
    (place / "byoc-serve-is-a-file").touch()
    processes = [
        subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    folders = [Path(process.stdout.readline().strip()) for process in processes if process.stdout]
    for folder in folders:
        (folder / "packages").mkdir()
        (folder / "packages" / "large").touch()
    killed, living = processes
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    made = scratch.folder()
    assert {file.name for file in place.iterdir()} == {
        "byoc-forms",
        "byoc-serve-is-a-file",
        folders[1].name,
        made.name,
    }
    assert (folders[1] / "packages" / "large").exists()
    living.communicate("\n")
