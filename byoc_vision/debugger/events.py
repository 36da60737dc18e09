"""Reads smdebug's event files: TFRecord frames, each holding one TensorFlow `Event` with one tensor in it.

protobuf's pure-Python code needs half a millisecond for a tensor, and a long job has recorded half a million. Walking
the bytes of a message finds the few fields that matter far sooner; and as the events of a tensor differ only in the
step, the elements and the mode's step, only the first is walked.
"""

import math
import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from byoc_vision.debugger.trial import Mode

#: TensorFlow's numbers for the types of a tensor's elements.
_TYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    8: "<c8",
    9: "<i8",
    10: "?",
    17: "<u2",
    18: "<c16",
    19: "<f2",
}

_NOTHING = slice(0, 0)

#: A frame: length (8 bytes), checksum of the length (4), the event, checksum of the event (4).
_HEAD, _TAIL = 12, 4
_LENGTH = struct.Struct("<Q")

#: An event as it begins: time, step (none where it is 0), and the heads of the summary, of its value and of the name.
_NUMBER = rb"[\x80-\xff]*[\x00-\x7f]"
_BEGIN = re.compile(rb"\x09.{8}(?:\x10(N))?\x2aN\x0aN\x0a".replace(b"N", _NUMBER), re.DOTALL)

#: What smdebug says of mode and step, as text, among the metadata of a value.
_MODE = re.compile(rb"\x0a\x04mode\x12.(\d)", re.DOTALL)
_MODE_STEP = re.compile(rb"\x0a\x09mode_step\x12.(\d+)", re.DOTALL)


class DamagedError(Exception):
    """The file ends within a tensor, or holds something else."""


class Saved(NamedTuple):
    """A tensor of an event file: where it is (`start` and `length` of its frame in bytes) and what it holds."""

    name: str
    step: int
    mode: Mode
    mode_step: int
    start: int
    length: int
    value: NDArray[Any]


class _Known(NamedTuple):
    """What is the same in all events of a tensor: the bytes between its name and its elements, and what they say."""

    between: bytes
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int


class Reader:
    """Reads the event files of one recording."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}

    def read(self, file: str) -> Iterator[Saved]:
        """Yield the tensors of an event file; text is left out.

        Raises `DamagedError` where the file breaks off, after the tensors before that place.
        """
        with open(file, "rb", buffering=0) as stream:
            content = stream.read()
        yield from self._frames(file, content)

    def fetch(self, file: str, start: int, length: int) -> NDArray[Any]:
        """Return the tensor whose frame is there in a file that was read. Raises `DamagedError` if it is no more."""
        with open(file, "rb", buffering=0) as stream:
            stream.seek(start)
            content = stream.read(length)
        saved = next(self._frames(file, content), None)
        if saved is None:
            raise DamagedError(f"{file} has changed since it was read")
        return saved.value

    def _frames(self, file: str, content: bytes) -> Iterator[Saved]:
        start = 0
        while start < len(content):
            if start + _HEAD > len(content):
                raise DamagedError(f"{file} breaks off within a tensor")
            (length,) = _LENGTH.unpack_from(content, start)
            end = start + _HEAD + length
            if end + _TAIL > len(content):
                raise DamagedError(f"{file} breaks off within a tensor")
            try:
                saved = self._quickly(content, start, end) or self._walk(content, start, end)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise DamagedError(f"{file} is not an event file of smdebug") from error
            if saved is not None:
                yield saved
            start = end + _TAIL

    def _quickly(self, content: bytes, start: int, end: int) -> Saved | None:
        """Return the tensor in an event like one that was walked before."""
        begin = _BEGIN.match(content, start + _HEAD, end)
        if begin is None:
            return None
        length, at = _varint(content, begin.end())
        known = self._known.get(content[at : at + length])
        if known is None or not content.startswith(known.between, at + length):
            return None
        begins = at + length + len(known.between)
        ends = begins + known.nbytes
        # A copy, because an array keeps alive what it was made from, which would be the whole file.
        value: NDArray[Any] = np.ndarray(known.shape, known.dtype, content[begins:ends])
        step = _varint(begin[1], 0)[0] if begin[1] else 0
        mode, mode_step = _mode(content[ends:end], step)
        return Saved(known.name, step, mode, mode_step, start, end + _TAIL - start, value)

    def _walk(self, content: bytes, start: int, end: int) -> Saved | None:
        event = dict(_fields(content, slice(start + _HEAD, end)))
        if 5 not in event:  # A summary is what the tensors are in.
            return None
        parts = dict(_fields(content, dict(_fields(content, event[5]))[1]))
        tensor = dict(_fields(content, parts[8]))
        if tensor.get(1) not in _TYPES:
            return None
        dims = [dim for field, dim in _fields(content, tensor.get(2, _NOTHING)) if field == 2]
        shape = tuple(dict(_fields(content, dim)).get(1, 0) for dim in dims)
        elements, dtype = tensor.get(4, _NOTHING), np.dtype(_TYPES[tensor[1]])
        value = np.frombuffer(content[elements], dtype)
        if value.size != math.prod(shape):
            raise ValueError("more or fewer elements than the shape says")
        step, name = event.get(2, 0), content[parts[1]]
        mode, mode_step = _mode(content[parts.get(9, _NOTHING)], step)
        if elements.start > parts[1].stop:
            between = content[parts[1].stop : elements.start]
            self._known[name] = _Known(between, name.decode(), shape, dtype, value.nbytes)
        return Saved(name.decode(), step, mode, mode_step, start, end + _TAIL - start, value.reshape(shape))


@lru_cache(16)  # The tensors of a step have the same mode.
def _mode(metadata: bytes, step: int) -> tuple[Mode, int]:
    """Return a step's mode and its number in that mode; `step` is its number in all."""
    mode, mode_step = _MODE.search(metadata), _MODE_STEP.search(metadata)
    return Mode(int(mode[1])) if mode else Mode.GLOBAL, int(mode_step[1]) if mode_step else step


def _fields(content: bytes, span: slice) -> list[tuple[int, Any]]:
    """Return the number and value of each field of a protobuf message: an integer, or the place of all else."""
    at, end = span.start, span.stop
    fields: list[tuple[int, Any]] = []
    while at < end:
        key, at = _varint(content, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(content, at)
            fields.append((key >> 3, value))
            continue
        if kind == 2:
            size, at = _varint(content, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"no field has the wire type {kind}")
        if at + size > end:
            raise ValueError("a field reaches beyond its message")
        fields.append((key >> 3, slice(at, at + size)))
        at += size
    return fields


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at `at`, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
