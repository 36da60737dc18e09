"""The frozen layers of a network, and all that a picture's features depend on besides the picture."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classifier.network import normalize
from classifier.preprocessing import Preprocessing

#: To be raised when the same inputs come to give other features, or the files another form.
FORMAT_VERSION = 2


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let CPU operations use `number` threads: some are so small that waiting for others takes longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Backbone:
    """The frozen layers of a network, and how pictures are prepared for them.

    `network` makes features [N, ...] of pictures; it is on `device`, and in evaluation mode.
    """

    network: nn.Module
    arch: str
    preprocessing: Preprocessing
    device: torch.device

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of a picture's features."""
        side = self.preprocessing.crop_size
        # On the device "meta", where nothing is computed, it takes longer: torch loads its compiler for that.
        with threads(1), torch.inference_mode():
            return tuple(self.network(torch.zeros((1, 3, side, side), device=self.device)).shape[1:])

    @cached_property
    def recipe(self) -> bytes:
        """A digest of all that features depend on besides the picture and the form that they are computed in."""
        plain = {
            "format": FORMAT_VERSION,
            "arch": self.arch,
            "preprocessing": asdict(self.preprocessing),
            "device": self.device.type,
            "versions": {package: version(package) for package in ("pillow", "torch", "torchvision")},
        }
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        for name, tensor in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.digest()

    @torch.inference_mode()
    def features(self, pixels: Tensor, precision: torch.dtype = torch.float32) -> NDArray[np.float32]:
        """Return the features [N, ...] of pictures, uint8 [N, 3, S, S], by torch."""
        inputs = normalize(pixels.to(self.device, non_blocking=True), self.preprocessing)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, precision, enabled=precision is not torch.float32):
            values: NDArray[np.float32] = self.network(inputs).float().cpu().numpy()
        return values
