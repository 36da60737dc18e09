"""Frozen layers give the same features for the same picture every time: they are computed once, and kept on disk.

    FOLDER/RECIPE/digests     the pictures' digests, one after the other
    FOLDER/RECIPE/features    float32 [N, ...]; row i is of the picture that has digest i

A picture may be kept in augmented versions, too (its views), each under a digest of its own.

RECIPE is a digest of all that features depend on besides the picture: a changed picture, weight, size or preprocessing
finds nothing to reuse. Both files only grow, and a digest is written when its row is on the disk. So the rows that have
one are whole, whenever a run was killed and in whatever state the files were copied.
"""

import hashlib
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, Dataset

from byoc_vision.contract.errors import UserError
from classifier import pictures
from classifier.network import normalize
from classifier.preprocessing import Preprocessing
from train.augmentation import Augmentation
from train.batches import fits_shared_memory
from train.data import DIGEST_BYTES, digest
from train.distributed import Group
from train.progress import progress
from train.stopping import Stopped, StopSignal, leave_signals_to_parent

#: To be raised when the same inputs come to give other features, or the files another form.
FORMAT_VERSION = 1

#: Pictures that a CPU's core works on at a time: more are no faster, and take more memory.
CPU_BATCH = 16

#: Pictures whose features are written together: few, so that little is lost when a run is killed.
STORED_AT_ONCE = 1024

T = TypeVar("T")


class FeaturesError(UserError):
    """The features cannot be kept."""


@dataclass(frozen=True)
class Backbone:
    """The layers of a network that are frozen, and all else that features depend on.

    `network` makes features [N, ...] of pictures; it is on `device`, and in evaluation mode.
    """

    network: nn.Module
    arch: str
    preprocessing: Preprocessing
    precision: torch.dtype
    device: torch.device

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of a picture's features."""
        side = self.preprocessing.crop_size
        tensors = {name: tensor.to("meta") for name, tensor in self.network.state_dict().items()}
        picture = torch.empty((1, 3, side, side), device="meta")
        return tuple(functional_call(self.network, tensors, (picture,)).shape[1:])

    @cached_property
    def recipe(self) -> str:
        """A digest of all that features depend on besides the picture."""
        plain = {
            "format": FORMAT_VERSION,
            "arch": self.arch,
            "preprocessing": asdict(self.preprocessing),
            "precision": str(self.precision),
            "device": self.device.type,
            "versions": {package: version(package) for package in ("pillow", "torch", "torchvision")},
        }
        found = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        for name, tensor in self.network.state_dict().items():
            found.update(name.encode())
            found.update(tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> NDArray[np.float32]:
        """Return the features [N, ...] of pictures, uint8 [N, 3, S, S]."""
        inputs = normalize(pixels.to(self.device, non_blocking=True), self.preprocessing)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not torch.float32):
            found: NDArray[np.float32] = self.network(inputs).float().cpu().numpy()
        return found


