"""The wheel, installed where there is no checkout: the command and the library work from any folder."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., str]


@pytest.fixture
def call(wheel: Path, tmp_path: Path) -> Call:
    """Return a function that runs one of the environment's programs in an empty folder."""

    def run(program: str, *arguments: object) -> str:
        variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        command = [wheel / program, *map(str, arguments)]
        return subprocess.check_output(command, cwd=tmp_path, env=variables, text=True, timeout=60)

    return run


def test_the_command_says_what_there_is(call: Call) -> None:
    said = call("byoc", "--help")
    assert all(
        name in said for name in ("train", "tune", "deploy", "predict", "transform", "watch", "report", "images")
    )
    assert call("byoc", "--version").startswith("byoc 0.1.0 from /")
    assert "usage: byoc train" in call("byoc", "train", "--help")
    assert "usage: python -m launch.train" in call("python", "-m", "launch.train", "--help")


def test_a_request_is_built_anywhere_and_without_aws(call: Call, data: Path) -> None:
    request = json.loads(call("byoc", "train", "--local", "--data", data, "--set", "epochs=2", "--dry-run"))
    assert request["CreateTrainingJob"]["HyperParameters"] == {"epochs": "2"}


def test_the_library_is_imported_anywhere(call: Call, tmp_path: Path) -> None:
    code = "from byoc_vision import Session, home; print(Session(local=True).engine.root); print(home.find())"
    assert call("python", "-c", code).splitlines() == [str(tmp_path / ".byoc/local"), str(tmp_path / ".byoc")]


def test_a_report_is_made_from_the_wheel(call: Call, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "metrics.json").write_text('{"test_accuracy": 0.5}')
    assert "wrote job/report.html" in call("byoc", "report", "job")


def test_what_brings_docker_up_is_in_the_wheel(call: Call) -> None:
    code = "from pathlib import Path; from byoc_vision.local import containers as c"
    assert call("python", "-c", f"{code}; print(Path(c.__file__).with_name('engine.sh').exists())") == "True\n"
