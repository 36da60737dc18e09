"""Run the network with torch, on a GPU or on the CPU."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from classifier import artifact
from classifier.errors import UserError
from serve.backend import Network
from serve.forms import Run


def load(folder: Path, gpu: int | None = None) -> Network:
    """Return the network kept in `folder`, on the GPU of that number or on the CPU.

    Raises `UserError` when the files cannot be used, or the GPU cannot.
    """
    device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"the GPU cannot be used ({reason}); deploy with an InferenceAmiVersion whose driver is 525 or newer"
        ) from error
    classifier = artifact.load(folder)
    forms = {"float32": lambda: _float32(classifier, device)}
    return Network(classifier.arch, classifier.labels, classifier.preprocessing, str(device), forms)


def _float32(classifier: artifact.Classifier, device: torch.device) -> Run:
    # Convolutions are faster on the CPU, and on tensor cores, when a pixel's channels lie side by side.
    network = classifier.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            batch = torch.from_numpy(inputs).to(device).contiguous(memory_format=torch.channels_last)
            logits: NDArray[np.float32] = network(batch).float().cpu().numpy()
            return logits

    return run
