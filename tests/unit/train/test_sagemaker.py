"""The SageMaker entry: files under /opt/ml -> a run, and a failure file of one sentence."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from sagemaker_training.errors import ClientError

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.hyperparameters import Settings
from classifier import network
from train import job, sagemaker, start
from train.run import Run
from train.stopping import StopSignal


@pytest.fixture
def opt_ml(tmp_path, draw_classes, monkeypatch):
    """Return a folder laid out like /opt/ml, with one channel `training`."""
    for name in ("SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "opt_ml"
    draw_classes("opt_ml/input/data/training", count=8)
    (root / "input" / "config").mkdir()
    write(root, "inputdataconfig", {"training": {"TrainingInputMode": "File"}})
    write(root, "hyperparameters", {"epochs": '"1"', "train-layers": "all", "pretrained": "false", "image-size": "32"})
    return root


def write(root, name, content):
    (root / "input" / "config" / f"{name}.json").write_text(json.dumps(content))


def test_environment_becomes_a_run(opt_ml):
    run = job.read(opt_ml)
    assert run.settings == Settings(epochs=1, train_layers="all", pretrained=False, image_size=32)
    assert run.channels == {"training": opt_ml / "input" / "data" / "training"}
    assert (run.model, run.output) == (opt_ml / "model", opt_ml / "output" / "data")


def test_the_report_finds_pictures_beside_channels_that_are_not_used(opt_ml, monkeypatch):
    write(opt_ml, "inputdataconfig", {"training": {}, "labels": {}})
    (opt_ml / "output" / "data").mkdir(parents=True)
    (opt_ml / "output" / "data" / "metrics.json").write_text("{}")
    commands = []

    def run(command, **_):
        commands.append(command)
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(job.subprocess, "run", run)
    job._report(opt_ml)
    (command,) = commands
    assert command[command.index("--pictures") + 1] == str(opt_ml / "input" / "data" / "training")


# A replica that waits for ever says where: one in a hundred has done so beside other load.
TWO_GPUS = """
import faulthandler
import sys
from pathlib import Path
import torch
from train import job
from train.stopping import StopSignal
faulthandler.dump_traceback_later(240, exit=True)
if __name__ == "__main__":
    torch.cuda.device_count = lambda: 2
    job.run(Path(sys.argv[1]), StopSignal())
"""


def channel(root, name):
    folder = root / "input" / "data" / name
    folder.mkdir()
    write(root, "inputdataconfig", {"training": {}, name: {}})
    return folder


def test_the_weights_channel_holds_one_file(opt_ml):
    folder = channel(opt_ml, "weights")
    with pytest.raises(UserError, match=r"weights must hold one .*\.safetensors file and holds none"):
        job.read(opt_ml)
    file = folder / "resnet18.pth"
    torch.save(network.build("resnet18", 4).state_dict(), file)
    run = job.read(opt_ml)
    assert run.weights == file
    assert "weights" not in run.channels


def test_the_checkpoint_channel_is_where_a_run_begins_unless_it_has_its_own(opt_ml):
    folder = channel(opt_ml, "checkpoint")
    (folder / "checkpoint.pt").write_text("given")
    own = job.read(opt_ml).checkpoints / "checkpoint.pt"
    job._take_checkpoint(opt_ml)
    assert own.read_text() == "given"
    own.write_text("own")
    job._take_checkpoint(opt_ml)
    assert own.read_text() == "own"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="takes two cores")
def test_a_host_with_two_gpus_runs_two_replicas(opt_ml):
    write(
        opt_ml, "resourceconfig", {"hosts": ["localhost"], "current_host": "localhost", "network_interface_name": "lo"}
    )
    settings = {"arch": "resnet18", "epochs": "1", "train-layers": "all", "pretrained": "false", "image-size": "32"}
    # The profile would ask what the GPUs are called. Its replicas have processes of their own, as GPUs' have.
    write(opt_ml, "hyperparameters", settings | {"workers": "1", "debug-interval": "0", "export": "false"})
    program = opt_ml / "two.py"
    program.write_text(TWO_GPUS)
    done = subprocess.run([sys.executable, program, opt_ml], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (opt_ml / "model" / "model.safetensors").is_file()
    assert done.stdout.count("\nepoch=1 ") == 1


def test_a_replica_that_breaks_off_ends_the_job_with_a_reason(opt_ml, monkeypatch):
    monkeypatch.setattr(job, "_GRACE", 0.1)
    (opt_ml / "output").mkdir(exist_ok=True)
    fork = multiprocessing.get_context("fork")
    broken = [SimpleNamespace(exitcode=None), SimpleNamespace(exitcode=-9)]
    watching = fork.Process(target=job._watch, args=(opt_ml, broken, threading.Event()))
    watching.start()
    watching.join(60)
    assert watching.exitcode == 1
    assert (opt_ml / "output" / "failure").read_text() == "a replica on another GPU broke off; the log says where"


def test_a_gpu_that_torch_cannot_use_ends_the_job(opt_ml, monkeypatch):
    monkeypatch.setattr(job, "gpu_names", lambda: ["Tesla T4"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError, match=r"this machine's GPU \(Tesla T4\), whose driver is too old for CUDA"):
        job.run(opt_ml, StopSignal())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # somebody has hidden it
    job._check_gpus()


def test_a_gpu_with_too_little_memory_is_said(opt_ml, monkeypatch):
    def fail(run):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nmore")

    monkeypatch.setattr(Run, "__call__", fail)
    with pytest.raises(UserError, match=r"too little memory \(CUDA out of .* 9 GiB.\); set a lower batch-size"):
        job.run(opt_ml, StopSignal())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("lr is too high; lower it"), "lr is too high; lower it"),
        (UserError("x" * 5000), "x" * 1024),
        (
            ZeroDivisionError("division\nby zero"),
            "training broke off, see the log for where (ZeroDivisionError: division by zero)",
        ),
    ],
)
def test_every_failure_is_one_sentence(monkeypatch, error, message):
    def fail(root, stop):
        raise error

    monkeypatch.setattr(job, "run", fail)
    with pytest.raises(ClientError) as raised:
        sagemaker.main()
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("load", "before", "after"), [(0.5, None, None), (9.0, None, "1000"), (9.0, "30000", "30000"), (0.5, "0", "0")]
)
def test_threads_do_not_spin_where_others_compute(monkeypatch, capsys, load, before, after):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setenv("GOMP_SPINCOUNT", before or "")
    if before is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    start.share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == after
    assert ("this machine is busy" in capsys.readouterr().out) == (before != after)


def test_hyperparameters_and_data_are_enough_for_a_job(tmp_path):
    for folder in ("input/config", "input/data/train/cat", "input/data/validation", "output"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text('{"epochs": "2"}')
    (tmp_path / "output" / "failure").write_text("of an earlier job")
    start.complete(tmp_path)
    run = job.read(tmp_path)
    assert run.settings.epochs == 2 and set(run.channels) == {"train", "validation"}
    resources = json.loads((tmp_path / "input" / "config" / "resourceconfig.json").read_text())
    assert resources["hosts"] == [resources["current_host"]]
    assert not (tmp_path / "output" / "failure").exists()


def test_what_a_job_has_is_left_alone(tmp_path):
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    for name in ("hyperparameters", "inputdataconfig", "resourceconfig"):
        (config / f"{name}.json").write_text('{"mine": {}}')
    start.complete(tmp_path)
    assert {file.read_text() for file in config.iterdir()} == {'{"mine": {}}'}


def test_the_command_ends_as_the_toolkit_does():
    code = """
