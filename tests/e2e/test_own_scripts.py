"""Scripts of users' own, as they bring them: tuned, trained, distributed, stopped, killed; real containers."""

import json
import random
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc_vision import Session
from byoc_vision.endpoint import FailedError
from byoc_vision.jobs import TrainingJob
from local_test import draw
from tests.e2e.conftest import CHECKOUT
from tests.e2e.small_training import ONE_THREAD

EXAMPLE = CHECKOUT / "examples" / "own_scripts"

#: Of two hosts, each trains on other numbers; what DistributedDataParallel does not average would differ.
TOGETHER = """
import os
import torch
import torch.distributed as dist
BEGIN
rank = dist.get_rank()
torch.manual_seed(rank)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
weights = model.module.weight.flatten().tolist()
print(f"rank {rank} of {dist.get_world_size()} has {weights}", flush=True)
if rank == 0:
    torch.save(model.module.state_dict(), os.environ["SM_MODEL_DIR"] + "/model.pth")
dist.destroy_process_group()
"""

#: How its processes begin: torchrun's, and those of a program that runs once on each host, as in AWS's own examples.
BEGINNINGS = {
    True: 'dist.init_process_group("gloo")',
    False: """import json
hosts = json.loads(os.environ["SM_HOSTS"])
dist.init_process_group("gloo", rank=hosts.index(os.environ["SM_CURRENT_HOST"]), world_size=len(hosts))""",
}

STOPPABLE = """
import os, signal, sys, time
def save(*_):
    print("saving", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
open(os.environ["SM_MODEL_DIR"] + "/before.txt", "w").write("as it was")
print("ready", flush=True)
time.sleep(600)
"""


