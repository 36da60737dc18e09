"""A SageMaker job: the files under /opt/ml -> settings and folders -> a run, one process for each GPU of the host."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from train import checkpoint, config
from train.data import DataError
from train.distributed import join
from train.run import Run
from train.stopping import StopSignal

#: Channels that hold no training pictures.
_OTHER_CHANNELS = ("weights", "checkpoint", "features")


def run(root: Path, stop: StopSignal) -> None:
    """Run the job described by the files under `root` (laid out like /opt/ml) on the GPUs of this host, or its CPU."""
    here = max(1, torch.cuda.device_count())
    spawn = get_context("spawn").Process
    others = [spawn(target=_replica, args=(root, local, here), daemon=True) for local in range(1, here)]
    for process in others:
        process.start()
    try:
        _replica(root, 0, here, stop)
        for process in others:
            process.join()
    finally:  # What went wrong is what a report is for.
        _report(root)


def _replica(root: Path, local: int, here: int, stop: StopSignal | None = None) -> None:
    """Run the job's replica on this host's GPU number `local` of `here`."""
    if stop is None:
        stop = StopSignal()
        stop.listen()
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    resources = _json(root / "input" / "config" / "resourceconfig.json")
    hosts = resources.get("hosts", ["algo-1"])
    rank = hosts.index(resources.get("current_host", "algo-1")) * here + local
    group = join(hosts[0], rank, len(hosts) * here, resources.get("network_interface_name"))
    try:
        replace(read(root), group=group, stop=stop)()
    finally:
        group.leave()


def _report(root: Path) -> None:
    """Write the report on the job, in a process of its own: what goes wrong there is said and costs the job nothing."""
    job = read(root)
    # Of several hosts, only the first leaves these; no host does where training has not begun.
    left = any((job.output / file).exists() for file in ("metrics.json", "profile/steps.csv"))
    if not (job.settings.report and left):
        return
    pictures = os.path.commonpath(job.channels.values())  # what `train.data` names pictures from
    options = ["--model", str(job.model), "--pictures", pictures]
    if job.hook_configuration:
        options += ["--tensors", json.loads(job.hook_configuration.read_text(encoding="utf-8"))["LocalPath"]]
    subprocess.run([sys.executable, "-m", "debugger", str(job.output), *options], check=False)


def read(root: Path) -> Run:
    """Return the run that the files under `root` ask for."""
    inputs = root / "input"
    channels = {name: inputs / "data" / name for name in _json(inputs / "config" / "inputdataconfig.json")}
    checkpoints = root / "checkpoints"
    if "checkpoint" in channels and not (checkpoints / checkpoint.NAME).exists():
        checkpoints.mkdir(parents=True, exist_ok=True)
        shutil.copy(_only_file(channels["checkpoint"], {".pt"}), checkpoints / checkpoint.NAME)
    hook = inputs / "config" / "debughookconfig.json"
    return Run(
        settings=config.from_sagemaker(_json(inputs / "config" / "hyperparameters.json")),
        channels={name: folder for name, folder in channels.items() if name not in _OTHER_CHANNELS},
        weights=_only_file(channels["weights"], {".pth", ".pt", ".safetensors"}) if "weights" in channels else None,
        model=Path(os.environ.get("SM_MODEL_DIR", root / "model")),
        output=Path(os.environ.get("SM_OUTPUT_DATA_DIR", root / "output" / "data")),
        checkpoints=checkpoints,
        features=channels.get("features"),
        hook_configuration=hook if hook.exists() else None,
    )


def _json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _only_file(folder: Path, suffixes: set[str]) -> Path:
    """Return the one file in `folder` whose name ends in one of `suffixes`."""
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in suffixes]
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise DataError(f"the channel {folder.name} must hold one {'/'.join(sorted(suffixes))} file and holds {found}")
    return files[0]
