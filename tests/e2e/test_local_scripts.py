"""train_local.sh, serve_local.sh and predict.sh: plain docker run and curl, one after the other as a user would."""

import http.client
import json
import os
import random
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local_test.draw import CLASSES, draw_picture, draw_set
from tests.e2e.serving import TRAIN

SMALL = ("image-size=32", "epochs=6", "workers=1")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of drawn pictures, with a colon, a comma, a space and an accent in its name."""
    folder = tmp_path_factory.mktemp("data") / "drawn: pictures, é"
    draw_set(folder)
    return folder


def train(machine: Any, pictures: Path, out: str, *settings: str) -> Any:
    scratch = ("arch=resnet18", "pretrained=false", "train-layers=all", "batch-size=16")
    return machine.start("local_test/train_local.sh", "--data", pictures, "--out", out, *scratch, *SMALL, *settings)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_train_stop_resume_serve_predict(machine: Any, pictures: Path) -> None:
    script = train(machine, pictures, "whole")
    machine.wait_for(lambda: "epoch=1 " in machine.log, script)
    assert machine.run("local_test/train_local.sh", "--data", pictures, "--out", "whole") == 1
    assert "another job trains in" in machine.log
    assert script.wait() == 0, machine.log

    # Stopped in an epoch and continued, training ends with the same weights; these are not served.
    bare = ("export=false", "report=false")
    script = train(machine, pictures, "resumed", *bare)
    seen = machine.log.count("epoch=2 ")
    machine.wait_for(lambda: machine.log.count("epoch=2 ") > seen, script)
    assert machine.press_ctrl_c(script) == 130, machine.log
    assert list((machine.folder / "resumed" / "checkpoints").iterdir())
    assert train(machine, pictures, "resumed", *bare).wait() == 0, machine.log
    whole, resumed = (machine.folder / out / "model" / "model.safetensors" for out in ("whole", "resumed"))
    assert whole.read_bytes() == resumed.read_bytes()

    # What was trained is served, from the folder here.
    port = str(free_port())
    server = machine.start("local_test/serve_local.sh", whole.parent, PORT=port)
    machine.wait_for(lambda: is_ready(int(port)), server)
    before = len(machine.log)
    asked = sorted((pictures / "test").glob("*/*_00.jpg"))
    assert machine.run("local_test/predict.sh", *asked, ENDPOINT=f"http://127.0.0.1:{port}") == 0
    answers = [json.loads(line) for line in machine.log[before:].splitlines() if line.startswith("{")]
    assert [answer["predictions"][0]["label"] for answer in answers] == [picture.parent.name for picture in asked]
    (machine.folder / "text.jpg").write_text("no picture")
    assert machine.run("local_test/predict.sh", "text.jpg", ENDPOINT=f"http://127.0.0.1:{port}") != 0
    assert machine.press_ctrl_c(server) == 0, machine.log

    # So is an archive of it, as little as root.
    archive = machine.folder / "model.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", whole.parent, "."], check=True)
    server = machine.start("local_test/serve_local.sh", archive, PORT=port)
    machine.wait_for(lambda: is_ready(int(port)), server)
    assert machine.press_ctrl_c(server) == 0 and "running as root" not in machine.log, machine.log


def test_a_head_and_the_features_alone(machine: Any, pictures: Path, real_data: Path) -> None:
    weights = real_data / "weights" / "mobilenet_v2-9dda7561.pth"
    head = (
        "local_test/train_local.sh",
        "--data",
        pictures,
        "--weights",
        weights,
        "--out",
        "out",
        *SMALL,
        "export=false",
    )
    assert machine.run(*head, "extract-only=true") == 0, machine.log
    assert machine.log.splitlines()[-1] == f"the features are in {machine.folder}/out/checkpoints/features"
    assert machine.run(*head) == 0, machine.log
    assert machine.log.splitlines()[-1].startswith(f"the model is in {machine.folder}/out/model, ")
    assert (machine.folder / "out" / "checkpoints" / "features").is_dir()


def test_docker_run_needs_the_hyperparameters_only(machine: Any, pictures: Path) -> None:
    root = machine.folder / "opt_ml"
    for folder in ("input/config", "output"):
        (root / folder).mkdir(parents=True)
    (root / "input" / "config" / "hyperparameters.json").write_text('{"epoch": "3"}')
    (root / "output" / "failure").write_text("of an earlier job")
    user = f"{os.getuid()}:{os.getgid()}"
    command = ["docker", "run", "--rm", "--user", user, "--volume", f"{root}:/opt/ml", TRAIN, "train"]
    assert subprocess.run(command, capture_output=True).returncode == 1
    assert (root / "output" / "failure").read_text().startswith("there is no hyperparameter 'epoch'")


def test_features_with_a_third_of_a_core(tmp_path: Path) -> None:
    """The forms are tried all the same: what is compared is the processor's time, of which waiting is no part."""
    for name, (colour, corners) in list(CLASSES.items())[:2]:
        (tmp_path / name).mkdir()
        for number in range(200):
            draw_picture(colour, corners, random.Random(f"{name} {number}")).save(tmp_path / name / f"{number}.jpg")
    program = """
import sys, torch
from classifier import network
from train import __main__
torch.save(network.build("mobilenet_v3_small", 2).state_dict(), "/tmp/weights.pth")
sys.argv += ["--data=/data", "--weights=/tmp/weights.pth", "--arch=mobilenet_v3_small", "--out=/tmp/out"]
sys.argv += ["--image-size=32", "--extract-only=true"]
sys.exit(__main__.main())
"""
    options = ["--rm", "--cpus", "0.3", "--volume", f"{tmp_path}:/data:ro"]
    done = subprocess.run(["docker", "run", *options, TRAIN, "python", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" times as fast as torch float32;") == 2  # of what a head learns from, and of the rest


def test_hyperparameters_reach_the_job_and_a_wrong_one_is_told(machine: Any, pictures: Path) -> None:
    script = machine.start(
        "local_test/train_local.sh", "--data", pictures, "--out", "out", "epoch=3", 'arch="resnet18"'
    )
    assert script.wait() == 1
    assert "training failed: " in machine.log.splitlines()[-1]
    assert "'epochs'" in machine.log.splitlines()[-1]
    settings = json.loads((machine.folder / "out/input/config/hyperparameters.json").read_text(encoding="utf-8"))
    assert settings == {"epoch": "3", "arch": '"resnet18"'}


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["train_local.sh", "--data", "nowhere"], "train_local.sh: nowhere is not a folder"),
        (["train_local.sh", "--weights", "nowhere.pth"], "train_local.sh: nowhere.pth is not a file"),
        (["train_local.sh", "--speed"], "train_local.sh: unknown argument '--speed'"),
        (["serve_local.sh", "nowhere"], "serve_local.sh: there is no nowhere"),
        (["predict.sh", "nowhere.jpg"], "predict.sh: there is no picture nowhere.jpg"),
    ],
)
def test_a_wrong_argument_is_told_in_one_sentence(machine: Any, command: list[str], sentence: str) -> None:
    assert machine.run(f"local_test/{command[0]}", *command[1:]) != 0
    assert machine.log.startswith(sentence)
    assert len(machine.log.splitlines()) == 1