#: Batches on their way from the workers that are larger than the 64 MB which Docker gives containers for it.
WORKERS = """
import torch
from torch.utils.data import DataLoader, Dataset
class Pictures(Dataset):
    def __len__(self): return 8
    def __getitem__(self, number): return torch.zeros(32, 1024, 1024)
for batch in DataLoader(Pictures(), num_workers=2): pass
"""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("BYOC_HOME", str(tmp_path / "home"))
    (tmp_path / "request.yaml").write_text(ONE_THREAD)
    return Session(local=True, request_files=[tmp_path / "request.yaml"])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("red_circle", "blue_triangle"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            picture = draw.draw_picture(*draw.CLASSES[name], random.Random(number))
            picture.save(tmp_path / "pictures" / name / f"{number}.jpg")
    return tmp_path / "pictures"


def source(folder: Path, text: str) -> Path:
    """Return a folder with a program train.py of that text."""
    (folder / "source").mkdir()
    (folder / "source" / "train.py").write_text(text)
    return folder / "source"


def members(job: TrainingJob) -> set[str]:
    """Return the names in the model that the job has left."""
    with tarfile.open(job.model.removeprefix("file://")) as archive:
        return {name for name in archive.getnames() if name != "."}


def test_the_example_is_tuned_trained_and_reported_on(session: Session, pictures: Path, tmp_path: Path) -> None:
    search = session.tune(EXAMPLE / "tune.yaml", pictures, hyperparameters={"image-size": 32}, max_jobs=2)
    best = search.wait().best
    assert best.keys() == {"lr", "batch-size", "epochs", "image-size"} and best["epochs"] == "5"
    log: list[str] = []
    values = best | {"epochs": 2}
    job = session.train(pictures, hyperparameters=values, source=EXAMPLE, program="train_model.py").wait(log.append)
    assert job.metrics.keys() == {"train_loss", "validation_loss", "validation_accuracy"}
    assert members(job) == {"model.pth"}
    content = json.loads((tmp_path / "home").rglob("report.json").__next__().read_text())
    judged = {rule["Rule"] for rule in content["rules"] if rule["Judged"]}
    assert judged >= {"VanishingGradient", "ExplodingTensor", "Overfit", "PoorWeightInitialization"}
    assert content["curves"].keys() >= {"train_loss", "validation_loss", "validation_accuracy"}
    assert content["utilisation"]
    endpoint = Session(local=True).deploy(job.name, "own-scripts", source=EXAMPLE).wait()
    try:
        picture = next(iter((pictures / "red_circle").iterdir()))
        answer = session.engine.runtime.invoke_endpoint(
            EndpointName="own-scripts", ContentType="image/jpeg", Body=picture.read_bytes()
        )
        probabilities = json.loads(answer["Body"].read())
        assert probabilities.keys() == {"red_circle", "blue_triangle"}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
    finally:
        endpoint.delete()


@pytest.mark.parametrize("torchrun", BEGINNINGS)
def test_two_hosts_train_together(session: Session, tmp_path: Path, torchrun: bool) -> None:
    log: list[str] = []
    job = session.train(
        tmp_path,
        hyperparameters={"sagemaker_torch_distributed_enabled": torchrun},
        instance_count=2,
        source=source(tmp_path, TOGETHER.replace("BEGIN", BEGINNINGS[torchrun])),
        program="train.py",
    ).wait(log.append)
    weights = {line.partition("has ")[2] for line in log if "of 2 has" in line}
    assert sum("of 2 has" in line for line in log) == 2 and len(weights) == 1
    assert members(job) == {"model.pth"}


def test_loader_workers_have_the_shared_memory_of_a_machine(session: Session, tmp_path: Path) -> None:
    session.train(tmp_path, source=source(tmp_path, WORKERS), program="train.py").wait()


def test_a_script_that_is_stopped_saves_what_it_has(session: Session, tmp_path: Path) -> None:
    job = session.train(tmp_path, source=source(tmp_path, STOPPABLE), program="train.py")
    new_lines, log = session.engine.logs("training", job.name), ""
    while "ready" not in log:
        log += "\n".join(new_lines())
        assert job.status == "InProgress", log
        time.sleep(0.2)
    job.stop()
    with pytest.raises(FailedError, match="was stopped"):
        job.wait()
    assert "saving" in "\n".join([log, *new_lines()])
    assert members(job) == {"before.txt"}


def test_a_failed_script_says_why(session: Session, tmp_path: Path) -> None:
    text = "print('loss=1\\nloss=2')\nraise ValueError('no pictures')"
    job = session.train(tmp_path, source=source(tmp_path, text), program="train.py")
    with pytest.raises(
        FailedError, match=r"train\.py ended with exit code 1: ValueError: no pictures \(train\.py, line 2\)"
    ):
        job.wait()
    content = json.loads(next((tmp_path / "home").rglob("report.json")).read_text())
    assert list(content["curves"]) == ["loss"]
    verdicts = {rule["Rule"]: rule for rule in content["rules"]}
    assert verdicts["Overfit"]["StatusDetails"] == "The job left no debugger recording (tensors)."
    assert not job.has_model


def started(image: str, *command: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run a container to its end."""
    return subprocess.run(
        ["docker", "run", "--rm", *options, f"{image}:latest", *command], capture_output=True, text=True, check=False
    )


@pytest.fixture
def opt_ml(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder laid out like /opt/ml, for a job on one host."""
    root = tmp_path / "ml"
    for folder in ("input/config", "input/data/code", "model", "output"):
        (root / folder).mkdir(parents=True)
    host = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
    for name, content in (
        ("hyperparameters", {"sagemaker_program": "train.py"}),
        ("inputdataconfig", {"code": {"TrainingInputMode": "File"}}),
        ("resourceconfig", host | {"current_instance_type": "ml.m5.large"}),
    ):
        (root / "input" / "config" / f"{name}.json").write_text(json.dumps(content))
    yield root
    started("byoc-vision-train", "chmod", "-R", "a+rwX", "/opt/ml", options=("-v", f"{root}:/opt/ml"))


def test_a_script_that_the_kernel_kills_for_memory(opt_ml: Path) -> None:
    (opt_ml / "input/data/code/train.py").write_text("held = []\nwhile True: held.append(bytearray(10_000_000))\n")
    options = ("--network", "none", "--memory", "400m", "--memory-swap", "400m", "-v", f"{opt_ml}:/opt/ml")
    assert started("byoc-vision-train", "train", options=options).returncode == 1
    assert "the kernel killed it for memory" in (opt_ml / "output/failure").read_text()
    assert (opt_ml / "output/data/report.html").exists()


def test_loader_workers_without_shared_memory_say_what_to_do(opt_ml: Path) -> None:
    (opt_ml / "input/data/code/train.py").write_text(WORKERS)
    assert started("byoc-vision-train", "train", options=("-v", f"{opt_ml}:/opt/ml")).returncode == 1
    assert "/dev/shm, which has 64 MB here; take fewer" in (opt_ml / "output/failure").read_text()


def test_a_package_in_its_own_requirements_is_installed_without_a_network(opt_ml: Path) -> None:
    code = opt_ml / "input/data/code"
    (code / "src/mine").mkdir(parents=True)
    (code / "src/mine/__init__.py").write_text("answer = 42")
    (code / "train.py").write_text("import mine; assert mine.answer == 42")
    (code / "requirements.txt").write_text("-e .\n")
    (code / "pyproject.toml").write_text("[project]\nname = 'mine'\nversion = '1'\n")
    options = ("--network", "none", "-e", "PIP_RETRIES=0", "-v", f"{opt_ml}:/opt/ml")
    assert started("byoc-vision-train", "train", options=options).returncode == 0


def test_a_requirement_without_a_network_is_named(opt_ml: Path) -> None:
    (opt_ml / "input/data/code/train.py").write_text("")
    (opt_ml / "input/data/code/requirements.txt").write_text("pillow\nno-such-package-as-this\n")
    options = ("--network", "none", "-e", "PIP_RETRIES=0", "-v", f"{opt_ml}:/opt/ml")
    assert started("byoc-vision-train", "train", options=options).returncode == 1
    assert "no-such-package-as-this; check requirements.txt" in (opt_ml / "output/failure").read_text()


@pytest.mark.parametrize("image", ["byoc-vision-serve", "byoc-vision-serve-cpu"])
def test_a_serving_image_does_not_train_and_says_which_does(image: str) -> None:
    done = started(image, "train")
    assert done.returncode == 1
    assert "train with byoc-vision-train" in done.stderr


def test_the_training_image_does_not_serve_and_says_which_does() -> None:
    done = started("byoc-vision-train", "serve")
    assert done.returncode == 1
    assert "deploy its models with byoc-vision-serve" in done.stderr


def test_sdk_3s_own_driver_runs_with_a_profile_and_a_report(opt_ml: Path) -> None:
    """What `ModelTrainer` with `SourceCode` puts into the container, and starts there instead of `train`."""
    from sagemaker.core.modules import constants, templates

    (opt_ml / "input/data/code/train.py").write_text(
        "import smdebug.pytorch as smd, torch, time\n"
        "hook = smd.Hook.create_from_json_file()\n"
        "net, loss = torch.nn.Linear(2, 2), torch.nn.CrossEntropyLoss()\n"
        "hook.register_hook(net)\n"
        "hook.register_loss(loss)\n"
        "for _ in range(3): loss(net(torch.ones(1, 2)), torch.zeros(1, dtype=torch.long)).backward()\n"
        "hook.record_tensor_value('half_loss_output', torch.ones(2, dtype=torch.bfloat16))\n"
        "time.sleep(1.5)\n"
    )
    drivers = opt_ml / "input/data/sm_drivers"
    shutil.copytree(constants.SM_DRIVERS_LOCAL_PATH, drivers)
    source_code = {"source_dir": ".", "entry_script": "train.py"}
    (drivers / "sourcecode.json").write_text(json.dumps(source_code))
    (drivers / "distributed.json").write_text("{}")
    script = templates.TRAIN_SCRIPT_TEMPLATE.format(
        working_dir="cd /opt/ml/input/data/code",
        install_requirements="",
        execute_driver=templates.EXECUTE_BASIC_SCRIPT_DRIVER,
    )
    (drivers / constants.TRAIN_SCRIPT).write_text(script)
    entry = ("--entrypoint", *constants.DEFAULT_CONTAINER_ENTRYPOINT)
    options = (*entry, "-e", "TRAINING_JOB_NAME=job", "-e", "OMP_NUM_THREADS=1", "-v", f"{opt_ml}:/opt/ml")
    done = started("byoc-vision-train", *constants.DEFAULT_CONTAINER_ARGUMENTS, options=options)
    assert done.returncode == 0, done.stdout
    content = json.loads((opt_ml / "output/data/report.json").read_text())
    assert content["utilisation"] and content["machine"]["program"] == "train.py"
    assert next(rule for rule in content["rules"] if rule["Rule"] == "VanishingGradient")["Judged"]
