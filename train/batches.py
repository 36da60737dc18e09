"""Batches for the fit loop: of pictures, decoded by worker processes, or of features that are already tensors.

Both give the same samples in the same order for the same seed and epoch, whatever the number of workers, and can
begin in the middle of an epoch: that is what makes a resumed run equal to one that was never interrupted.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from classifier import network, pictures
from classifier.preprocessing import Preprocessing
from train.augmentation import Augmentation, mixed
from train.data import Split
from train.distributed import ALONE, Group
from train.pixels import Pixels
from train.stopping import leave_signals_to_parent


@dataclass(frozen=True)
class Order:
    """In which order an epoch shows its samples, how many make a batch, and which of them this replica works on.

    With `whole` a last batch of less than two samples a replica is left out (of others each epoch): batch normalisation
    cannot learn from one. A batch size beyond the number of samples means one batch of all. With `classes`, those of
    the samples, an epoch has as many samples as without, and equally many of each class (up to one).
    """

    samples: int
    batch_size: int
    seed: int | None = None  # None: the order of the files
    whole: bool = False
    group: Group = ALONE
    classes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return -(-self._used // self.batch_size)

    @property
    def _used(self) -> int:
        rest = self.samples % self.batch_size
        return self.samples - (rest if self.whole and rest < min(self.samples, 2 * self.group.size) else 0)

    def size_of(self, batch: int) -> int:
        """Samples in that batch of an epoch, over all replicas."""
        return min(self.batch_size, self._used - batch * self.batch_size)

    def batches(self, epoch: int, skip: int = 0) -> list[Tensor]:
        """Return this replica's samples in each batch of `epoch` but the first `skip`, as int64 positions."""
        positions = torch.arange(self._used)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(mixed(self.seed, epoch))
            positions = self._shuffled(generator)[: self._used]
        begins = range(skip * self.batch_size, self._used, self.batch_size)
        return [positions[begin : begin + self.batch_size][self.group.rank :: self.group.size] for begin in begins]

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        """Return the samples of an epoch, as positions [samples]; which of a class are repeated is drawn, too."""
        if not self.classes:
            return torch.randperm(self.samples, generator=generator)
        classes = torch.tensor(self.classes)
        numbers = torch.randperm(int(classes.max()) + 1, generator=generator).tolist()
        share, rest = divmod(self.samples, len(numbers))
        by_class = torch.split(torch.argsort(classes, stable=True), torch.bincount(classes).tolist())
        chosen = []
        for i, number in enumerate(numbers):
            members = by_class[number]
            wanted = share + (i < rest)
            rounds = [torch.randperm(len(members), generator=generator) for _ in range(-(-wanted // len(members)))]
            chosen.append(members[torch.cat([*rounds, members[:0]])[:wanted]])
        return torch.cat(chosen)[torch.randperm(self.samples, generator=generator)]


class Batches(ABC):
    """What the loop asks of its data: batches in the order `order`, on the device of the network.

    `targets` [N] are those of all samples, on that device, too.
    """

    def __init__(self, order: Order, targets: Tensor) -> None:
        self.order, self.targets = order, targets

    @abstractmethod
    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this replica's (inputs, targets) of the epoch, without its first `skip` batches."""

    def gather(self, rows: Tensor) -> Tensor:
        """Return `rows`, one for each sample this replica saw in an unshuffled epoch, of all replicas in file order."""
        positions = torch.cat(self.order.batches(0)).to(rows.device)
        return self.order.group.gather(rows, positions, self.order.samples)


class FeatureBatches(Batches):
    """Batches of features: sample i has one of the rows `rows[i]` [V] of `features` [N, ...] (float32) in each epoch.

    Its target is `targets[i]`. The features may be a file mapped into memory, or lie with the targets on the network's
    device.
    """

    def __init__(self, features: Tensor, rows: Tensor, targets: Tensor, order: Order) -> None:
        super().__init__(order, targets)
        self._features, self._rows = features, rows

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        device, batches = self.targets.device, self.order.batches(number, skip)
        if not batches:
            return
        # At once for the whole epoch, because a GPU waits for what is sent to it.
        order, sizes = torch.cat(batches), [len(batch) for batch in batches]
        generator = torch.Generator().manual_seed(mixed(self.order.seed or 0, number, self.order.samples))
        views = torch.randint(self._rows.shape[1], (self.order.samples,), generator=generator)[order]
        rows = self._rows[order.to(self._rows.device), views.to(self._rows.device)]
        targets = self.targets[order.to(device)]
        for some, truth in zip(torch.split(rows, sizes), torch.split(targets, sizes), strict=True):
            yield self._features[some].to(device), truth


class PictureBatches(Batches):
    """Batches of the pictures of a split, normalised, [N, 3, S, S] float32 in channels_last, on `device`.

    Where they are not changed at random, what is in the split's `pixels` is not decoded again. Where all of them are
    there from the beginning, there is no work for processes, and none are started.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        order: Order,
        workers: int,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(order, torch.tensor(split.targets, device=device))
        augmentation = augmentation or Augmentation(preprocessing)
        self._preprocessing, self.device = preprocessing, device
        self._places = _Places(order)
        dataset = _Pictures(split, augmentation, order.seed or 0)
        workers = 0 if dataset.are_kept else min(workers, len(order))
        batch_bytes = order.size_of(0) // order.group.size * 3 * preprocessing.crop_size**2
        self._loader = DataLoader(
            dataset,
            batch_sampler=self._places,
            **in_processes(workers),
            collate_fn=None if fits_shared_memory(batch_bytes * (2 * workers + 1)) else _as_arrays,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else each new iterator draws from the stream that dropout uses
        )

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, targets in self.pixels(number, skip):
            pixels = self._near(pixels).contiguous(memory_format=torch.channels_last)
            yield network.normalize(pixels, self._preprocessing), self._near(targets)

    def _near(self, tensor: Tensor) -> Tensor:
        """Return `tensor` on the device, where it may arrive later; what came through a pipe is pinned for that."""
        if self.device.type == "cuda" and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def pixels(self, epoch: int = 0, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches as uint8 [N, 3, S, S] with their targets [N], on the CPU."""
        self._places.epoch, self._places.skip = epoch, skip
        for pixels, targets in self._loader:
            yield torch.as_tensor(pixels), torch.as_tensor(targets)


class _Places(Sampler[list[tuple[int, int]]]):
    """Yields batches of (epoch, position): a worker process learns the epoch with each sample and can outlive it."""

    def __init__(self, order: Order) -> None:
        self.order, self.epoch, self.skip = order, 0, 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.order.batches(self.epoch, self.skip):
            if len(batch):  # a last batch can be too small to give every replica a sample
                yield [(self.epoch, position) for position in batch.tolist()]


@dataclass(frozen=True)
class _Pictures(Dataset[tuple[NDArray[np.uint8], int]]):
    split: Split
    augmentation: Augmentation
    seed: int

    def __getitem__(self, place: tuple[int, int]) -> tuple[NDArray[np.uint8], int]:
        epoch, position = place
        kept = self._kept
        pixels = kept.get(self.split.digests[position]) if kept else None
        if pixels is None:
            image = pictures.decode(self.split.files[position], self.augmentation.preprocessing.enough)
            pixels = self.augmentation.pixels(image, self.seed, epoch, position)
            if kept:
                kept.put(self.split.digests[position], pixels)
        return pixels, self.split.targets[position]

    @property
    def are_kept(self) -> bool:
        """Whether the pixels of all pictures are there."""
        kept = self._kept
        return kept is not None and all(kept.get(digest) is not None for digest in self.split.digests)

    @property
    def _kept(self) -> Pixels | None:
        return self.split.pixels if self.augmentation.augment == "none" else None


def in_processes(count: int) -> dict[str, Any]:
    """Return the arguments with which a DataLoader works in `count` processes, or in this one where that is 0."""
    # Forked even by a second replica, which was spawned: else each of them would import torch anew, for seconds.
    context = "fork" if count else None
    return {"num_workers": count, "multiprocessing_context": context, "worker_init_fn": leave_signals_to_parent}


def fits_shared_memory(size: int) -> bool:
    """Whether `size` bytes can travel from worker processes through /dev/shm."""
    shared = Path("/dev/shm")
    return not shared.exists() or shutil.disk_usage(shared).free > 1.5 * size


def _as_arrays(samples: list[tuple[NDArray[np.uint8], int]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Collate without tensors: these would travel through /dev/shm, of which Docker gives a container only 64 MB."""
    return np.stack([pixels for pixels, _ in samples]), np.array([target for _, target in samples])
