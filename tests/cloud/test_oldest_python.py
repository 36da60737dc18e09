"""Python 3.11.0 to 3.11.3, which `run` starts the launchers with where this machine has one."""

import ast
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.cloud.conftest import PACKAGES, PYTHON, ROOT
from tests.cloud.test_rooms import MODULES

#: What a user's Python runs: the images have their own.
ON_THE_HOST = ("byoc_vision", "launch", "local_test")

#: What came later than 3.11.0: a call's name, and its argument where the call itself is older.
NEWER = {("extract", "filter"), ("extractall", "filter"), ("unpack_archive", "filter"), ("batched", "")}


def _calls(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the name and each named argument of every call; the name alone, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield name, ""
            yield from ((name, str(keyword.arg)) for keyword in node.keywords)


@pytest.mark.parametrize("package", ON_THE_HOST)
def test_nothing_newer_is_used(package: str) -> None:
    files = {name: file for name, file in MODULES.items() if name.split(".")[0] == package}
    assert files
    assert [name for name, file in files.items() if NEWER & set(_calls(ast.parse(file.read_text("utf-8"))))] == []


def test_archives_are_unpacked_by_it() -> None:
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/launch_local/test_archives.py"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{PACKAGES}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