import sys
from sagemaker_training.cli import train
from train import start
train.main = lambda: (print("the last word", end=""), sys.exit(3))
start.complete = lambda root: None
start.main()
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 3 and ran.stdout.endswith("the last word")


def test_a_job_that_is_stopped_while_the_toolkit_is_imported_ends():
    code = """
import os
import signal
import sys
from train import start

class Finder:
    def find_spec(self, name, path, target=None):
        if name.startswith("sagemaker_training"):
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder())
start.main()
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_job_that_fails_on_a_full_disk_has_failed(opt_ml):
    """The toolkit cannot write its failure file there, and ended with 0."""
    code = """
import errno
from sagemaker_training import files
from train import start

def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

files.write_file = full
start.complete = lambda root: None
start.main()
"""
    write(opt_ml, "resourceconfig", {"current_host": "a", "hosts": ["a"], "network_interface_name": "eth0"})
    own = {"SAGEMAKER_TRAINING_MODULE": "train.sagemaker:nothing", "SAGEMAKER_BASE_DIR": str(opt_ml)}
    ran = subprocess.run([sys.executable, "-c", code], env=os.environ | own, capture_output=True, text=True)
    assert ran.returncode == 1 and "cannot be kept ([Errno 28] No space left on device)" in ran.stderr


@pytest.mark.skipif(not os.access("/opt", os.W_OK), reason="needs the container's /opt")
def test_the_images_train_command_writes_model_and_failure_file(opt_ml):
    """The image's command, on a job of hyperparameters and data, and the toolkit's own trainer, on a wrong one."""
    os.symlink(opt_ml, "/opt/ml")
    try:
        (opt_ml / "output").mkdir()
        (opt_ml / "output" / "failure").write_text("of an earlier job")
        # Where there was no /opt/ml when this process imported the toolkit, that has named another folder.
        own = {"SAGEMAKER_TRAINING_MODULE": "train.sagemaker:main", "SAGEMAKER_BASE_DIR": "/opt/ml"}
        environment = os.environ | own
        ran = subprocess.run([sys.executable, "-m", "train.start"], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert (opt_ml / "model" / "model.json").exists()
        assert (opt_ml / "output" / "data" / "metrics.json").exists()
        assert "data:image/jpeg" in (opt_ml / "output" / "data" / "report.html").read_text(), "no picture is shown"
        assert not (opt_ml / "output" / "failure").exists()
        write(opt_ml, "hyperparameters", {"epochz": "1"})
        ran = subprocess.run([sys.executable, "-c", "from sagemaker_training.trainer import train; train()"],
                             env=environment, capture_output=True, text=True)  # fmt: skip
        assert ran.returncode == 1
        failure = (opt_ml / "output" / "failure").read_text()
        assert failure.startswith("there is no hyperparameter 'epochz'; did you mean 'epochs'?")
    finally:
        os.unlink("/opt/ml")
