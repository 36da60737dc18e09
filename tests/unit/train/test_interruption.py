"""Stopped anywhere, killed anywhere: the run continues and ends with the very same weights."""

import functools
import itertools
import os
import signal
import time

import pytest
import torch

from bench.gpu.runs import StopAfter
from classifier import artifact, network
from tests.unit.train import processes
from train import fit
from train.checkpoint import Checkpoint, CheckpointError
from train.stopping import Stopped

#: How often a run of `make_run` looks for a stop before it trains: once a picture. Then come, in each of three epochs,
#: five batches and the validation.
BEFORE = 24


def weights_of(tmp_path, out):
    return (tmp_path / out / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def references():
    """Return weights of whole runs by what made them. One run of each is enough: all tests draw the same pictures."""
    return {}


@pytest.fixture
def uninterrupted(make_run, tmp_path, references):
    if "run" not in references:
        make_run(out="whole", augment="basic")()
        references["run"] = weights_of(tmp_path, "whole")
    return references["run"]


@pytest.mark.parametrize("looks", [0, 1, 3, 4, 5, 6, 10, 11, 16, 17])
def test_stopped_and_continued_is_bit_identical(make_run, tmp_path, uninterrupted, looks):
    run = make_run(augment="basic", stop=StopAfter(BEFORE + looks))
    with pytest.raises(Stopped):
        run()
    assert (tmp_path / "out" / "checkpoints" / "checkpoint.pt").exists()
    make_run(augment="basic")()
    assert weights_of(tmp_path, "out") == uninterrupted


def test_stopped_again_and_again(make_run, tmp_path, uninterrupted):
    stops = 0
    while stops < 30:
        # After training come three looks more: at the validation, test and heat maps' batches.
        run = make_run(augment="basic", workers=stops % 3, stop=StopAfter(BEFORE + 3))
        try:
            run()
            break
        except Stopped:
            stops += 1
    assert 3 < stops < 30
    assert weights_of(tmp_path, "out") == uninterrupted


def test_a_stopped_run_leaves_the_best_model_so_far(make_run, tmp_path):
    run = make_run(stop=StopAfter(BEFORE + 8))
    with pytest.raises(Stopped):
        run()
    assert artifact.load(tmp_path / "out" / "model").metrics["best_epoch"] >= 1


def options(tmp_path, out):
    values = {
        "data": tmp_path / "pictures", "out": tmp_path / out, "arch": "mobilenet_v3_small", "pretrained": "false",
        "train-layers": "all", "image-size": 32, "batch-size": 2, "epochs": 6, "workers": 2, "augment": "basic",
        "export": "false",
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in values.items()]


@pytest.fixture
def whole_command(make_run, tmp_path, references):
    if "command" not in references:
        assert processes.train(options(tmp_path, "whole"), tmp_path / "whole.log") == 0
        references["command"] = weights_of(tmp_path, "whole")
    return references["command"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_an_epoch(tmp_path, whole_command, number):
    log = tmp_path / "log"
    process = processes.started(options(tmp_path, "out"), log)
    while "epoch=3" not in log.read_text():
        assert process.is_alive(), log.read_text()
        time.sleep(0.01)
    time.sleep(0.05)  # somewhere inside the next epoch
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 130
    assert "stopped; the same command continues" in log.read_text()
    assert processes.train(options(tmp_path, "out"), log) == 0, log.read_text()
    assert "continuing at epoch 4" in log.read_text()
    assert weights_of(tmp_path, "out") == whole_command


def die_while_writing(number):
    """Have the machine die at that write: the checkpoint is cut off in its temporary file, which is not yet renamed."""
    fit.SAVE_EVERY = 0.0
    writes, real = itertools.count(1), os.fsync

    def fsync(handle):
        if next(writes) == number:
            os.truncate(handle if isinstance(handle, str) else f"/proc/self/fd/{handle}", 4096)
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)

    os.fsync = fsync


@pytest.mark.parametrize("die_at", [1, 2, 9])
def test_killed_while_writing_a_checkpoint(tmp_path, whole_command, die_at):
    log = tmp_path / "log"
    dying = functools.partial(die_while_writing, die_at)
    assert processes.train(options(tmp_path, "out"), log, dying) == -signal.SIGKILL, log.read_text()
    assert processes.train(options(tmp_path, "out"), log) == 0, log.read_text()
    assert weights_of(tmp_path, "out") == whole_command


def test_a_checkpoint_of_another_run_is_refused(make_run, tmp_path):
    run = make_run(lr=0.001, stop=StopAfter(BEFORE + 8))
    with pytest.raises(Stopped):
        run()
    with pytest.raises(CheckpointError, match=r"lr was 0\.001, is 0\.1.*remove the checkpoint"):
        make_run(lr=0.1)()
    make_run(lr=0.001, workers=2)()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_damaged_checkpoint_says_so(tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read; remove it"):
        Checkpoint(tmp_path, {}).load()


def test_a_checkpoint_survives_its_trip(tmp_path):
    state = {"network": network.build("resnet18", 2).state_dict(), "progress": {"epoch": 2, "history": [{"a": 0.5}]}}
    Checkpoint(tmp_path, {"lr": 0.1}).save(state)
    loaded = Checkpoint(tmp_path, {"lr": 0.1}).load()
    assert loaded["progress"] == state["progress"]
    assert torch.equal(loaded["network"]["fc.weight"], state["network"]["fc.weight"])
    assert Checkpoint(tmp_path / "elsewhere", {}).load() is None
