"""What SageMaker's instance types are on this machine: all of it, with its GPUs or without."""

import subprocess
from functools import cache

from byoc_vision.requests.operations import is_gpu


@cache
def has_gpus() -> bool:
    """Return whether this machine has NVIDIA GPUs."""
    try:
        return subprocess.run(["nvidia-smi"], capture_output=True).returncode == 0
    except OSError:
        return False


def local_type(instance_type: str) -> str:
    """Return "local_gpu" for a type with GPUs where this machine has some, else "local"."""
    gpus = instance_type == "local_gpu" or (is_gpu(instance_type) and has_gpus())
    return "local_gpu" if gpus else "local"
