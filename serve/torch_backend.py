"""Run the network with torch, on a GPU or on the CPU."""

import copy
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from byoc_vision.contract.errors import UserError
from classifier import artifact
from serve import processor
from serve.backend import Network
from serve.forms import Forms, Run

logger = logging.getLogger(__name__)


def load(folder: Path, gpu: int | None = None) -> Network:
    """Return the network kept in `folder`, on the GPU of that number or on the CPU.

    Raises `UserError` when the files cannot be used, or the GPU cannot.
    """
    device = torch.device("cpu") if gpu is None else use_gpu(gpu)
    classifier = artifact.load(folder)
    # Convolutions are faster on the CPU, and on tensor cores, when a pixel's channels lie side by side.
    network = classifier.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forms = {"float32": lambda: _run(network, device)}
    forms |= _cpu_forms(network, classifier.preprocessing.crop_size) if gpu is None else _gpu_forms(network, device)
    probes = artifact.load_probes(folder, classifier)
    name = processor.name() if gpu is None else torch.cuda.get_device_name(device)
    software = f"torch {torch.__version__}"
    return Network(
        classifier.arch, classifier.labels, classifier.preprocessing, str(device), forms, probes, name, software
    )


def use_gpu(gpu: int) -> torch.device:
    """Return the GPU of that number; in the user's code, too, "cuda" is that one from now on.

    Raises `UserError` when it cannot be used.
    """
    device = torch.device(f"cuda:{gpu}")
    try:
        torch.zeros(1, device=device)
        torch.cuda.set_device(device)
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"the GPU cannot be used ({reason}); deploy with an InferenceAmiVersion whose driver is 525 or newer"
        ) from error
    return device


def _cpu_forms(network: nn.Module, side: int) -> Forms:
    forms = {"float32 fused": partial(_fused, network, side, torch.float32)}
    # Other processors emulate it.
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        forms["bfloat16 fused"] = partial(_fused, network, side, torch.bfloat16)
    return forms


def _fused(network: nn.Module, side: int, dtype: torch.dtype) -> Run:
    """Return the network as oneDNN compiles it: normalisation, activation and sums become part of the convolutions.

    What was compiled holds for one shape, so pictures go through one by one; on a core that takes no longer than all
    at once.
    """
    picture = torch.zeros(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    torch.jit.enable_onednn_fusion(True)
    autocast = torch.autocast("cpu", dtype, enabled=dtype is not torch.float32, cache_enabled=False)
    with warnings.catch_warnings(), torch.no_grad(), autocast:
        # That other shapes might need other operators.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        compiled = torch.jit.freeze(torch.jit.trace(network, picture, check_trace=False))  # type: ignore[no-untyped-call]
    run = _run(lambda batch: torch.cat([compiled(picture) for picture in torch.split(batch, 1)]), torch.device("cpu"))
    # The first run is watched, at the second it is compiled: for the mode that these are in, and no other.
    for _ in range(2):
        run(picture.numpy())
    return run


def _gpu_forms(network: nn.Module, device: torch.device) -> Forms:
    """Return the forms that tensor cores compute; bfloat16 is not among them before compute capability 8.0."""
    forms = {"float16": partial(_cast, network, device, torch.float16)}
    if torch.cuda.get_device_capability(device) >= (8, 0):
        forms["bfloat16"] = partial(_cast, network, device, torch.bfloat16)
    return forms


def _cast(network: nn.Module, device: torch.device, dtype: torch.dtype) -> Run:
    cast = copy.deepcopy(network).to(dtype)
    return _run(lambda batch: cast(batch.to(dtype)), device)


def _run(logits: Callable[[Tensor], Tensor], device: torch.device) -> Run:
    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with ending_with_the_gpu(), torch.inference_mode():
            batch = torch.from_numpy(inputs).to(device).contiguous(memory_format=torch.channels_last)
            answer: NDArray[np.float32] = logits(batch).float().cpu().numpy()
            return answer

    return run


@contextmanager
def ending_with_the_gpu() -> Iterator[None]:
    """End this process where the GPU fails: it can do nothing there any more, and multi-model-server starts another."""
    try:
        yield
    except torch.AcceleratorError:
        logger.exception("the GPU failed, so this worker ends")
        os._exit(1)
