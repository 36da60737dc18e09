"""A SageMaker job: the files under /opt/ml -> settings and folders -> a run, one process for each GPU of the host."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from byoc_vision.contract import hyperparameters, weights
from byoc_vision.contract import job as contract
from byoc_vision.contract.errors import DataError, UserError
from train import checkpoint
from train.distributed import join
from train.record.utilisation import gpu_names
from train.run import Run
from train.stopping import Stopped, StopSignal

#: Seconds that the first replica has to fail of its own when another has.
_GRACE = 30


def run(root: Path, stop: StopSignal) -> None:
    """Run the job described by the files under `root` (laid out like /opt/ml) on the GPUs of this host, or its CPU."""
    _check_gpus()
    here = max(1, torch.cuda.device_count())
    _take_checkpoint(root)
    # Not as daemons, which may not start the processes that decode pictures.
    others = [get_context("spawn").Process(target=_other_replica, args=(root, i, here)) for i in range(1, here)]
    over = threading.Event()
    if others:
        threading.Thread(target=_watch, args=(root, others, over), daemon=True).start()
    try:
        for process in others:
            process.start()
        _replica(root, 0, here, stop)
        for process in others:
            process.join()
    finally:
        over.set()
        for process in others:
            if process.pid:
                process.kill()
        _report(root)  # What went wrong is what a report is for.


def _check_gpus() -> None:
    """Raise `UserError` where the machine has GPUs that torch cannot use: on its CPU the job would cost many times."""
    if torch.cuda.is_available() or "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    if names := gpu_names():
        raise UserError(
            f"torch cannot use this machine's GPU ({names[0]}), whose driver is too old for CUDA {torch.version.cuda}; "
            "choose another instance type, or set CUDA_VISIBLE_DEVICES to nothing to train on the CPU"
        )


def _watch(root: Path, others: Sequence[BaseProcess], over: threading.Event) -> None:
    """End the job when one of the `others` has broken off: this host's first would wait for it in vain."""
    while not over.wait(1):
        # What is wrong with the job is wrong for all replicas, and the first says it best.
        if any(process.exitcode for process in others) and not over.wait(_GRACE):
            reason = "a replica on another GPU broke off; the log says where"
            (root / "output" / "failure").write_text(reason, encoding="utf-8")
            _report(root)
            os._exit(1)


def _other_replica(root: Path, local: int, here: int) -> None:
    stop = StopSignal()
    stop.listen()
    with suppress(Stopped):
        _replica(root, local, here, stop)


def _replica(root: Path, local: int, here: int, stop: StopSignal) -> None:
    """Run the job's replica on this host's GPU number `local` of `here`, with its share of the cores."""
    cores = sorted(os.sched_getaffinity(0))
    share = len(cores) // here
    if share:
        os.sched_setaffinity(0, cores[local * share : (local + 1) * share])
        torch.set_num_threads(min(share, torch.get_num_threads()))  # it has counted the cores of the host
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    resources = _json(root / "input" / "config" / "resourceconfig.json")
    hosts = resources.get("hosts", ["algo-1"])
    rank = hosts.index(resources.get("current_host", "algo-1")) * here + local
    group = join(hosts[0], rank, len(hosts) * here, resources.get("network_interface_name"))
    try:
        replace(read(root), group=group, stop=stop)()
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"the GPU has too little memory ({reason}); set a lower batch-size or image-size, or choose an instance "
            "type whose GPU has more"
        ) from error
    finally:
        group.leave()


def _take_checkpoint(root: Path) -> None:
    """Put the channel `checkpoint`'s file where the run looks for one, unless it has one of its own."""
    channel, own = root / "input" / "data" / "checkpoint", root / "checkpoints" / checkpoint.NAME
    if channel.is_dir() and not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_checkpoint(channel), own)


def _report(root: Path) -> None:
    """Write the report on the job, in a process of its own: what goes wrong there is said and costs the job nothing."""
    job = read(root)
    # Of several hosts, only the first leaves these; no host does where training has not begun.
    left = any((job.output / file).exists() for file in (contract.METRICS, f"{contract.PROFILE}/{contract.STEPS}"))
    if not (job.settings.report and left):
        return
    # What `train.data` names pictures from.
    pictures = os.path.commonpath(folder for name, folder in job.channels.items() if name in contract.PICTURES)
    options = ["--model", str(job.model), "--pictures", pictures, "--within-job"]
    if job.hook_configuration:
        options += ["--tensors", json.loads(job.hook_configuration.read_text(encoding="utf-8"))["LocalPath"]]
    command = [sys.executable, "-m", "byoc_vision.debugger", str(job.output), *options]
    # Not what it prints: the path here is not the path there, where the job's output goes.
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0:
        print(f"{contract.REPORT} is in the job's output", flush=True)


def read(root: Path) -> Run:
    """Return the run that the files under `root` ask for."""
    inputs = root / "input"
    channels = {name: inputs / "data" / name for name in _json(inputs / "config" / "inputdataconfig.json")}
    hook = inputs / "config" / "debughookconfig.json"
    resources = _json(inputs / "config" / "resourceconfig.json")
    return Run(
        settings=hyperparameters.from_sagemaker(_json(inputs / "config" / "hyperparameters.json")),
        channels={name: folder for name, folder in channels.items() if name not in contract.OTHERS},
        weights=weights.only_file(channels["weights"]) if "weights" in channels else None,
        model=Path(os.environ.get("SM_MODEL_DIR", root / "model")),
        output=Path(os.environ.get("SM_OUTPUT_DATA_DIR", root / "output" / "data")),
        checkpoints=root / "checkpoints",
        features=channels.get("features"),
        hook_configuration=hook if hook.exists() else None,
        known={**contract.named(os.environ), "hosts": len(resources.get("hosts", ["algo-1"]))},
    )


def _json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _checkpoint(folder: Path) -> Path:
    """Return the one checkpoint in `folder`."""
    files = sorted(folder.rglob("*.pt"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise DataError(f"the channel {folder.name} must hold one .pt file and holds {names}")
    return files[0]
