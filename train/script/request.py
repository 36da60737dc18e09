"""What a job asks for in the settings that the SDK adds to its hyperparameters, and in the environment."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.hyperparameters import unquote

#: Read here, or by sagemaker-training itself; the last two only tell who made the request.
_HONOURED = {
    "sagemaker_program",
    "sagemaker_submit_directory",
    "sagemaker_container_log_level",
    "sagemaker_region",
    "sagemaker_job_name",
    "sagemaker_s3_output",
    "sagemaker_instance_type",
    "sagemaker_distribution_instance_groups",
    "sagemaker_estimator_class_name",
    "sagemaker_estimator_module",
}

#: Either starts the program with torchrun.
TORCHRUN = ("sagemaker_torch_distributed_enabled", "sagemaker_pytorch_ddp_enabled")

#: Ways to start a program on several hosts that this image does not have, and what the SDK calls them.
_OTHERS = {
    "sagemaker_mpi_enabled": "mpi",
    "sagemaker_distributed_dataparallel_enabled": "smdistributed dataparallel",
    "sagemaker_parameter_server_enabled": "parameter_server",
    "sagemaker_pytorch_xla_multi_worker_enabled": "pytorchxla",
}


def settings(root: Path) -> dict[str, Any]:
    """Return the job's settings below `root` (laid out like /opt/ml): the hyperparameters that SageMaker's SDK adds."""
    file = root / "input" / "config" / "hyperparameters.json"
    raw = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {name: unquote(value) for name, value in raw.items() if name.startswith("sagemaker_")}


def program(asked: Mapping[str, Any]) -> str | None:
    """Return the name of the program that is to run; None where the job names none."""
    return os.environ.get("SAGEMAKER_PROGRAM") or asked.get("sagemaker_program") or None


def place(asked: Mapping[str, Any], root: Path) -> str:
    """Return where the code is: what the job names, else the channel `code`, else the folder `code` of the image."""
    named = asked.get("sagemaker_submit_directory") or os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY")
    channel = root / "input" / "data" / "code"
    return str(named or (channel if channel.is_dir() else root / "code")).removeprefix("file://")


def torchrun(asked: Mapping[str, Any]) -> bool:
    """Return whether torchrun is to start the program; raise `UserError` for a way to start it that is not here."""
    for name, way in _OTHERS.items():
        if _is_on(asked.get(name)):
            raise UserError(
                f"the distribution {way} is not in this image; give the estimator "
                'distribution={"torch_distributed": {"enabled": True}}, which starts the program with torchrun'
            )
    return any(_is_on(asked.get(name)) for name in TORCHRUN)


def ignored(asked: Mapping[str, Any]) -> list[str]:
    """Return the settings that have no effect, as name=value; where no program is named, that is code as well."""
    honoured = _HONOURED | ({*TORCHRUN} if program(asked) else set())
    if not program(asked):
        honoured -= {"sagemaker_submit_directory", "sagemaker_distribution_instance_groups"}
    return [f"{name}={value}" for name, value in sorted(asked.items()) if name not in honoured and _is_on(value)]


def _is_on(value: object) -> bool:
    return str(value).lower() not in ("none", "", "false", "0")
