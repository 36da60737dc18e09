"""What setup.sh does before it installs anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")


@pytest.mark.parametrize("there", [(), ("python3",), PYTHONS])
def test_a_machine_without_a_python_that_is_new_enough(tmp_path: Path, there: tuple[str, ...]) -> None:
    scripts = {"local_test/setup.sh": (CHECKOUT / "local_test" / "setup.sh").read_text(encoding="utf-8")}
    # An engine answers, and every Python says no when it is asked for its version.
    scripts["byoc_vision/local/engine.sh"] = "#!/bin/sh\n"
    scripts |= {f"bin/{name}": "#!/bin/sh\nexit 1\n" for name in there}
    for name, text in scripts.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)
    (tmp_path / "bin").mkdir(exist_ok=True)
    for name in ("bash", "dirname", "id", "curl", "pgrep"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "/nowhere")
    command = [tmp_path / "bin" / "bash", "local_test/setup.sh"]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": f"{tmp_path}/bin"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "setup.sh: Python 3.11 or newer is not installed; install it and try again.\n"
    assert not (tmp_path / ".venv").exists()
