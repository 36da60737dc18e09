"""How folders of labelled pictures are read: their splits and classes, and what is not used.

What is neither split nor class is named as unused; where nothing tells which folders are the classes, the folder to
give is named. `structure` has the rules, `split_names` what names say, and `folders` which files may be pictures.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from byoc_vision.contract import folders, formats, split_names, structure
from byoc_vision.contract.errors import DataError, UserError
from byoc_vision.contract.folders import Folder, Paths, count, text
from byoc_vision.contract.split_names import SPLITS
from byoc_vision.contract.structure import LISTED, listed

_DIFFERENCES = "case, blanks, hyphens, leading zeros or how accents are stored"

#: Class name -> its pictures, in the order of the names.
Classes = dict[str, Paths]


@dataclass(frozen=True)
class Layout:
    """Labelled pictures as they lie in folders. `splits` has `train`, and the others that there are.

    `unused` says what is in the folders besides, an entry each; `others` names files that are no pictures by their
    ending; `litter` counts what desktops leave; `notes` are sentences on what is not plain in the folders' names. The
    pictures are files that may be some: nothing has been opened.
    """

    splits: dict[str, Classes]
    unused: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    litter: int = 0
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in order: the training split's."""
        return tuple(self.splits["train"])

    def lines(self) -> Iterator[str]:
        """Yield what the user is to know of the folders, a sentence a line."""
        yield from self.notes
        if self.unused:
            yield f"not used: {listed(self.unused, 10)}"
        if said := folders.left_out(self.litter, self.others):
            yield said


def read_channels(channels: Mapping[str, Path]) -> Layout:
    """Return how the pictures in `channels` (name -> folder) are divided.

    The channels are `train` and others of `SPLITS`, or only one, `training` or `train`, with a folder for each split or
    for each class. Channels of other names are not used; one that is called as splits are (`val`) is refused. Raises
    `DataError`, naming the folder to give where there is one.
    """
    others = sorted(channels.keys() - {"training", *SPLITS})
    for name in others:
        split, rest = split_names.split_of(name)
        if split and not rest:
            raise DataError(f"there is no channel {name}; call it {split}")
    splits = {split: channels[split] for split in SPLITS if split in channels}
    if splits and "training" in channels:
        raise DataError(
            f"the channels training and {min(splits)} do not go together; name the first train, or leave out the others"
        )
    one = channels.get("training", channels.get("train"))
    if one is None:
        raise DataError(
            "the job has no training pictures; give it the channels train and validation, or one channel training "
            f"(it has {', '.join(sorted(channels)) or 'none'})"
        )
    if len(splits) > 1:
        read = {split: _read(folder) for split, folder in splits.items()}
        tops = {split: structure.alone(folder) for split, folder in read.items()}
    else:
        read = {"training": _read(one)}
        tops = structure.divided(read["training"])
    classes = {split: structure.class_folders(top) for split, top in tops.items()}
    _check(classes, tops["train"])
    all_folders = [folder for top in read.values() for folder in top.walk()]
    used = {folder.path for split in classes.values() for top in split.values() for folder in top.walk()}
    return Layout(
        {split: {name: folder.picture_paths() for name, folder in classes[split].items()} for split in classes},
        (*(f"the channel {name}" for name in others), *(e for top in read.values() for e in _unused(top, top, used))),
        tuple(name for folder in all_folders for name in folder.others),
        sum(len(folder.litter) for folder in all_folders),
        tuple(_notes(classes["train"])),
    )


def _read(root: Path) -> Folder:
    try:
        return folders.read(root)
    except UserError as error:
        raise DataError(str(error)) from None


