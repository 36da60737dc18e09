"""Reads smdebug's event files: TFRecord frames, each holding one TensorFlow `Event` with one tensor in it.

smdebug writes two files for every saved step and reads a tensor from them with protobuf's pure-Python code in about
half a millisecond; a loss saved in each of 100,000 steps would take minutes. Of the message only six fields matter,
and walking its bytes finds them far sooner.
"""

import math
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from smdebug.core.modes import ModeKeys

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

#: A frame: length (8 bytes), checksum of the length (4), the event, checksum of the event (4).
_HEAD, _TAIL = 12, 4


class DamagedError(Exception):
    """The file ends within a tensor, or holds something else."""


class Saved(NamedTuple):
    """A tensor of an event file: where it is (`start` and `length` of its frame in bytes) and what it holds."""

    name: str
    step: int
    mode: ModeKeys
    mode_step: int
    start: int
    length: int
    value: NDArray[Any]


def read(file: str) -> Iterator[Saved]:
    """Yield the tensors of an event file; text is left out.

    Raises `DamagedError` where the file breaks off, after the tensors before that place.
    """
    with open(file, "rb", buffering=0) as stream:
        content = stream.read()
    start = 0
    while start < len(content):
        if start + _HEAD > len(content):
            raise DamagedError(f"{file} breaks off within a tensor")
        (size,) = struct.unpack_from("<Q", content, start)
        end = start + _HEAD + size
        if end + _TAIL > len(content):
            raise DamagedError(f"{file} breaks off within a tensor")
        try:
            saved = _event(content, start, end)
        except (IndexError, KeyError, ValueError, struct.error) as error:
            raise DamagedError(f"{file} is not an event file of smdebug") from error
        if saved is not None:
            yield saved
        start = end + _TAIL


def _event(content: bytes, start: int, end: int) -> Saved | None:
    event = dict(_fields(content, start + _HEAD, end))
    if 5 not in event:  # A summary is what the tensors are in.
        return None
    parts = dict(_fields(dict(_fields(event[5]))[1]))
    tensor = dict(_fields(parts[8]))
    if tensor.get(1) not in _TYPES:
        return None
    shape = _shape(tensor.get(2, b""))
    array = np.frombuffer(tensor.get(4, b""), _TYPES[tensor[1]])
    if array.size != math.prod(shape):
        raise ValueError("more or fewer elements than the shape says")
    mode, mode_step = _mode(parts.get(9, b""))
    step = event.get(2, 0)
    if mode_step is None:
        mode_step = step
    return Saved(parts[1].decode(), step, mode, mode_step, start, end + _TAIL - start, array.reshape(shape))


# The tensors of a step have the same mode, and most tensors are scalars.


@lru_cache(16)
def _mode(metadata: bytes) -> tuple[ModeKeys, int | None]:
    plugins = (dict(_fields(data)) for field, data in _fields(metadata) if field == 1)
    marks = {plugin[1]: plugin.get(2, b"") for plugin in plugins}
    mode_step = marks.get(b"mode_step")
    return ModeKeys(int(marks.get(b"mode", ModeKeys.GLOBAL.value))), None if mode_step is None else int(mode_step)


@lru_cache(256)
def _shape(message: bytes) -> tuple[int, ...]:
    return tuple(dict(_fields(dim)).get(1, 0) for field, dim in _fields(message) if field == 2)


def _fields(content: bytes, at: int = 0, end: int | None = None) -> list[tuple[int, Any]]:
    """Return the number and value of each field of a protobuf message: an integer, or the bytes of all else."""
    end = len(content) if end is None else end
    found: list[tuple[int, Any]] = []
    while at < end:
        key = content[at]
        at += 1
        if key >= 0x80:
            key, at = _varint(content, at - 1)
        kind = key & 7
        if kind == 0:
            value, at = _varint(content, at)
            found.append((key >> 3, value))
            continue
        if kind == 2:
            size = content[at]
            at += 1
            if size >= 0x80:
                size, at = _varint(content, at - 1)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"no field has the wire type {kind}")
        if at + size > end:
            raise ValueError("a field reaches beyond its message")
        found.append((key >> 3, content[at : at + size]))
        at += size
    return found


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
