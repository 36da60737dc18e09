"""A network up to its head, and all that a picture's features depend on besides the picture."""

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

from classifier.network import head_name, normalize
from classifier.preprocessing import Preprocessing

#: To be raised when the same inputs come to give other features, or the files another form.
FORMAT_VERSION = 2


@dataclass(frozen=True)
class Backbone:
    """A network up to its head, frozen and on `device`, and how pictures are prepared for it."""

    network: nn.Module
    arch: str
    preprocessing: Preprocessing
    device: torch.device

    @cached_property
    def width(self) -> int:
        """The number of a picture's features."""
        return int(self.network.get_submodule(head_name(self.network)).in_features)  # type: ignore[arg-type]

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
        found = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        head = head_name(self.network) + "."
        for name, tensor in self.network.state_dict().items():
            if not name.startswith(head):
                found.update(name.encode())
                found.update(tensor.cpu().contiguous().numpy().tobytes())
        return found.digest()

    @contextmanager
    def beheaded(self) -> Iterator[None]:
        """For as long as this lasts, the network has no head and gives features. It stays in evaluation mode."""
        _ = self.width, self.recipe  # while there is a head
        parent_name, _, name = head_name(self.network).rpartition(".")
        parent = self.network.get_submodule(parent_name)
        head = getattr(parent, name)
        setattr(parent, name, nn.Identity())
        self.network.eval()
        try:
            yield
        finally:
            setattr(parent, name, head)

    @torch.inference_mode()
    def features(self, pixels: Tensor, precision: torch.dtype = torch.float32) -> NDArray[np.float32]:
        """Return the features [N, D] of pictures, uint8 [N, 3, S, S], by torch, while the network is `beheaded`."""
        inputs = normalize(pixels.to(self.device, non_blocking=True), self.preprocessing)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, precision, enabled=precision is not torch.float32):
            found: NDArray[np.float32] = self.network(inputs).float().cpu().numpy()
        return found