def _check(classes_of: Mapping[str, Mapping[str, Folder]], top: Folder) -> None:
    """Raise `DataError` for less than two classes in `top`, one without pictures, and one that is not trained on."""
    trained = classes_of["train"]
    for folder in trained.values():
        if not structure.holds(folder):
            raise DataError(f"the class folder {text(folder.path)} holds no picture; put pictures into it or remove it")
    if len(trained) < 2:
        raise _too_few(top, list(trained.values()))
    alike = {split_names.alike(name): name for name in trained}
    for split, classes in classes_of.items():
        for name, folder in classes.items():
            if name not in trained and structure.holds(folder):
                if other := alike.get(split_names.alike(name)):
                    raise DataError(
                        f"the {split} split has the class {text(name)!r} and the training split {text(other)!r}, names "
                        f"that differ only in {_DIFFERENCES}; give both the same name"
                    )
                raise DataError(
                    f"the {split} split has the class {text(name)!r}, which the training split has not; "
                    "add training pictures of it or remove it"
                )


def _too_few(top: Folder, folders: list[Folder]) -> DataError:
    """Return the error for a folder that has not two classes."""
    loose = [folder for folder in _beside_notes(top) if folder.files]
    if loose and not folders:
        return structure.no_classes(top, loose)
    said = ""
    litter = [name for name in top.litter if (top.path / name).is_dir()]
    beside = [name for name, folder in top.folders.items() if structure.holds(folder)] + litter
    beside = [text(name) for name in beside if name not in {folder.path.name for folder in folders}]
    if folders:
        if split_names.split_of(folders[0].path.name)[0]:
            return structure.no_classes(top, folders)
        if structure.subfolders(folders[0]):
            said = f"; give {text(folders[0].path)} if its folders are the classes"
        else:
            said = f", {text(folders[0].path.name)}{'' if beside else structure.unread(top, folders[0])}"
    elif others := [name for folder in top.walk() for name in folder.others]:
        name, remedy = formats.telling(others)
        said = f", and no picture, but {count(len(others), 'other file')} ({text(name)}{remedy and f'; {remedy}'})"
    if beside:
        said += (
            f" ({listed(beside, LISTED)} {'is' if len(beside) == 1 else 'are'} none by name; rename what is a class)"
        )
    return DataError(
        f"{text(top.path)} has {len(folders)} class folder(s){said}; put the pictures into one folder per class, "
        "of two classes or more"
    )


def _beside_notes(top: Folder) -> Iterator[Folder]:
    yield top
    for name, folder in top.folders.items():
        if not split_names.is_notes(name):
            yield from _beside_notes(folder)


def _notes(classes: Mapping[str, Folder]) -> Iterator[str]:
    """Yield sentences on classes that may have been meant as something else."""
    for name in classes:
        split, rest = split_names.split_of(name)
        if split and not rest:
            yield f"{text(name)} is taken for a class, because it holds pictures and no class folders"
        elif split_names.is_only_derived(name):
            yield f"{text(name)} is taken for a class; remove it if what it holds was made from the others' pictures"
    for names in split_names.groups_alike(classes):
        yield f"the classes {' and '.join(map(repr, map(text, names)))} have names that differ only in {_DIFFERENCES}"
    nested = [text(f"{name}/{subfolder}") for name, folder in classes.items() for subfolder in folder.folders]
    if nested:
        yield f"pictures in folders within a class's count as the class's: {listed(nested, LISTED)}"
    made = [name for top in classes.values() for folder in top.walk() for name in split_names.derived(folder.files)]
    if made:
        masks = folders.count(len(made), "file")
        yield f"used as pictures: {masks} named as masks of those beside them ({text(made[0])}); remove what is one"


def _unused(folder: Folder, top: Folder, used: set[Path]) -> Iterator[str]:
    """Yield what is in `folder` and belongs to no class."""
    where = text(os.path.relpath(folder.path, top.path.parent))
    if any(inner.path in used for inner in folder.walk()):
        if folder.files and folder.path not in used:
            yield f"{count(len(folder.files), 'file')} beside the folders in {where}"
        for subfolder in folder.folders.values():
            yield from _unused(subfolder, top, used)
    else:
        number = sum(len(inner.files) for inner in folder.walk())
        yield f"{where} ({count(number, 'file')})" if number else f"{where} (no picture)"
