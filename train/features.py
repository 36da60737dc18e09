"""Frozen layers give the same features for the same picture every time: they are computed once, and kept on disk.

    FOLDER/RECIPE     a store: see `train.store`

RECIPE is a digest of all that features depend on besides the picture: a changed weight, size or preprocessing, or
another form, finds nothing to reuse. A picture may be kept in augmented versions, too (its views), each under a digest
of its own.
"""

import hashlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import groupby, product
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from classifier import pictures
from train import forms
from train.augmentation import Augmentation
from train.backbone import Backbone
from train.batches import fits_shared_memory, in_processes
from train.data import digest
from train.distributed import Group
from train.forms import Form, FormError, Run, Trial
from train.pixels import Pixels
from train.progress import progress
from train.stopping import Stopped, StopSignal
from train.store import STORED_AT_ONCE, Buffer, FeaturesError, Store

#: Pictures that a CPU's core works on at a time: more are no faster, and take more memory.
CPU_BATCH = 16

#: Pictures below which trying forms takes longer than it saves.
FEW = 256

T = TypeVar("T")

#: Digests of some pictures; their pixels or their features; the seconds that decoding and the network took.
_Computed = tuple[list[bytes], NDArray[Any], tuple[float, float]]


@dataclass
class Work:
    """What an extraction has done on this replica: pictures, and the seconds of its processes, or of the wait for them.

    On a CPU the same processes decode and compute; a GPU computes while others decode, and only what it waits counts.
    `forms` are what was computed in.
    """

    pictures: int = 0
    decoding: float = 0.0
    network: float = 0.0
    forms: list[str] = field(default_factory=list)


class View(NamedTuple):
    """A picture as it is (0), or one of its augmented versions; its `file` is named from the extraction's `root` on."""

    file: Path | str
    number: int = 0


class Kept(NamedTuple):
    """The features of the pictures that are learnt from, and of those that are judged."""

    learnt: Store
    judged: Store


