"""The main job: one command, from pictures to an endpoint's right answer, and a clean machine after it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local_test.draw import draw_set
from tests.e2e.conftest import CHECKOUT

RUN = "local_test/run.sh"


def summary_of(out: Path) -> dict[str, Any]:
    """Return the summary of a run that went well."""
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    for figure in ("train_seconds", "endpoint_ready_seconds", "container_start_to_first_prediction_seconds"):
        assert summary[figure] > 0
    for image in ("train_image_bytes", "serve_image_bytes"):
        assert 0 < summary[image] <= 8e9
    assert summary["prediction"]["predictions"][0]["label"] == summary["true_label"]
    assert summary["agreement"]["asked"] == 20
    assert summary["agreement"]["agreeing"] >= 18
    for name in ("model.tar.gz", "output/data/metrics.json", "training.log", "endpoint.log"):
        assert (out / name).stat().st_size > 0
    return summary


def test_without_arguments_it_draws_its_own_pictures(machine: Any) -> None:
    out = machine.folder / "out"
    assert machine.run(RUN, "--out", out) == 0, machine.log
    summary = summary_of(out)
    assert summary["test_accuracy"] >= 0.9
    assert (out / "pictures" / summary["picture"]).is_file()
    assert f"$ curl -sS -H 'Content-Type: application/x-image' --data-binary @{out}/pictures/" in machine.log
    on_the_shape, near_it = heat(out)
    assert near_it >= 0.95 and on_the_shape >= 0.9


def heat(out: Path) -> list[float]:
    """Return in which share of newly drawn pictures more than half of a heat map lies on the shape, or near it."""
    model = out / "unpacked"
    model.mkdir()
    subprocess.run(["tar", "-xf", out / "model.tar.gz", "-C", model], check=True)
    mounts = ["--volume", f"{CHECKOUT}:/checkout:ro", "--volume", f"{model}:/model:ro"]
    settings = ["--env", "PYTHONPATH=/checkout", "--env", "OMP_NUM_THREADS=1", "--workdir", "/checkout"]
    command = ["docker", "run", "--rm", "--network", "none", *mounts, *settings, "byoc-vision-train:latest"]
    said = subprocess.check_output([*command, "python", "-m", "tests.unit.train.shapes", "/model"], text=True)
    return [float(share) for share in said.split()]


def test_on_real_photographs_with_pretrained_weights(machine: Any, real_data: Path) -> None:
    data, weights = real_data / "data" / "trashnet6", real_data / "weights" / "mobilenet_v2-9dda7561.pth"
    assert machine.run(RUN, "--data", data, "--weights", weights, "--out", "out") == 0, machine.log
    summary = summary_of(machine.folder / "out")
    assert summary["test_accuracy"] >= 0.84
    assert summary["hyperparameters"] == {"arch": "mobilenet_v2"}
    assert (data / summary["picture"]).parent.name == summary["true_label"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "nowhere"], "error: nowhere is not a folder"),
        (["--weights", "nowhere.pth"], "error: nowhere.pth is not a file"),
        (["--datas", "x"], "error: unrecognized arguments: --datas x"),
    ],
)
def test_a_wrong_argument_is_told_in_one_sentence(machine: Any, arguments: list[str], sentence: str) -> None:
    assert machine.run(RUN, *arguments, "--out", "out") != 0
    assert sentence in machine.log.splitlines()[-1]
    assert "Traceback" not in machine.log


def test_when_training_fails_its_own_sentence_is_shown(machine: Any, tmp_path: Path) -> None:
    draw_set(tmp_path / "data")
    for file in (tmp_path / "data").glob("train/b*/*"):
        file.write_text("no picture, which only the job can see")
    assert machine.run(RUN, "--data", "data", "--out", "out") == 1
    assert "error: training failed: " in machine.log.splitlines()[-1]
    assert "pictures cannot be read, more than max-unreadable allows" in machine.log.splitlines()[-1]
    assert not (tmp_path / "out" / "summary.json").exists()
    assert (tmp_path / "out" / "output" / "failure").exists()


def test_ctrl_c_during_training_leaves_nothing_running(machine: Any) -> None:
    script = machine.start(RUN, "--out", "out")
    machine.wait_for(lambda: "epoch=1 " in machine.log, script)
    assert machine.press_ctrl_c(script) == 130
    assert "Traceback" not in machine.log


def test_ctrl_c_during_deployment_leaves_nothing_running(machine: Any) -> None:
    script = machine.start(RUN, "--out", "out")
    machine.wait_for(lambda: "== deploy" in machine.log, script)
    assert machine.press_ctrl_c(script) == 130
    assert "Traceback" not in machine.log
