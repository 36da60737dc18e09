"""Writes tensors in the format of smdebug: folders, index, and TFRecord frames that hold TensorFlow events.

smdebug's own writer opens a thread and two files for every step and encodes each tensor with protobuf in pure Python:
3 ms a step and 0.3 ms a tensor, more than a small network's whole step takes. Here many steps share a file. smdebug's
reader finds the first step of a file through the index; `byoc_vision.debugger` finds all.
"""

import json
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.errors import UserError

WORKER = "worker_0"

#: smdebug's numbers for the modes that are recorded.
_MODES = {"train": ("TRAIN", b"1"), "eval": ("EVAL", b"2")}

#: What smdebug puts after every event the checksum of, instead of that of the event.
_CHECKED = b"0x12345678"


class RecordingError(UserError):
    """What a run records cannot be written."""


class Step(NamedTuple):
    """A step: `mode` is "train" or "eval", `number` counts all steps and `mode_number` those of its mode, both from 0
    and over all epochs, which count from 1.
    """

    mode: str
    epoch: int
    number: int
    mode_number: int


class Record(NamedTuple):
    """A tensor of a step."""

    name: str
    step: Step
    value: NDArray[np.float32]


def write(folder: Path, records: list[Record]) -> None:
    """Write `records`, those of the earliest step first, into that step's event file below `folder`."""
    first = records[0].step
    place = f"{first.number:012d}"
    events = folder / "events" / place / f"{place}_{WORKER}.tfevents"
    now, frames, tensors, length = struct.pack("<Bd", 0x09, time.time()), [], [], 0
    for record in records:
        frame = _frame(now, record)
        if record.step == first:
            tensors.append({"tensorname": record.name, "start_idx": length, "length": len(frame)})
        length += len(frame)
        frames.append(frame)
    _write_file(events, b"".join(frames))
    mode, _ = _MODES[first.mode]
    meta = {"mode": mode, "mode_step": first.mode_number, "event_file_name": str(events.relative_to(folder))}
    index = folder / "index" / f"{first.number // 1000:09d}" / f"{place}_{WORKER}.json"
    _write_file(index, json.dumps({"meta": meta, "tensor_payload": tensors, "shape_payload": []}).encode())


def write_collections(folder: Path, collections: Mapping[str, Iterable[str]]) -> None:
    """Write which tensors belong together: the name of each collection -> regular expressions of its tensors."""
    content = {
        name: {"name": name, "include_regex": list(patterns), "tensor_names": []}
        for name, patterns in collections.items()
    }
    text = json.dumps({"collections": content, "_meta": {"num_workers": 1}})
    _write_file(folder / "collections" / f"{0:09d}" / f"{WORKER}_collections.json", text.encode())


def end(folder: Path) -> None:
    """Write the mark that tells smdebug's readers not to wait for more."""
    _write_file(folder / "training_job_end.ts", b"")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise `RecordingError` when what is done within fails to write to `path`."""
    try:
        yield
    except OSError as error:
        raise RecordingError(
            f"{path} could not be written ({error.strerror}); give the job more disk (VolumeSizeInGB) or a folder it "
            "may write to, or set debug-interval to 0"
        ) from error


def _write_file(path: Path, content: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# The messages of TensorFlow's event.proto and summary.proto, field by field.


def _frame(now: bytes, record: Record) -> bytes:
    value = np.asarray(record.value, dtype="<f4")
    tag, tensor = _head(record.name, value.shape)
    content = value.tobytes()
    tensor += b"\x22" + _varint(len(content)) + content
    summary = tag + b"\x42" + _varint(len(tensor)) + tensor + _metadata(record.step.mode, record.step.mode_number)
    summary = b"\x0a" + _varint(len(summary)) + summary
    event = now + b"\x10" + _varint(record.step.number) + b"\x2a" + _varint(len(summary)) + summary
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(_CHECKED)


@lru_cache(65536)
def _head(name: str, shape: tuple[int, ...]) -> tuple[bytes, bytes]:
    """Return a value's tag, and the beginning of its tensor: float32, and how many of them in each direction."""
    sizes = (b"\x08" + _varint(size) for size in shape)
    dimensions = b"".join(b"\x12" + _varint(len(size)) + size for size in sizes)
    return _field(1, name.encode()), b"\x08\x01" + _field(2, dimensions)


def _metadata(mode: str, mode_number: int) -> bytes:
    digits = str(mode_number).encode()
    plugins = b"\x0a\x09mode_step\x12%c%b" % (len(digits), digits), b"\x0a\x04mode\x12\x01" + _MODES[mode][1]
    return b"\x4a%c\x0a%c%b\x0a%c%b" % (
        sum(map(len, plugins)) + 4, len(plugins[0]), plugins[0], len(plugins[1]), plugins[1]
    )  # fmt: skip


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


@lru_cache(1024)
def _checksum(content: bytes) -> bytes:
    """Return a TFRecord's checksum: the CRC-32C (Castagnoli, reflected), rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