@dataclass(frozen=True)
class Extraction:
    """Computes the features that are wanted and that are neither in `folder`, where it keeps them, nor in `given`.

    It takes the form of `forms` that some features are kept in, or else that is fastest here; the last works anywhere.
    `graphs` is a folder for `forms.runner`, empty at first. Each form is tried once: `trials` has none of what failed.
    `batch_size` pictures go through the network at a time, and always as many, so that a picture's features do not
    depend on which others are missing. The replicas of the `group` compute a share each, and all get all. What is in
    `kept` is not decoded again.
    """

    backbone: Backbone
    augmentation: Augmentation
    forms: Sequence[Form]
    folder: Path
    given: Path | None
    graphs: Path
    batch_size: int
    workers: int
    group: Group
    stop: StopSignal
    say: Callable[[str], None] = lambda line: None
    work: Work = field(default_factory=Work)
    trials: dict[Form, Trial | None] = field(default_factory=dict)
    root: Path = Path()
    kept: Pixels | None = None

    def missing(self, files: Mapping[bytes, View]) -> int:
        """Return how many of the `files` have no features yet, in the form that has most of them."""
        return min(len(files.keys() - self._kept(form)) for form in self.forms)

    def __call__(self, files: Mapping[bytes, View], more: int = 0) -> Store:
        """Return a store that has the features of the `files` (digest -> view); the disk is to have room for `more`.

        Raises `Stopped` when asked to stop; what was computed by then is kept.
        """
        for folder, form in product(self._folders, self.forms):
            store = self._store(folder, form)
            if all(self.group.everyone(files.keys() <= store.rows.keys())):
                return store
        left = list(self.forms)
        while True:
            form = self.group.share(self._chosen(left, files) if self.group.rank == 0 else None)
            try:
                return self._extracted(form, files, more)
            except FormError as error:
                self.say(f"features: {form} is not used any more: {error}")
                left.remove(form)

    def _chosen(self, left: Sequence[Form], files: Mapping[bytes, View]) -> Form:
        """Return the form of `left` to compute in: what was begun in one goes on in it, if it works here."""
        last = left[-1]
        rows = {form: self._kept(form) & files.keys() for form in left}
        kept = max(left, key=lambda form: len(rows[form]))
        missing = {name: file for name, file in files.items() if name not in rows[kept]}
        many = len(missing) >= FEW or last in self.trials
        begun = len(rows[kept]) >= (FEW if kept == last and many else 1)
        if len(left) == 1 or (kept == last if begun else not many):
            return last
        if self.backbone.device.type == "cpu" and not forms.fit_memory(self.backbone.network, self.workers):
            self.say(f"features: {last}, of which {self.workers} processes share one copy: no other fits in the memory")
            return last
        tried = self._tried([kept, last] if begun else left, missing)
        if begun and kept not in tried:
            return self._chosen([form for form in left if form != kept], files)
        chosen = kept if begun else forms.fastest(tried)
        self.say(
            f"features: {chosen}, {tried[chosen].speed:.1f} times as fast as {last}; "
            f"the difference from float32 is {tried[chosen].difference:.2g} of their spread"
        )
        return chosen

    def _tried(self, wanted: Sequence[Form], missing: Mapping[bytes, View]) -> dict[Form, Trial]:
        """Return the trials of those forms that work, in order; those that are new are tried on some of `missing`."""
        if not self.trials.keys() >= set(wanted):
            sample = list(missing)[:: -(-len(missing) // forms.SAMPLE)]
            pixels, _ = self._decoder(missing)(sample, forms.SAMPLE)
            tried = forms.attempt(self.backbone, wanted, pixels, self.graphs, self.say)
            self.trials.update({form: tried.get(form) for form in wanted})
        return {form: trial for form in wanted if (trial := self.trials[form])}

    def _extracted(self, form: Form, files: Mapping[bytes, View], more: int) -> Store:
        """Return a store that has the features of `files`, computed in `form`; raises `FormError` where that fails."""
        if str(form) not in self.work.forms:
            self.work.forms.append(str(form))
        places = self.group.everyone((socket.gethostname(), str(self.folder.resolve())))
        writes = places.index(places[self.group.rank]) == self.group.rank  # the first of those that share the folder
        store = self._store(self.folder, form)
        if self.given and writes:
            supplied = self._store(self.given, form)
            for digests in _parts(list(supplied.rows), STORED_AT_ONCE):
                store.add(digests, supplied.tensor()[[supplied.rows[name] for name in digests]].numpy())
        missing = set[bytes]().union(*self.group.everyone(files.keys() - self._store(self.folder, form).rows.keys()))
        if writes:
            store.check_room(len(missing) + more)
        computed = self._computed({name: file for name, file in files.items() if name in missing}, form)
        with closing(Buffer(store)) as buffer:
            for digests, features in computed:
                if writes:
                    buffer.add(digests, features)
        self.group.everyone(None)  # The others read when all has been written.
        store = self._store(self.folder, form)
        for name in files.keys() - store.rows.keys():
            raise FeaturesError(f"{files[name].file} was changed while it was read; start the run again")
        return store

    def _store(self, folder: Path, form: Form) -> Store:
        recipe = hashlib.sha256(self.backbone.recipe + form.recipe.encode()).hexdigest()
        return Store(folder / recipe, self.backbone.shape)

    def _kept(self, form: Form) -> set[bytes]:
        """Return the digests of all pictures whose features in `form` are there."""
        return {name for folder in self._folders for name in self._store(folder, form).rows}

    @property
    def _folders(self) -> list[Path]:
        return [self.given, self.folder] if self.given else [self.folder]

    def _decoder(self, files: Mapping[bytes, View]) -> "_Decoder":
        return _Decoder(self.root, files, self.augmentation, self.kept)

    def _computed(self, files: Mapping[bytes, View], form: Form) -> Iterator[tuple[list[bytes], NDArray[np.float32]]]:
        """Yield the digests and features of some `files` at a time."""
        backbone, group = self.backbone, self.group
        on_cpu = backbone.device.type == "cpu"
        parts = _parts(list(files), self.batch_size * group.size)
        parts = [part[group.rank * self.batch_size :][: self.batch_size] for part in parts]
        workers = min(self.workers, len(parts))
        size = self.batch_size * 3 * backbone.preprocessing.crop_size**2
        make = partial(forms.runner, backbone, form, self.graphs)
        loader = DataLoader(
            _Parts(parts, self.batch_size, self._decoder(files), make if on_cpu else None),
            batch_size=None,
            **in_processes(workers),
            # Few features, or pixels that /dev/shm has no room for, go through a pipe.
            collate_fn=_as_they_are if on_cpu or not fits_shared_memory(size * (2 * workers + 1)) else None,
            pin_memory=not on_cpu,
            generator=torch.Generator(),  # else it draws from the stream that dropout uses
        )
        computed = self._run(progress(loader, len(parts), "computing features"), None if on_cpu else make())
        for digests, features, problem in self._watched(computed, form):
            shared = group.everyone((digests, features, problem, self.stop.requested))
            for part, rows, *_ in shared:
                yield part, rows
            if problems := [problem for _, _, problem, _ in shared if problem]:
                raise FormError(problems[0])
            if any(asked for *_, asked in shared):
                raise Stopped

    def _run(self, parts: Iterable[_Computed], run: Run | None) -> Iterator[tuple[list[bytes], NDArray[np.float32]]]:
        """Yield the digests and features of each of `parts`, which come with features, or as pixels to be `run`."""
        waiting = time.perf_counter()
        for digests, values, (decoding, network) in parts:
            features = values
            if run:
                begun = time.perf_counter()
                features = run(values)
                decoding, network = begun - waiting, time.perf_counter() - begun
            self.work.pictures += len(digests)
            self.work.decoding += decoding
            self.work.network += network
            yield digests, features[: len(digests)]
            waiting = time.perf_counter()

    def _watched(
        self, computed: Iterable[tuple[list[bytes], NDArray[np.float32]]], form: Form
    ) -> Iterator[tuple[list[bytes], NDArray[np.float32], str]]:
        """Yield what was `computed`, and at last why there is no more of it, where `form` is not the last resort."""
        try:
            for digests, features in computed:
                if not np.isfinite(features).all() and form != self.forms[-1]:
                    raise FormError("it gives features that are no numbers")
                yield digests, features, ""
        except (FormError, RuntimeError) as error:  # of the second kind: a process has died
            if form == self.forms[-1]:
                raise
            yield [], np.empty((0, *self.backbone.shape), np.float32), str(error).strip().splitlines()[-1]


@dataclass(frozen=True)
class _Parts(Dataset[_Computed]):
    """The pictures of each part as `_Computed`: with features where something is given to `make` what runs the network.

    On a CPU the worker processes run the backbone, too: one process a core, each with a picture's every step, is half
    again as fast as all cores together on one layer after the other.
    """

    parts: Sequence[Sequence[bytes]]
    batch_size: int
    decoded: "_Decoder"
    make: Callable[[], Run] | None

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, part: int) -> _Computed:
        begun = time.perf_counter()
        pixels, digests = self.decoded(self.parts[part], self.batch_size)
        decoded = time.perf_counter()
        values = self._network(pixels) if self._network else pixels
        spent = (decoded - begun, time.perf_counter() - decoded)
        return digests, values, spent

    @cached_property
    def _network(self) -> Run | None:
        return self.make() if self.make else None  # in the process that uses it


@dataclass(frozen=True)
class _Decoder:
    """Gives the pixels of some of the `files` (digest -> view) below `root`, of which some may be `kept`."""

    root: Path
    files: Mapping[bytes, View]
    augmentation: Augmentation
    kept: Pixels | None

    def __call__(self, names: Sequence[bytes], size: int) -> tuple[NDArray[np.uint8], list[bytes]]:
        """Return pixels, uint8 [size, 3, S, S], black where there are fewer `names`, and the digest of each."""
        preprocessing, digests = self.augmentation.preprocessing, list[bytes]()
        pixels = np.zeros((size, 3, preprocessing.crop_size, preprocessing.crop_size), np.uint8)
        for file, views in groupby(names, key=lambda name: self.files[name].file):
            content, image = b"", None
            for name in views:
                crop = self.kept.get(name) if self.kept else None
                if crop is None:
                    if image is None:  # once for all its views
                        content = (self.root / file).read_bytes()
                        image = pictures.decode(content, preprocessing.enough)
                    # The file may be another by now: its features are kept by what it is.
                    crop, name = self.augmentation.view(image, digest(content), self.files[name].number)
                    if self.kept:
                        self.kept.put(name, crop)
                pixels[len(digests)] = crop
                digests.append(name)
        return pixels, digests


def _as_they_are(value: Any) -> Any:
    return value


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[begin : begin + size] for begin in range(0, len(items), size)]
