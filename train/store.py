"""The features of pictures on disk, which jobs may share.

    FOLDER/digests     the pictures' digests, one after the other
    FOLDER/features    float32 [N, ...]; row i is of the picture that has digest i
    FOLDER/lock        held by the process that writes

Both files only grow, and a digest is written when its row is on the disk. So the rows that have one are whole, whenever
a run was killed and in whatever state the files were copied.
"""

import fcntl
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byoc_vision.contract.errors import UserError
from train.data import DIGEST_BYTES

#: Pictures whose features are written together: few, so that little is lost when a run is killed.
STORED_AT_ONCE = 1024


class FeaturesError(UserError):
    """The features cannot be kept."""


class Store:
    """The features kept in `folder`, each a row of that `shape`."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self._folder, self._shape, self._bytes = folder, shape, 4 * math.prod(shape)
        self.rows: dict[bytes, int] = {}
        self._look()

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

    def check_room(self, count: int) -> None:
        """Raise `FeaturesError` where the disk has no room for `count` more rows."""
        place = next(folder for folder in (self._folder, *self._folder.parents) if folder.exists())
        needed, free = count * self._bytes, shutil.disk_usage(place).free
        if needed > free:
            raise FeaturesError(
                f"the features take {needed / 1e9:.1f} GB, and {place} has room for {free / 1e9:.1f}; give the job "
                "more disk (VolumeSizeInGB), or set blocks or views to fewer"
            )

    def add(self, digests: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Append the `features` [N, ...] of the pictures that have `digests`, but for those that are there."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._look()  # another job may have written meanwhile
                fresh = {name: i for i, name in enumerate(digests) if name not in self.rows}
                if not fresh:
                    return
                rows = np.ascontiguousarray(features[list(fresh.values())])
                self._append("features", self._bytes, rows.tobytes())
                self._append("digests", DIGEST_BYTES, b"".join(fresh))
                self.rows |= {name: row for row, name in enumerate(fresh, len(self.rows))}
        except OSError as error:
            raise FeaturesError(
                f"the features could not be written to {self._folder} ({error.strerror}); "
                "give the job more disk (VolumeSizeInGB) or a folder it may write to"
            ) from error

    def _look(self) -> None:
        """Learn of the rows that have been written."""
        digests, features = self._folder / "digests", self._folder / "features"
        if not digests.exists() or not features.exists():
            self.rows = {}
            return
        whole = min(features.stat().st_size // self._bytes, digests.stat().st_size // DIGEST_BYTES)
        if whole < len(self.rows):  # somebody has emptied the folder
            self.rows = {}
        with digests.open("rb") as file:
            file.seek(len(self.rows) * DIGEST_BYTES)
            content = file.read((whole - len(self.rows)) * DIGEST_BYTES)
        names = (content[begin : begin + DIGEST_BYTES] for begin in range(0, len(content), DIGEST_BYTES))
        self.rows |= {name: row for row, name in enumerate(names, len(self.rows))}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _append(self, name: str, size: int, content: bytes) -> None:
        with (self._folder / name).open("ab") as file:
            file.truncate(len(self.rows) * size)  # What a killed run has left there besides is not whole.
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


class Buffer:
    """Gathers features for `store`, to which nothing is added before the disk has it: many at once are faster."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._digests: list[bytes] = []
        self._features: list[NDArray[np.float32]] = []

    def add(self, digests: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Keep the `features` [N, ...] of the pictures that have `digests`, here or in the store."""
        self._digests += digests
        self._features.append(features)
        if len(self._digests) >= STORED_AT_ONCE:
            self.close()

    def close(self) -> None:
        """Add what is left."""
        if self._digests:
            self._store.add(self._digests, np.concatenate(self._features))
        self._digests, self._features = [], []
