"""Batches for the fit loop: of pictures, decoded by worker processes, or of features that are already tensors.

Both give the same samples in the same order for the same seed and epoch, whatever the number of workers, and can
begin in the middle of an epoch: that is what makes a resumed run equal to one that was never interrupted.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import InterpolationMode, v2

from classifier import pictures
from classifier.preprocessing import Preprocessing, as_tensor
from train.data import Split
from train.stopping import leave_signals_to_parent


class Batches(Protocol):
    """What the loop asks of its data."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) of the epoch, without its first `skip` batches, on the device of the network."""


@dataclass(frozen=True)
class Order:
    """In which order an epoch shows its samples, and how many make a batch.

    With `whole` a last batch of a single sample is left out (another one each epoch): batch normalisation cannot learn
    from one. A batch size beyond the number of samples means one batch of all.
    """

    samples: int
    batch_size: int
    seed: int | None = None  # None: the order of the files
    whole: bool = False

    def __len__(self) -> int:
        return -(-self._used // self.batch_size)

    @property
    def _used(self) -> int:
        return self.samples - (self.whole and self.samples > 1 and self.samples % self.batch_size == 1)

    def positions(self, epoch: int) -> Tensor:
        """Return the samples of `epoch` in order, as int64 positions."""
        if self.seed is None:
            return torch.arange(self._used)
        generator = torch.Generator().manual_seed(_mix(self.seed, epoch))
        return torch.randperm(self.samples, generator=generator)[: self._used]


class FeatureBatches:
    """Batches of `features` [N, D] (float32), which lie with their `targets` [N] on the network's device."""

    def __init__(self, features: Tensor, targets: Tensor, order: Order) -> None:
        self._features, self._targets, self._order = features, targets, order

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        positions = self._order.positions(number).to(self._features.device)
        size = self._order.batch_size
        for begin in range(skip * size, len(positions), size):
            chosen = positions[begin : begin + size]
            yield self._features[chosen], self._targets[chosen]


class PictureBatches:
    """Batches of the pictures of a split, normalised, [N, 3, S, S] float32, on `device`."""

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        order: Order,
        workers: int,
        device: torch.device,
        augment: str = "none",
    ) -> None:
        self._preprocessing, self._order, self._device = preprocessing, order, device
        self._places = _Places(order)
        workers = min(workers, len(order))
        batch_bytes = min(order.batch_size, order.samples) * 3 * preprocessing.crop_size**2
        self._loader = DataLoader(
            _Pictures(split, preprocessing, augment, order.seed or 0),
            batch_size=order.batch_size,
            sampler=self._places,
            num_workers=workers,
            collate_fn=None if _fits_shared_memory(batch_bytes * (2 * workers + 1)) else _as_arrays,
            worker_init_fn=leave_signals_to_parent,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else each new iterator draws from the stream that dropout uses
        )

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, targets in self.pixels(number, skip):
            inputs = self._preprocessing.normalize(pixels.to(self._device, non_blocking=True))
            yield inputs, targets.to(self._device, non_blocking=True)

    def pixels(self, epoch: int = 0, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches as uint8 [N, 3, S, S] with their targets [N], on the CPU."""
        self._places.epoch, self._places.skip = epoch, skip
        for pixels, targets in self._loader:
            yield torch.as_tensor(pixels), torch.as_tensor(targets)


class _Places(Sampler[tuple[int, int]]):
    """Yields (epoch, position): a worker process learns the epoch with each sample, so it can live through all."""

    def __init__(self, order: Order) -> None:
        self.order, self.epoch, self.skip = order, 0, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for position in self.order.positions(self.epoch)[self.skip * self.order.batch_size :].tolist():
            yield self.epoch, position


@dataclass(frozen=True)
class _Pictures(Dataset[tuple[Tensor, int]]):
    split: Split
    preprocessing: Preprocessing
    augment: str
    seed: int
    transform: v2.Transform | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "transform", _augmentation(self.augment, self.preprocessing))

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, position = place
        image = pictures.decode(self.split.files[position])
        target = self.split.targets[position]
        if self.transform is None:
            return self.preprocessing.pixels(image), target
        # Each picture's randomness comes from seed, epoch and position alone: no state to save, none to lose.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mix(self.seed, epoch, position))
            augmented: Image.Image = self.transform(image)
        return as_tensor(augmented), target


def _fits_shared_memory(size: int) -> bool:
    memory = Path("/dev/shm")
    return not memory.exists() or shutil.disk_usage(memory).free > 1.5 * size


def _as_arrays(samples: list[tuple[Tensor, int]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Collate without tensors: these would travel through /dev/shm, of which Docker gives a container only 64 MB."""
    return np.stack([pixels.numpy() for pixels, _ in samples]), np.array([target for _, target in samples])


def _augmentation(name: str, preprocessing: Preprocessing) -> v2.Transform | None:
    if name == "none":
        return None
    interpolation = InterpolationMode(preprocessing.interpolation)
    crop = v2.RandomResizedCrop(preprocessing.crop_size, scale=(0.25, 1.0), interpolation=interpolation)
    steps = [crop, v2.RandomHorizontalFlip()]
    if name == "trivial":
        steps.append(v2.TrivialAugmentWide(interpolation=interpolation))
    return v2.Compose(steps)


def _mix(*numbers: int) -> int:
    """Return one 63-bit seed for `numbers`, so that neighbouring ones give unrelated random streams."""
    mixed = 0
    for number in numbers:
        mixed = (mixed ^ (number & 0xFFFFFFFF)) * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03 & 0x7FFFFFFFFFFFFFFF
        mixed ^= mixed >> 29
    return mixed
