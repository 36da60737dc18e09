"""The training image's entry: a SageMaker job's environment -> settings and folders -> run -> artifact or failure file.

`sagemaker-training` calls `main` in the container's first process (SAGEMAKER_TRAINING_MODULE), so that the SIGTERM of a
stopped job or a spot interruption reaches the run itself.
"""

import json
import logging
import os
import shutil
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from sagemaker_training.errors import ClientError

from classifier.errors import UserError
from train import checkpoint, config, progress
from train.data import DataError
from train.distributed import join
from train.run import Run
from train.stopping import Stopped

ROOT = Path("/opt/ml")

#: Longest failure message that DescribeTrainingJob's FailureReason shows whole.
FAILURE_LENGTH = 1024

#: Channels that hold no training pictures.
_OTHER_CHANNELS = ("weights", "checkpoint")

log = logging.getLogger(__name__)


def main() -> None:
    """Run the job described under /opt/ml; raise `ClientError`, whose text becomes the failure file, when it fails."""
    progress.bars = False
    here = max(1, torch.cuda.device_count())
    others = [get_context("spawn").Process(target=replica, args=(local, here), daemon=True) for local in range(1, here)]
    try:
        for process in others:
            process.start()
        replica(0, here)
        for process in others:
            process.join()
    except Stopped:
        print(f"stopped; the same job continues from {ROOT / 'checkpoints'}")
    except UserError as error:
        raise ClientError(str(error)[:FAILURE_LENGTH]) from error
    except Exception as error:
        log.exception("the run broke off")
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ClientError(f"training broke off, see the log for where ({reason})"[:FAILURE_LENGTH]) from error


def replica(local: int, here: int) -> None:
    """Run the job's replica on this host's GPU number `local` of `here`, or on its CPU."""
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    resources = _json(ROOT / "input" / "config" / "resourceconfig.json")
    hosts = resources.get("hosts", ["algo-1"])
    rank = hosts.index(resources.get("current_host", "algo-1")) * here + local
    group = join(hosts[0], rank, len(hosts) * here, resources.get("network_interface_name"))
    run = replace(job(ROOT), group=group)
    run.stop.listen()
    run()


def job(root: Path) -> Run:
    """Return the run that the files under `root` (laid out like /opt/ml) ask for."""
    inputs = root / "input"
    channels = {name: inputs / "data" / name for name in _json(inputs / "config" / "inputdataconfig.json")}
    checkpoints = root / "checkpoints"
    if "checkpoint" in channels and not (checkpoints / checkpoint.NAME).exists():
        checkpoints.mkdir(parents=True, exist_ok=True)
        shutil.copy(_only_file(channels["checkpoint"], {".pt"}), checkpoints / checkpoint.NAME)
    return Run(
        settings=config.from_sagemaker(_json(inputs / "config" / "hyperparameters.json")),
        channels={name: folder for name, folder in channels.items() if name not in _OTHER_CHANNELS},
        weights=_only_file(channels["weights"], {".pth", ".pt", ".safetensors"}) if "weights" in channels else None,
        model=Path(os.environ.get("SM_MODEL_DIR", root / "model")),
        output=Path(os.environ.get("SM_OUTPUT_DATA_DIR", root / "output" / "data")),
        checkpoints=checkpoints,
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
