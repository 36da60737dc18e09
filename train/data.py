"""The labelled pictures of a job: channels -> splits -> files with their classes.

How folders are read is `byoc_vision.contract.dataset`. The training split alone decides which classes there are and in
what order. Every picture is decoded once before training begins, so that a damaged one is known and named at the start;
what is known by its content need only be read.
"""

import hashlib
import itertools
import os
import random
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from byoc_vision.contract import dataset
from byoc_vision.contract.errors import DataError
from byoc_vision.contract.folders import Paths, text
from byoc_vision.contract.split_names import SPLITS
from classifier import pictures
from train.pixels import Pixels
from train.progress import progress
from train.stopping import StopSignal

#: Files that a thread reads at a time, and such parts at most: those of a million pictures would take 0.1 GB.
_PART, _PARTS = 16, 4096

#: Classes that the log lists; of more, so many.
CLASSES_SHOWN, FEWEST_SHOWN = 200, 20

#: Bytes of a digest; pixels of a look's side, their bytes, and those of the kind that follows them.
DIGEST_BYTES, LOOK_SIDE = 32, 8
LOOK_BYTES, KIND_BYTES = 3 * LOOK_SIDE**2, 24

#: Pixels of the shorter side that a picture is decoded with for its look: with less, looks of copies differ. Pictures
#: that have fewer than `_LEAST` (drawn digits) look alike without being copies.
_ENOUGH, _LEAST = 8 * LOOK_SIDE, 4 * LOOK_SIDE


@dataclass(frozen=True)
class Split:
    """Pictures of one split: `files[i]` shows class `targets[i]`; `names[i]` is how reports call it.

    Once `checked` has read it, `digests[i]` is that of its bytes, and `looks[i]` the picture in 8 x 8 pixels (RGB;
    black where it is too small for that to tell pictures apart), followed by its kind (`pictures.kind`). Where there
    are `pixels`, they hold what was decoded of these pictures and is wanted again.
    """

    files: Paths = field(default_factory=Paths)
    targets: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    digests: tuple[bytes, ...] = ()
    looks: tuple[bytes, ...] = ()
    pixels: Pixels | None = None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, keep: Sequence[int]) -> "Split":
        """Return the split of only the pictures at the positions `keep`."""
        return Split(
            files=self.files.take(keep),
            targets=tuple(self.targets[i] for i in keep),
            names=tuple(self.names[i] for i in keep),
            digests=tuple(self.digests[i] for i in keep) if self.digests else (),
            looks=tuple(self.looks[i] for i in keep) if self.looks else (),
            pixels=self.pixels,
        )

    def spread(self, count: int) -> "Split":
        """Return `count` of the pictures at equal distances, so of all classes alike; all where there are no more."""
        return self.take(np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)).tolist())


@dataclass(frozen=True)
class Data:
    """The splits and the class names; `test` may be empty. `lines` say what else is in the folders.

    `kinds` counts the pictures of each kind, once they are `checked`. Names of classes and pictures are text that can
    be written anywhere (`folders.text`), whatever bytes files have.
    """

    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    lines: tuple[str, ...] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name, in the order they are used."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def digest(self) -> str:
        """What this data is known by once it is `checked`: 16 digits, of the pictures' contents, classes and splits.

        The same pictures under other names have the same.
        """
        hashed = hashlib.sha256()
        for name, split in self.splits.items():
            pictures = zip(split.targets, split.digests, strict=True)
            for label, content in sorted((self.labels[target], content) for target, content in pictures):
                hashed.update(f"{name}\0{label}\0".encode() + content)
        return hashed.hexdigest()[:16]

    def counts(self) -> str:
        """Return a table: one line per class with its number of pictures in each split, and a total.

        Of more classes than a log should list, those with the fewest training pictures.
        """
        columns = {name: Counter(split.targets) for name, split in self.splits.items()}
        targets = list(range(len(self.labels)))
        if len(targets) > CLASSES_SHOWN:
            targets = sorted(targets, key=columns["train"].__getitem__)[:FEWEST_SHOWN]
        more = f"{len(self.labels) - len(targets):,} more"
        width = max(len(label) for label in (*(self.labels[target] for target in targets), "all classes", more))
        lines = [f"{'class':<{width}}" + "".join(f"{name:>12}" for name in columns)]
        for target in targets:
            line = f"{self.labels[target]:<{width}}"
            lines.append(line + "".join(f"{column[target]:>12}" for column in columns.values()))
        if len(targets) < len(self.labels):
            lines.append(f"{more:<{width}}" + f"{'…':>12}" * len(columns))
        lines.append(f"{'all classes':<{width}}" + "".join(f"{len(split):>12}" for split in self.splits.values()))
        return "\n".join(lines)

    def keeping(self, pixels: Pixels, *splits: str) -> "Data":
        """Return the same data, of which `pixels` are to hold those `splits`."""
        train, validation, test = (
            replace(split, pixels=pixels if name in splits else None) for name, split in self.splits.items()
        )
        return replace(self, train=train, validation=validation, test=test)

    def without_looks(self) -> "Data":
        """Return the same data without what only the search for copies needs."""
        train, validation, test = (replace(split, looks=()) for split in self.splits.values())
        return replace(self, train=train, validation=validation, test=test)


