"""A finished job's smdebug folder as a trial, whatever state the job left it in.

smdebug's own `create_trial` is made for a job that still runs: it waits for files that are to come, for ever where the
job was killed, and gives up at the first damaged one. `FinishedTrial` reads what is there and says what is not. It is
a `smdebug` trial in all else, so that every rule works on both.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smdebug.core.collection_manager import CollectionManager
from smdebug.core.index_reader import LocalIndexReader
from smdebug.core.locations import TensorLocation
from smdebug.core.modes import ModeKeys
from smdebug.core.reductions import REDUCTIONS_PREFIX, reverse_reduction_tensor_name
from smdebug.exceptions import SMDebugError
from smdebug.trials.local_trial import LocalTrial
from smdebug.trials.trial import Trial

from debugger import events
from debugger.tensor import FinishedTensor, Reduction

#: Tensors up to this size in bytes are kept in memory; greater ones are read again when a rule asks for them.
KEPT = 65536

log = logging.getLogger(__name__)


class RecordingError(Exception):
    """The recording cannot be had; the message is one sentence."""


class FinishedTrial(LocalTrial):  # type: ignore[misc]
    """What smdebug recorded in `folder`, or nothing; `notes` says in sentences what is damaged or missing there."""

    def __init__(self, folder: Path | None) -> None:
        folder = folder or Path(os.devnull)
        # Not LocalTrial's, which waits.
        Trial.__init__(self, folder.name, index_mode=False)
        logging.getLogger("smdebug").setLevel(logging.ERROR)
        self.path = self.trial_dir = str(folder)
        self.index_reader = LocalIndexReader(self.path)
        self.notes: list[str] = []
        self.collection_manager = self._collections(folder)
        self._reader = events.Reader()
        self._places: dict[str, tuple[FinishedTensor, Reduction]] = {}
        damaged = [file for file in self._files(folder / "events") if not self._load(file)]
        self._share_names()
        if damaged:
            self.notes.append(f"Event files are damaged ({len(damaged)}); what could be read of them counts.")
        if not self._tensors:
            self.notes.append("The debugger's recording holds no tensors.")
        self.num_workers = len(self.worker_set)
        if self.num_workers > 1:
            self.notes.append(f"Tensors of {self.num_workers} workers were recorded; the rules judge the first's.")
        self.last_complete_step = max(self._global_to_mode, default=-1)
        self.loaded_all_steps = True

    def _collections(self, folder: Path) -> CollectionManager:
        for file in sorted(folder.glob("collections/*/*collections.json")):
            try:
                manager = CollectionManager.load(str(file))
            except (OSError, ValueError, KeyError, TypeError, SMDebugError):
                self.notes.append(f"{file.name} is damaged.")
                continue
            if manager is not None:
                return manager
        self.notes.append("No collection file was recorded; tensors are told apart by their names.")
        return CollectionManager()

    def _files(self, folder: Path) -> Iterator[str]:
        """Yield the event files in the folders of the steps, a step's workers in order."""
        if not folder.is_dir():
            return
        with os.scandir(folder) as steps:
            places = sorted(step.path for step in steps if step.is_dir())
        for place in places:
            yield from (f"{place}/{name}" for name in sorted(os.listdir(place)) if name.endswith(".tfevents"))

    def _load(self, file: str) -> bool:
        """Add an event file's tensors; return whether it was whole."""
        worker = os.path.basename(file).removesuffix(".tfevents").partition("_")[2]
        self.worker_set.add(worker)
        at = None
        try:
            for saved in self._reader.read(file):
                if saved.step != at:
                    at = saved.step
                    self._populate_step_dict(saved.mode, saved.mode_step, at)
                    self.workers_for_global_step.setdefault(at, set()).add(worker)
                    names = self.global_step_to_tensors_map.setdefault(at, set())
                names.add(self._add(saved, file, worker))
        except (events.DamagedError, OSError) as error:
            log.debug("%s", error)
            return False
        return True

    def _add(self, saved: events.Saved, file: str, worker: str) -> str:
        """Keep a value, or its place, and return the name of its tensor."""
        if saved.name not in self._places:
            name, reduction = saved.name, None
            if name.startswith(REDUCTIONS_PREFIX):
                name, *parts = reverse_reduction_tensor_name(name)
                reduction = tuple(parts)
            self._places[saved.name] = self._tensors.setdefault(name, FinishedTensor(name, self)), reduction
        tensor, reduction = self._places[saved.name]
        table, name, value = tensor.tables[worker][reduction], saved.name, saved.value
        if value.nbytes > KEPT:
            value = TensorLocation(name, saved.mode, saved.mode_step, file, saved.start, saved.length, worker)
        table[saved.step] = value
        return str(tensor.name)

    def _share_names(self) -> None:
        """Let steps that saved the same tensors have the same set of names, so that rules compare these at once."""
        shared: dict[frozenset[str], frozenset[str]] = {}
        for step, saved in self.global_step_to_tensors_map.items():
            names = frozenset(saved)
            self.global_step_to_tensors_map[step] = shared.setdefault(names, names)
            mode, _ = self._global_to_mode[step]
            if mode is not ModeKeys.GLOBAL:
                self.mode_to_tensors_map.setdefault(mode, set()).update(names)

    def refresh_data(self) -> None:
        """Nothing comes any more."""


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
        found = False
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                name = item["Key"].removeprefix(prefix)
                if not name.startswith(("events/", "collections/")) or ".." in name.split("/"):
                    continue
                found = True
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                store.download_file(bucket, item["Key"], str(folder / name))
    except (BotoCoreError, ClientError) as error:
        reason = " ".join(str(error).split())
        raise RecordingError(f"The debugger's recording in {address} could not be read: {reason}.") from error
    if not found:
        raise RecordingError(f"There is no debugger recording in {address}.")
