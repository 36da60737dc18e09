"""What setup.sh does before it installs anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")


@pytest.mark.parametrize("there", [(), ("python3",), PYTHONS])
def test_a_machine_without_a_python_that_is_new_enough(tmp_path: Path, there: tuple[str, ...]) -> None:
    # Every Python says no when it is asked for its version.
    done = set_up(tmp_path, dict.fromkeys(there, "exit 1"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "setup.sh: Python 3.11 or newer is not installed; install it and try again.\n"
    assert not (tmp_path / ".venv").exists()


def test_a_machine_without_docker_compose_and_without_apt(tmp_path: Path) -> None:
    done = set_up(tmp_path, {"python3": "exit 0", "docker": "exit 1"})
    assert done.returncode == 1
    assert done.stderr == "setup.sh: docker-compose is not installed; install it and try again.\n"


def set_up(folder: Path, programs: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run setup.sh on a machine that has an engine, and these programs, each a line of shell, besides a few."""
    scripts = {"local_test/setup.sh": (CHECKOUT / "local_test" / "setup.sh").read_text(encoding="utf-8")}
    scripts["byoc_vision/local/engine.sh"] = "#!/bin/sh\n"
    scripts |= {f"bin/{name}": f"#!/bin/sh\n{line}\n" for name, line in programs.items()}
    for name, text in scripts.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)
    (folder / "bin").mkdir(exist_ok=True)
    for name in ("bash", "dirname", "id", "curl", "pgrep"):
        (folder / "bin" / name).symlink_to(shutil.which(name) or "/nowhere")
    command = [folder / "bin" / "bash", "local_test/setup.sh"]
    return subprocess.run(command, cwd=folder, env={"PATH": f"{folder}/bin"}, capture_output=True, text=True)
