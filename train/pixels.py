"""The pixels of pictures that are wanted again, in memory that this process and those that it forks share."""

import itertools
import mmap

import numpy as np
from numpy.typing import NDArray

from classifier.preprocessing import Preprocessing
from train import memory


class Pixels:
    """What `preprocessing` makes of up to `room` pictures, uint8 [3, S, S] each, by the pictures' digests.

    A picture has to get its place before other processes are forked; whoever decodes it first puts its pixels there.
    """

    def __init__(self, preprocessing: Preprocessing, room: int) -> None:
        side = preprocessing.crop_size
        self._room = room
        self._places: dict[bytes, int] = {}
        self._numbers = itertools.count()
        self._pixels = np.frombuffer(mmap.mmap(-1, max(1, room * 3 * side**2)), np.uint8)[: room * 3 * side**2]
        self._pixels = self._pixels.reshape(room, 3, side, side)
        self._there = np.frombuffer(mmap.mmap(-1, max(1, room)), np.bool_)

    @classmethod
    def of(cls, preprocessing: Preprocessing, count: int, replicas: int, most: float) -> "Pixels":
        """Return room for `count` pictures, in at most so many bytes and a quarter of the memory for all `replicas`."""
        room = min(most, memory.available() / 4 / replicas) // (3 * preprocessing.crop_size**2)
        return cls(preprocessing, min(count, max(0, int(room))))

    def add(self, digest: bytes) -> bool:
        """Return whether the picture has a place here, or has got one."""
        if digest not in self._places and (place := next(self._numbers)) < self._room:
            self._places.setdefault(digest, place)  # another thread may have come first with the same picture
        return digest in self._places

    def get(self, digest: bytes) -> NDArray[np.uint8] | None:
        """Return the picture's pixels [3, S, S], if they are here."""
        place = self._places.get(digest)
        return None if place is None or not self._there[place] else self._pixels[place]

    def put(self, digest: bytes, pixels: NDArray[np.uint8]) -> None:
        """Keep the picture's `pixels` [3, S, S], if it has a place here."""
        place = self._places.get(digest)
        if place is not None:
            self._pixels[place] = pixels
            self._there[place] = True
