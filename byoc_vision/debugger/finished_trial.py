"""A finished job's smdebug folder as a trial, whatever state the job left it in.

smdebug's own reader is made for a job that still runs: it waits for files that are to come, for ever where the job was
killed, and gives up at the first damaged one. This one reads what is there and says what is not. It also keeps a table
for each tensor and reduction and no object for each step, so that the losses of 100,000 steps are soon read.
"""

import json
import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from byoc_vision.contract.errors import UserError, one_line
from byoc_vision.debugger import events
from byoc_vision.debugger.trial import Array, Mode, TensorCollection

#: Tensors up to this size in bytes are kept in memory; greater ones are read again when a rule asks for them.
KEPT = 65536

#: A reduction's name and whether it is of the absolute values; None is the tensor itself.
Reduction = tuple[str, bool] | None

#: What precedes the name of a tensor where a reduction of it was recorded: `smdebug/reductions/abs_mean/<tensor>`.
_REDUCTIONS = "smdebug/reductions/"

#: The reductions that are computed where the tensor itself was recorded.
_COMPUTED: dict[str, Callable[[Array], Any]] = {
    "min": np.min,
    "max": np.max,
    "mean": np.mean,
    "std": np.std,
    "variance": np.var,
}

log = logging.getLogger(__name__)


class RecordingError(UserError):
    """The recording cannot be had."""


class _Place(NamedTuple):
    """Where in an event file a value is, in bytes."""

    file: str
    start: int
    length: int


class FinishedTrial:
    """A `Trial`: what was recorded in `folder`, or nothing; `notes` says in sentences what is damaged or missing there.

    Of several workers, a value is that of the first that saved it, in the order of their names.
    """

    ended = True

    def __init__(self, folder: Path | None) -> None:
        folder = folder or Path(os.devnull)
        self.notes: list[str] = []
        self.workers: set[str] = set()
        self.collections = self._collections(folder)
        self._reader = events.Reader()
        self._modes: dict[int, tuple[Mode, int]] = {}
        self._tables: dict[tuple[str, Reduction], dict[int, Array | _Place]] = defaultdict(dict)
        names: dict[int, set[str]] = defaultdict(set)
        damaged = [file for file in _files(folder / "events") if not self._load(file, names)]
        # Steps that saved the same tensors have the same set of names, so that rules compare these at once.
        shared: dict[frozenset[str], frozenset[str]] = {}
        frozen = ((step, frozenset(names[step])) for step in sorted(names))
        self.steps = {step: shared.setdefault(saved, saved) for step, saved in frozen}
        self.modes = {mode for mode, _ in self._modes.values()} - {Mode.GLOBAL}
        if damaged:
            self.notes.append(f"Event files are damaged ({len(damaged)}); what could be read of them counts.")
        if not self._tables:
            self.notes.append("The debugger's recording holds no tensors.")
        if len(self.workers) > 1:
            self.notes.append(f"Tensors of {len(self.workers)} workers were recorded; the rules judge the first's.")

    def mode_step(self, step: int) -> tuple[Mode, int]:
        return self._modes[step]

    def value(self, name: str, step: int) -> Array | None:
        return self._saved(name, step, None)

    def reduction(self, name: str, step: int, reduction: str, absolute: bool = False) -> float | None:
        recorded = self._saved(name, step, (reduction, absolute))
        if recorded is not None:
            return float(recorded.item())
        values = self.value(name, step)
        if values is None or reduction not in _COMPUTED:
            return None
        return float(_COMPUTED[reduction](np.abs(values) if absolute else values))

    def _saved(self, name: str, step: int, reduction: Reduction) -> Array | None:
        saved = self._tables.get((name, reduction), {}).get(step)
        return self._reader.fetch(*saved) if isinstance(saved, _Place) else saved

    def _collections(self, folder: Path) -> dict[str, TensorCollection]:
        for file in sorted(folder.glob("collections/*/*collections.json")):
            try:
                return {name: _collection(it) for name, it in json.loads(file.read_bytes())["collections"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self.notes.append(f"{file.name} is damaged.")
        self.notes.append("No collection file was recorded; tensors are told apart by their names.")
        return {}

    def _load(self, file: str, names: dict[int, set[str]]) -> bool:
        """Add an event file's tensors, and their names to those of their steps; return whether it was whole."""
        self.workers.add(_worker(file))
        try:
            for saved in self._reader.read(file):
                name, reduction = _parted(saved.name)
                self._modes.setdefault(saved.step, (saved.mode, saved.mode_step))
                names[saved.step].add(name)
                value = saved.value if saved.value.nbytes <= KEPT else _Place(file, saved.start, saved.length)
                self._tables[name, reduction].setdefault(saved.step, value)
        except (events.DamagedError, OSError) as error:
            log.debug("%s", error)
            return False
        return True


def _files(folder: Path) -> list[str]:
    """Return the event files in the folders of the steps, all of one worker before those of the next."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as steps:
        places = [step.path for step in steps if step.is_dir()]
    files = [f"{place}/{name}" for place in places for name in os.listdir(place) if name.endswith(".tfevents")]
    return sorted(files, key=lambda file: (_worker(file), file))


def _worker(file: str) -> str:
    return os.path.basename(file).removesuffix(".tfevents").partition("_")[2]


@lru_cache(65536)
def _parted(name: str) -> tuple[str, Reduction]:
    """Return the tensor that a recorded name is of, and which reduction of it."""
    if not name.startswith(_REDUCTIONS):
        return name, None
    reduction, _, tensor = name.removeprefix(_REDUCTIONS).partition("/")
    return tensor, (reduction.removeprefix("abs_"), reduction.startswith("abs_"))


def _collection(content: dict[str, Any]) -> TensorCollection:
    return TensorCollection(tuple(content.get("include_regex") or ()), frozenset(content.get("tensor_names") or ()))


@contextmanager
def recorded(place: str) -> Iterator[FinishedTrial]:
    """Yield the recording in a folder or under an `s3://` address, from where it is fetched first.

    Raises `RecordingError` when there is none or it may not be read.
    """
    if not place.startswith("s3://"):
        folder = Path(place)
        if not folder.is_dir():
            raise RecordingError("The job left no debugger recording (tensors).")
        yield FinishedTrial(folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        _fetch(place, Path(scratch))
        yield FinishedTrial(Path(scratch))


def _fetch(address: str, folder: Path) -> None:
    import boto3  # Only the images have it, and few reports need it.
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    try:
        store = boto3.client("s3")
        fetched = False
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                name = item["Key"].removeprefix(prefix)
                if not name.startswith(("events/", "collections/")) or ".." in name.split("/"):
                    continue
                fetched = True
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                store.download_file(bucket, item["Key"], str(folder / name))
    except (BotoCoreError, ClientError) as error:
        reason = one_line(error, None)
        raise RecordingError(f"The debugger's recording in {address} could not be read: {reason}.") from error
    if not fetched:
        raise RecordingError(f"There is no debugger recording in {address}.")
