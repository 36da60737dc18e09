"""What lies in a folder: what may be a picture, what is none by its name, and the litter that desktops leave.

A file may be a picture unless its ending says that it is something else: what it is, its content decides later. Links
are followed. What cannot be opened (a link that leads nowhere, a pipe) stays in the list, to be named by who reads it.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.formats import is_other, words

#: Folders below one another; no data set has so many.
MAX_DEPTH = 64
#: Ways that lead to one folder; with links back and forth, the ways are more than can be gone.
MAX_WAYS = 100

#: What desktops, volumes, archives and programs leave in folders, besides hidden files.
_LITTER = words(
    "thumbs.db ehthumbs.db ehthumbs_vista.db desktop.ini @eadir #recycle #snapshot "
    "@__thumb lost+found __macosx $recycle.bin recycler __pycache__ node_modules venv wandb mlruns lightning_logs"
) | {"icon\r", "system volume information", "network trash folder", "temporary items"}
_LITTER_ENDINGS = (":zone.identifier", ".part", ".crdownload", ".tmp", "~", "_$folder$")


@dataclass(frozen=True)
class Folder:
    """A folder, read: names in order of `files` that may be pictures, and of `others` that are none by their names.

    `litter` names entries that are skipped; what is in a folder among them is not read.
    """

    path: Path
    files: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: dict[str, "Folder"] = field(default_factory=dict)
    litter: list[str] = field(default_factory=list)

    def walk(self) -> Iterator["Folder"]:
        """Yield this folder and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.walk()

    def pictures(self) -> Iterator[Path]:
        """Yield what may be a picture, here and below, in the order of the paths' parts."""
        return self._below(lambda folder: folder.files)

    def picture_paths(self) -> "Paths":
        """Return `pictures` as a sequence."""
        if not self.folders:
            return Paths(self.path, self.files)
        above = len(os.fspath(self.path)) + 1
        return Paths(self.path, [os.fspath(picture)[above:] for picture in self.pictures()])

    def everything(self) -> Iterator[Path]:
        """Yield all here and below that is no litter and no folder, in that order, too."""
        return self._below(lambda folder: folder.files + folder.others)

    def _below(self, chosen: Callable[["Folder"], list[str]]) -> Iterator[Path]:
        names = [(name, False) for name in chosen(self)] + [(name, True) for name in self.folders]
        for name, is_folder in sorted(names):
            if is_folder:
                yield from self.folders[name]._below(chosen)
            else:
                yield self.path / name


@dataclass(frozen=True)
class Paths(Sequence[Path]):
    """Files by their `names` from `folder` on: a million of them as paths would take half a gigabyte."""

    folder: Path = Path()
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> Path: ...

    @overload
    def __getitem__(self, place: slice) -> "Paths": ...

    def __getitem__(self, place: int | slice) -> "Path | Paths":
        if isinstance(place, slice):
            return Paths(self.folder, self.names[place])
        return self.folder / self.names[place]

    def take(self, places: Iterable[int]) -> "Paths":
        """Return only those at `places`."""
        return Paths(self.folder, tuple(self.names[place] for place in places))


def read(root: Path) -> Folder:
    """Return what lies in the folder `root`; raise `UserError` where a folder in it cannot be read."""
    try:
        if not root.is_dir():
            raise UserError(f"{text(root)} is not a folder; give the folder that holds the pictures (unpack archives)")
    except OSError as error:  # of a folder above
        raise _unreadable(root, error) from None
    return _read(root, [], Counter())


def is_litter(name: str) -> bool:
    """Whether an entry of a folder is hidden, or left by a desktop, a volume, a program or an interrupted copy."""
    lower = name.lower()
    return lower.startswith(".") or lower in _LITTER or lower.endswith(_LITTER_ENDINGS)


def is_picture_type(content_type: str) -> bool:
    """Whether requests of this content type hold a picture: image/png and so on, or application/x-image for any."""
    return content_type.startswith("image/") or content_type == "application/x-image"


def text(name: str | os.PathLike[str]) -> str:
    r"""Return a file's name or path as text that UTF-8 can write on one line; `path` makes it the name again.

    Bytes that are not UTF-8, and those of control characters and line ends of any script, are written `\xe9`; so is a
    backslash that would look the same.
    """
    name = os.fspath(name)
    if name.isprintable() and "\\x" not in name:
        return name
    named = re.sub(r"\\(?=x[0-9a-f]{2})", r"\\x5c", name)
    escaped = re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: _escaped(match[0]), named)
    return escaped.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _escaped(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode())


def path(written: str) -> str:
    """Return the name or path that `text` has written so."""
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), written.encode(errors="replace"))
    return raw.decode(errors="surrogateescape")


def left_out(litter: int, names: Sequence[str]) -> str:
    """Return a sentence on `litter` entries and on files whose `names` say that they are no pictures, or nothing."""
    said = []
    if names:
        shown = ", ".join(map(text, names[:3])) + (", …" if len(names) > 3 else "")
        said.append(f"{count(len(names), 'file')} that {'is' if len(names) == 1 else 'are'} no picture ({shown})")
    if litter:
        said.append(f"{count(litter, 'entry', 'entries')} that desktops and volumes leave (.DS_Store, Thumbs.db, …)")
    return f"left out: {' and '.join(said)}" if said else ""


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _read(root: Path, above: list[tuple[int, int]], ways: Counter[tuple[int, int]]) -> Folder:
    """Return the folder; those that it is in are `above`, as device and inode, and `ways` counts all that were read."""
    if len(above) > MAX_DEPTH:
        raise UserError(
            f"{text(root)[:200]}… has more than {MAX_DEPTH} folders within one another; give another folder"
        )
    folder = Folder(root)
    try:
        status = root.stat()
        itself = (status.st_dev, status.st_ino)
        here = [*above, itself]
        with os.scandir(root) as entries:
            listing = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:  # removed since its name was read
        return folder
    except OSError as error:
        raise _unreadable(root, error) from None
    ways[itself] += 1
    if ways[itself] > MAX_WAYS:
        raise UserError(
            f"links lead to {text(root)[:200]} in more than {MAX_WAYS} ways; remove those that go in circles"
        )
    for entry in listing:
        if is_litter(entry.name):
            folder.litter.append(entry.name)
        elif _is_folder(entry, here):
            folder.folders[entry.name] = _read(root / entry.name, here, ways)
        else:
            (folder.others if is_other(entry.name) else folder.files).append(entry.name)
    return folder


def _unreadable(root: Path, error: OSError) -> UserError:
    return UserError(f"the folder {text(root)[:1000]} cannot be read ({error.strerror}); let the job read it")


def _is_folder(entry: os.DirEntry[str], here: list[tuple[int, int]]) -> bool:
    """Whether there is a folder to go into: no link back to one of those that lead `here`."""
    try:
        if not entry.is_dir():
            return False
        if not entry.is_symlink():
            return True
        status = entry.stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) not in here
