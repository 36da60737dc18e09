"""Run the network. The only module of `serve` that knows which library does it."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from classifier import artifact
from classifier.errors import UserError


class Model:
    """A loaded classifier; `labels[i]` is the name of class i."""

    def __init__(self, classifier: artifact.Classifier, device: torch.device) -> None:
        self.arch = classifier.arch
        self.labels = classifier.labels
        self.device = device
        self._preprocessing = classifier.preprocessing
        # Convolutions are faster on the CPU, and on tensor cores, when a pixel's channels lie side by side.
        self._network = classifier.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def predict(self, batch: Sequence[Image.Image] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities [N, classes] of RGB pictures, or of a ready tensor [N, 3, height, width].

        Raises `UserError` when the tensor's size is not the one the network was trained on.
        """
        with torch.inference_mode():
            inputs = self._tensor(batch) if isinstance(batch, np.ndarray) else self._pictures(batch)
            logits = self._network(inputs.contiguous(memory_format=torch.channels_last))
            return cast(NDArray[np.float32], torch.softmax(logits.float(), dim=1).cpu().numpy())

    def warm_up(self) -> None:
        """Predict once, so that no client waits for what is done at the first call; raises `UserError` at NaN."""
        side = self._preprocessing.crop_size
        if not np.isfinite(self.predict([Image.new("RGB", (side, side), "gray")])).all():
            raise UserError("the model answers NaN: its weights are damaged or its training diverged; train it again")

    def _pictures(self, batch: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([self._preprocessing.pixels(image) for image in batch])
        return self._preprocessing.normalize(pixels.to(self.device))

    def _tensor(self, batch: NDArray[np.float32]) -> Tensor:
        side = self._preprocessing.crop_size
        if batch.shape[1:] != (3, side, side):
            raise UserError(f"the array is {list(batch.shape)}; this model takes [N, 3, {side}, {side}]")
        return torch.from_numpy(batch).to(self.device)


def load(folder: Path, gpu: int | None = None) -> Model:
    """Return the model kept in `folder`, on the GPU of that number or on the CPU.

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
    return Model(artifact.load(folder), device)
