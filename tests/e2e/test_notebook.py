"""A notebook's dozen lines: train, look at the report, deploy, predict, on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_test import draw
from tests.e2e.conftest import CHECKOUT
from tests.e2e.small_training import FEW

NOTEBOOK = """
from byoc_vision import Session
from local_test.draw import HYPERPARAMETERS

session = Session(local=True)
job = session.train("pictures", hyperparameters=HYPERPARAMETERS | {"epochs": 2, "workers": 0})
job.wait()
print(sorted(job.metrics))
print(job.report()._repr_html_()[:14])
endpoint = job.deploy("notebook").wait()
said = endpoint.predict("pictures/test/red_circle/red_circle_00.jpg")
print(said.label in ("blue_triangle", "green_square", "red_circle", "yellow_pentagon"), 0 < said.probability <= 1)
endpoint.delete()
"""


def test_a_dozen_lines_train_report_deploy_and_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "SPLITS", FEW)
    assert len(NOTEBOOK.strip().splitlines()) <= 13
    draw.draw_set(tmp_path / "pictures")
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "BYOC_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", NOTEBOOK]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metrics, report, predicted = done.stdout.splitlines()
    assert "test_accuracy" in metrics and report == "<iframe srcdoc" and predicted == "True True"
    assert done.stderr == "", "the library prints nothing"
    assert (tmp_path / "report" / "report.html").exists()
