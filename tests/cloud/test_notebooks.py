"""The notebooks as they are committed. `tests/e2e/test_clients.py` runs them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict[str, Any]]:
    """Return the cells with code."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert len(content["cells"]) <= 15
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_outputs_are_those_of_one_run_from_the_first_cell_to_the_last(notebook: Path) -> None:
    code = cells(notebook)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert shown & {"image/png", "image/jpeg"} and "text/html" in shown


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_file_is_small_and_says_nothing_of_where_it_was_run(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    assert len(text) < 300_000
    assert not [place for place in ("/root", "/home/", "/tmp/", "/Users/", "file://") if place in text]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_on_this_machine_as_it_stands(notebook: Path) -> None:
    first = "".join(cells(notebook)[0]["source"])
    assert "\nLOCAL = True  # False: in your AWS account" in first


def test_there_is_one_for_each_version_of_the_sdk() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["own_scripts", "train_and_deploy"]
