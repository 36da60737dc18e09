"""What tests of several folders share: where the real photographs are, and the library as a wheel."""

import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

# A shell starts what runs in the background deaf to Ctrl-C, and the programs that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument and place, not content: an archive holds the time, and processes must agree."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder with data/trashnet6 and weights/; skip the test where it is not there."""
    folder = Path(os.environ.get("BYOC_TEST_DATA", CHECKOUT.parent / "shared")).resolve()
    if not (folder / "data" / "trashnet6").is_dir():
        pytest.skip(f"no real photographs in {folder}; BYOC_TEST_DATA names the folder that holds data/trashnet6")
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel and, lent by this one, the packages that it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.check_output(["git", "ls-files", "-z", "byoc_vision", "launch"], cwd=CHECKOUT, text=True)
    files = [name for name in names.split("\0") if name and (CHECKOUT / name).exists()]
    for name in [*files, "pyproject.toml", "requirements.txt", "README.md", "LICENSE"]:
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", folder, folder / "source"], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    lent = [path for path in sys.path if path.endswith("site-packages")]
    (site / "lent.pth").write_text("\n".join(lent) + "\n")
    shutil.rmtree(folder / "source")
    return folder / "venv" / "bin"