class Store:
    """The features kept in `folder`, each a row of that `shape`."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self._folder, self._shape, self._bytes = folder, shape, 4 * math.prod(shape)
        digests, features = folder / "digests", folder / "features"
        whole = features.stat().st_size // self._bytes if features.exists() else 0
        named = _split(digests.read_bytes()) if digests.exists() else []
        self.rows = {name: row for row, name in enumerate(named[:whole])}

    def tensor(self) -> Tensor:
        """Return all rows, float32 [N, ...], mapped into memory: only what is looked at is read."""
        shape = len(self.rows), *self._shape
        return torch.from_file(str(self._folder / "features"), False, math.prod(shape)).view(shape)

    def of(self, digests: Sequence[bytes], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return features [M, ...] and, for each of `digests`, the row that is its picture's.

        On a GPU that has room for them, the features of these pictures lie there; else they are those of all, on disk.
        """
        features, rows = self.tensor(), torch.tensor([self.rows[name] for name in digests])
        if device.type == "cpu" or len(rows) * self._bytes > torch.cuda.mem_get_info(device)[0] // 2:
            return features, rows
        near = torch.empty((len(rows), *self._shape), device=device)
        for begin in range(0, len(rows), 4096):
            near[begin : begin + 4096] = features[rows[begin : begin + 4096]].to(device)
        return near, torch.arange(len(rows), device=device)

    def add(self, digests: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Append the `features` [N, ...] of the pictures that have `digests`, but for those that are there."""
        fresh = {name: i for i, name in enumerate(digests) if name not in self.rows}
        if not fresh:
            return
        rows = np.ascontiguousarray(features[list(fresh.values())])
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._append("features", self._bytes, rows.tobytes())
            self._append("digests", DIGEST_BYTES, b"".join(fresh))
        except OSError as error:
            raise FeaturesError(
                f"the features could not be written to {self._folder} ({error.strerror}); "
                "give the job more disk (VolumeSizeInGB) or a folder it may write to"
            ) from error
        self.rows |= {name: row for row, name in enumerate(fresh, len(self.rows))}

    def _append(self, name: str, size: int, content: bytes) -> None:
        with (self._folder / name).open("ab") as file:
            file.truncate(len(self.rows) * size)  # What a killed run has left there besides is not whole.
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


class _Buffer:
    """Gathers features for `store`, to which nothing is added before the disk has it: many at once are faster."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._digests: list[bytes] = []
        self._features: list[NDArray[np.float32]] = []

    def add(self, digests: Sequence[bytes], features: NDArray[np.float32]) -> None:
        self._digests += digests
        self._features.append(features)
        if len(self._digests) >= STORED_AT_ONCE:
            self.close()

    def close(self) -> None:
        """Add what is left."""
        if self._digests:
            self._store.add(self._digests, np.concatenate(self._features))
        self._digests, self._features = [], []


@dataclass
class Work:
    """What an extraction has done on this replica: pictures, and the seconds of its processes, or of the wait for them.

    On a CPU the same processes decode and compute; a GPU computes while others decode, and only what it waits counts.
    """

    pictures: int = 0
    decoding: float = 0.0
    network: float = 0.0


class Version(NamedTuple):
    """A picture as it is (view 0), or one of its augmented views."""

    file: Path
    view: int = 0


@dataclass(frozen=True)
class Extraction:
    """Computes the features that are wanted and that are neither in `folder`, where it keeps them, nor in `given`.

    `batch_size` pictures go through the network at a time, and always as many, so that a picture's features do not
    depend on which others are missing. The replicas of the `group` compute a share each, and all get all.
    """

    backbone: Backbone
    augmentation: Augmentation
    folder: Path
    given: Path | None
    batch_size: int
    workers: int
    group: Group
    stop: StopSignal
    work: Work = field(default_factory=Work)

    def __call__(self, files: Mapping[bytes, Version]) -> Store:
        """Return a store that has the features of the pictures `files` (digest -> file and view).

        Raises `Stopped` when asked to stop; what was computed by then is kept.
        """
        supplied = self._store(self.given) if self.given else None
        if supplied and all(self.group.everyone(files.keys() <= supplied.rows.keys())):
            return supplied
        places = self.group.everyone((socket.gethostname(), str(self.folder.resolve())))
        writes = places.index(places[self.group.rank]) == self.group.rank  # the first of those that share the folder
        store = self._store(self.folder)
        if supplied and writes:
            for digests in _parts(list(supplied.rows), STORED_AT_ONCE):
                store.add(digests, supplied.tensor()[[supplied.rows[name] for name in digests]].numpy())
        missing = set[bytes]().union(*self.group.everyone(files.keys() - self._store(self.folder).rows.keys()))
        computed = self._computed([file for name, file in files.items() if name in missing])
        with closing(_Buffer(store)) as buffer:
            for digests, features in computed:
                if writes:
                    buffer.add(digests, features)
        self.group.everyone(None)  # The others read when all has been written.
        store = self._store(self.folder)
        for name in files.keys() - store.rows.keys():
            raise FeaturesError(f"{files[name].file} was changed while it was read; start the run again")
        return store

    def _store(self, folder: Path) -> Store:
        return Store(folder / self.backbone.recipe, self.backbone.shape)

    def _computed(self, files: Sequence[Version]) -> Iterator[tuple[list[bytes], NDArray[np.float32]]]:
        """Yield the digests and features of some `files` at a time."""
        backbone, group = self.backbone, self.group
        on_cpu = backbone.device.type == "cpu"
        parts = _parts(files, self.batch_size * group.size)
        parts = [part[group.rank * self.batch_size :][: self.batch_size] for part in parts]
        workers = min(self.workers, len(parts))
        size = self.batch_size * 3 * backbone.preprocessing.crop_size**2
        loader = DataLoader(
            _Parts(parts, self.batch_size, self.augmentation, backbone if on_cpu else None),
            batch_size=None,
            num_workers=workers,
            # Few features, or pixels that /dev/shm has no room for, go through a pipe.
            collate_fn=_as_they_are if on_cpu or not fits_shared_memory(size * (2 * workers + 1)) else None,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=not on_cpu,
            generator=torch.Generator(),  # else it draws from the stream that dropout uses
        )
        waiting = time.perf_counter()
        for digests, values, spent in progress(loader, len(parts), "computing features"):
            begun = time.perf_counter()
            features = values if on_cpu else backbone.features(torch.as_tensor(values))
            decoding, computing = spent if on_cpu else (begun - waiting, time.perf_counter() - begun)
            self.work.pictures += len(digests)
            self.work.decoding += decoding
            self.work.network += computing
            shared = group.everyone((digests, features[: len(digests)], self.stop.requested))
            for each, rows, _ in shared:
                yield each, rows
            if any(asked for _, _, asked in shared):
                raise Stopped
            waiting = time.perf_counter()


@dataclass(frozen=True)
class _Parts(Dataset[tuple[list[bytes], NDArray[Any], tuple[float, float]]]):
    """Digests and pixels of the files of each part; with a `backbone` the features instead of the pixels.

    With them come the seconds that decoding and the backbone took.

    On a CPU the worker processes run the backbone, too: one process a core, each with a picture's every step, is half
    again as fast as all cores together on one layer after the other.
    """

    parts: Sequence[Sequence[Version]]
    batch_size: int
    augmentation: Augmentation
    backbone: Backbone | None

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, part: int) -> tuple[list[bytes], NDArray[Any], tuple[float, float]]:
        begun = time.perf_counter()
        preprocessing = self.augmentation.preprocessing
        pixels = np.zeros((self.batch_size, 3, preprocessing.crop_size, preprocessing.crop_size), np.uint8)
        digests = list[bytes]()
        for file, versions in groupby(self.parts[part], key=attrgetter("file")):  # is read once for all its views
            content = file.read_bytes()
            image = pictures.decode(content, preprocessing.enough)
            for _, view in versions:
                pixels[len(digests)], name = self.augmentation.view(image, digest(content), view)
                digests.append(name)
        decoded = time.perf_counter()
        values = self.backbone.features(torch.from_numpy(pixels)) if self.backbone else pixels
        spent = (decoded - begun, time.perf_counter() - decoded)
        return digests, values, spent


def _as_they_are(value: Any) -> Any:
    return value


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[begin : begin + size] for begin in range(0, len(items), size)]


def _split(digests: bytes) -> list[bytes]:
    return [digests[begin : begin + DIGEST_BYTES] for begin in range(0, len(digests) - DIGEST_BYTES + 1, DIGEST_BYTES)]
