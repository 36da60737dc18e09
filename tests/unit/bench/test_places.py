"""What a container is shown."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import places


def test_no_path_is_mounted_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(places.subprocess, "run", run)
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    places.Image("an-image", [data, scratch, scratch / "drawn"], scratch).run("a.module")
    volumes = [word for word in commands[-1] if str(tmp_path) in word]
    assert sorted(volumes) == [f"{data}:{data}:ro", f"{scratch}:{scratch}"]
