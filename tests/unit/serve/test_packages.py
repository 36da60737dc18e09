"""What the user's code needs is installed before its workers start, or named."""

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from byoc_vision.contract.errors import UserError
from serve import packages


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with code that brings a package along."""
    folder = tmp_path / "code"
    folder.mkdir()
    with zipfile.ZipFile(folder / "own_tools-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("own_tools.py", "NAME = 'mine'")
        wheel.writestr("own_tools-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: own-tools\nVersion: 1.2\n")
        wheel.writestr(
            "own_tools-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("own_tools-1.2.dist-info/RECORD", "")
    return folder


def requirements(code: Path, *lines: str) -> Path:
    file = code / "requirements.txt"
    file.write_text("\n".join(("--no-index", "--find-links .", *lines)))
    return file


def test_what_the_image_lacks_is_installed_beside_it(code: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    assert packages.install(requirements(code, "own-tools", "numpy"), environment, 60) == "own-tools-1.2"
    script = (
        f"import sys; sys.path.insert(1, {str(packages.site(environment))!r}); import own_tools; print(own_tools.NAME)"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "mine\n"


def test_what_cannot_be_installed_is_named_in_one_sentence(code: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^code/requirements.txt cannot be installed: .* no-such-package==3; correct"):
        packages.install(requirements(code, "no-such-package==3"), tmp_path / "environment", 60)


def test_requirements_that_exclude_each_other_are_named(code: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot install .*own-tools.* conflicting dependencies"):
        packages.install(requirements(code, "own-tools==1.2", "own-tools<1"), tmp_path / "environment", 60)


def test_a_line_at_which_pip_itself_fails_is_named(code: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be installed: .*sys_platform =="):
        packages.install(requirements(code, "numpy; sys_platform =="), tmp_path / "environment", 60)


def test_a_repository_of_git_is_told_what_to_name(code: Path, tmp_path: Path) -> None:
    (code / "requirements.txt").write_text("git+https://127.0.0.1/owner/name.git")
    with pytest.raises(UserError, match=r"'git'.*; the image has no git: name a release of the package, or"):
        packages.install(code / "requirements.txt", tmp_path / "environment", 60)


def test_an_installation_may_not_take_for_ever(code: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it took over"):
        packages.install(requirements(code, "own-tools"), tmp_path / "environment", 0.01)


STARTER = Path(packages.__file__).parent / "home" / "mms" / "model_service_worker.py"
IMPORTS = """
import runpy, sys
run = runpy.run_path(sys.argv[1])
run["_import"]("model", sys.argv[2])
print("serve.worker" in sys.modules)
"""


@pytest.mark.parametrize("own", [None, "model/code/inference.py", f"{packages.site(Path('packages/model'))}/numpy.py"])
def test_what_workers_import_is_imported_before_they_are_forked_unless_a_model_may_hide_it(
    tmp_path: Path, own: str | None
) -> None:
    (tmp_path / "model").mkdir()
    if own:
        (tmp_path / own).parent.mkdir(parents=True)
        (tmp_path / own).touch()
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, STARTER, tmp_path / "model"],
        env=os.environ | {"SERVE_PACKAGES": str(tmp_path / "packages")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{own is None}\n"


@pytest.mark.parametrize("killed", ["early", "asked", "early before it is asked"])
def test_what_has_imported_early_becomes_what_starts_the_workers(tmp_path: Path, killed: str) -> None:
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "inference.py").touch()  # so nothing is imported, which would take seconds
    model = ("--model-name", "model", "--model-path", str(tmp_path / "model"))
    asked_for = ("--sock-type", "unix", "--sock-name", str(tmp_path / "mms"), "--handler", "serve.handler")
    environment = os.environ | {"SERVE_PACKAGES": str(tmp_path), "SERVE_STARTER_SOCKET": str(tmp_path / "early")}
    command = [sys.executable, str(STARTER), *model]
    asked_for = [*command, *asked_for, "--preload-model", "false", "--tmp-dir", str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as early:
        while not (tmp_path / "early").exists():
            assert early.poll() is None
            time.sleep(0.01)
        if killed == "early before it is asked":
            early.kill()
            early.wait()
        environment["PYTHONUNBUFFERED"] = "1"
        with subprocess.Popen(asked_for, env=environment, stdout=subprocess.PIPE, text=True) as asked:
            try:
                assert asked.stdout
                lines = [asked.stdout.readline().strip() for _ in range(4)]
                starter = asked if killed == "early before it is asked" else early
                assert lines[2:] == [f"[PID] {starter.pid}", "MMS worker started."]
                if starter is early:  # each ends with the other
                    victim, other = (early, asked) if killed == "early" else (asked, early)
                    victim.kill()
                    other.wait(60)
            finally:
                early.kill()
                asked.kill()