def find(channels: Mapping[str, Path], validation_share: float, test_share: float, seed: int) -> Data:
    """Return the labelled pictures in the `channels` (name -> folder) of a job.

    The channels are those of `dataset.read_channels`, which raises `DataError` for what cannot be trained on. A
    validation split that is missing is drawn from the training pictures, and a test split too where the data has no
    splits at all: by class, with the `seed`.
    """
    layout = dataset.read_channels(channels)
    target = {label: i for i, label in enumerate(layout.classes)}
    root = Path(os.path.commonpath(channels[name] for name in channels if name in ("training", *SPLITS)))
    splits = {}
    for name in SPLITS:
        names, targets = list[str](), list[int]()
        for label, files in layout.splits.get(name, {}).items():
            names += (os.fspath(file).removeprefix(f"{root}/") for file in files)
            targets += [target[label]] * len(files)
        splits[name] = Split(Paths(root, tuple(names)), tuple(targets), tuple(map(text, names)))
    if not splits["validation"]:
        splits["train"], splits["validation"] = _draw(splits["train"], validation_share, seed)
    if len(layout.splits) == 1 and test_share:
        splits["train"], splits["test"] = _draw(splits["train"], test_share, seed + 1)
    if not splits["validation"]:
        raise DataError("every class has a single picture, so none is left to validate with; add pictures")
    labels, lines = tuple(map(text, layout.classes)), tuple(layout.lines())
    return Data(labels, splits["train"], splits["validation"], splits["test"], lines)


def checked(
    data: Data,
    limit: float,
    workers: int,
    stop: StopSignal,
    known: Mapping[bytes, bytes] | None = None,
) -> tuple[Data, dict[str, str]]:
    """Read every picture; return the data, with digests and looks, without what cannot be read: name -> reason.

    Pictures that are `known` (digest -> look) have been read before: they are not decoded again. All get their place
    in the split's `pixels`. Raises `DataError` when more than the share `limit` of all pictures fails, or a class loses
    its last training picture.
    """
    count = sum(map(len, data.splits.values()))
    results = _read_all(data.splits.values(), workers, stop, known or {})
    splits: dict[str, Split] = {}
    bad: dict[str, str] = {}
    for name, split in data.splits.items():
        entries = [next(results) for _ in range(len(split))]
        bad |= {split.names[i]: entry for i, entry in enumerate(entries) if isinstance(entry, str)}
        read = {i: entry for i, entry in enumerate(entries) if not isinstance(entry, str)}
        digests, looks = zip(*read.values(), strict=True) if read else ((), ())
        splits[name] = replace(split.take(list(read)), digests=digests, looks=looks)
    if len(bad) > limit * count:
        raise DataError(
            f"{len(bad)} of {count} pictures cannot be read, more than max-unreadable allows ({limit:g} of them): "
            f"{_listed(bad)}; convert, repair or remove them, or raise max-unreadable"
        )
    lost = set(range(len(data.labels))) - set(splits["train"].targets)
    if lost:
        raise DataError(
            f"no training picture of class {data.labels[min(lost)]!r} can be read; repair them or remove the class"
        )
    if not splits["validation"]:
        raise DataError("no validation picture can be read; repair them or remove the validation split")
    kinds = Counter(look[LOOK_BYTES:] for split in splits.values() for look in split.looks)
    kinds_of = {kind.decode().rstrip(): count for kind, count in kinds.items()}
    return Data(data.labels, **splits, lines=data.lines, kinds=kinds_of), bad


def _listed(bad: Mapping[str, str]) -> str:
    """Return the first reasons, each with the first picture that it is given for, and how many more there are."""
    names_of: dict[str, list[str]] = {}
    for name, why in bad.items():
        names_of.setdefault(why, []).append(name)
    return "; ".join(
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {why}"
        for why, names in list(names_of.items())[:3]
    )


def digest(content: bytes) -> bytes:
    """Return what a picture's content is known by (SHA-256)."""
    return hashlib.sha256(content).digest()


#: What a file turned out to be: its digest and look, or why it is no picture.
_Read = tuple[bytes, bytes] | str


def _read_all(
    splits: Collection[Split], workers: int, stop: StopSignal, known: Mapping[bytes, bytes]
) -> Iterator[_Read]:
    def read(part: tuple[Split, int]) -> list[_Read]:
        split, begin = part
        return [_read(file, stop, known, split.pixels) for file in split.files[begin : begin + size]]

    count = sum(map(len, splits))
    size = max(_PART, count // _PARTS)
    parts = [(split, begin) for split in splits for begin in range(0, len(split), size)]
    with ThreadPoolExecutor(max(1, workers)) as pool:  # Pillow's decoders release the interpreter lock.
        yield from progress(itertools.chain.from_iterable(pool.map(read, parts)), count, "checking pictures")


def _read(file: Path, stop: StopSignal, known: Mapping[bytes, bytes], pixels: Pixels | None) -> _Read:
    stop.check()
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would not end
            return "it is no file"
        if not status.st_size:
            return "the file is empty"
        content = file.read_bytes()
        name = digest(content)
        if pixels:
            pixels.add(name)
        return name, known.get(name) or _look(content)
    except pictures.PictureError as error:
        return str(error)
    except OSError as error:
        what = "file that the link leads to" if file.is_symlink() else "file"
        return f"the {what} cannot be read ({error.strerror})"


def _look(content: bytes) -> bytes:
    image = pictures.decode(content, _ENOUGH)
    plain = min(image.size) < _LEAST
    pixels = bytes(LOOK_BYTES) if plain else image.resize((LOOK_SIDE, LOOK_SIDE), Image.Resampling.BOX).tobytes()
    return pixels + pictures.kind(content).encode().ljust(KIND_BYTES)


def _draw(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Divide `split` in two, `share` of each class (at least one picture, never the last) going to the second."""
    by_class: dict[int, list[int]] = {}
    for position, target in enumerate(split.targets):
        by_class.setdefault(target, []).append(position)
    generator = random.Random(seed)
    drawn: set[int] = set()
    for positions in by_class.values():
        count = min(len(positions) - 1, max(1, round(share * len(positions))))
        drawn.update(generator.sample(positions, count))
    return split.take([i for i in range(len(split)) if i not in drawn]), split.take(sorted(drawn))
