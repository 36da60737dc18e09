"""Which of the folders in a data set are splits, and which are classes.

A split is a folder with one folder for each class; a class is a folder with pictures, at any depth. Names say which
split a folder is, but only what it holds says whether it is one: a class may be called `train`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from byoc_vision.contract import formats, split_names
from byoc_vision.contract.errors import DataError
from byoc_vision.contract.folders import Folder, text
from byoc_vision.contract.split_names import SPLITS

#: Names that one sentence lists.
LISTED = 3

#: Endings of files that may say which class a picture is of, the likeliest first.
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".parquet", ".mat", ".manifest", ".lst", ".xml", ".txt")
_NO_TABLES = ("readme", "license", "sample_submission", "samplesubmission")


def divided(top: Folder) -> dict[str, Folder]:
    """Return, for each split in `top`, the folder with its classes, however many folders are around them."""
    if splits := _splits(top):
        return {split: _inner(folder) for split, folder in splits.items()}
    within = _within(top)
    return {"train": top} if within is None else divided(within)


@dataclass(frozen=True)
class _Named:
    """The folders that are splits by their names: those with class folders, and those with loose pictures."""

    labelled: dict[str, list[Folder]] = field(default_factory=dict)
    loose: dict[str, list[Folder]] = field(default_factory=dict)

    @property
    def folders(self) -> list[Folder]:
        return [folder for split in SPLITS for group in (self.labelled, self.loose) for folder in group.get(split, [])]


def _named(top: Folder) -> _Named:
    said = {name: split_names.split_of(name) for name, folder in top.folders.items() if holds(folder)}
    families = [rest for split, rest in set(said.values()) if split]  # seg_train and seg_test
    named = _Named()
    for name, (split, rest) in said.items():
        if split and (not rest or families.count(rest) > 1):
            folder = top.folders[name]
            (named.labelled if _has_classes(folder) else named.loose).setdefault(split, []).append(folder)
    tests = named.labelled.get("test", [])
    evaluated = [folder for folder in tests if split_names.is_evaluation(folder.path.name)]
    if len(evaluated) < len(tests) and evaluated:
        named.labelled["test"] = [folder for folder in tests if folder not in evaluated]
        named.labelled.setdefault("validation", evaluated)
    return named


def _splits(top: Folder) -> dict[str, Folder]:
    """Return the folders in `top` that are splits, or none where it has classes; `train` is among them."""
    named = _named(top)
    others = [folder for folder in _candidates(top) if folder not in named.folders]
    if not named.labelled:
        # Two such names say splits, unless they are a few among many.
        if len(named.loose) > 1 and 2 * len(named.folders) > len(others):
            raise no_classes(top, named.folders)
        return {}
    if "train" in named.loose and "train" not in named.labelled:
        raise no_classes(top, named.loose["train"])
    chosen = {split: _one(split, named.labelled[split]) for split in SPLITS if split in named.labelled}
    if "train" not in chosen:
        folder = next(iter(chosen.values()))
        if others and not any(_alike([folder, other]) for other in others):
            raise _unclear(folder, others[0], "put the class folders beside it into a folder train")
        raise DataError(
            f"{text(top.path)} has {_names(chosen.values())} but no folder for training; name one train, or give "
            f"{text(folder.path)} to train on that"
        )
    if len(chosen) == 1 and not named.loose:
        for other in others:
            if not _alike([chosen["train"], other]) and not _has_splits(other):
                train = chosen["train"]
                raise _unclear(train, other, f"give {text(train.path)} to train on the folders in it")
    return chosen


def _unclear(folder: Folder, other: Folder, remedy: str) -> DataError:
    """Return the error for a `folder` with a split's name and folders in it, beside an `other` that is no split."""
    return DataError(
        f"{text(folder.path)} holds folders and {text(other.path.name)} beside it is no split, so that it is not clear "
        f"whether {text(folder.path.name)} is a split or a class; {remedy}, or put the pictures of a class into its "
        "folder directly"
    )


def _one(split: str, folders: list[Folder]) -> Folder:
    """Return the folder that is the split: of several the one whose name says nothing else."""
    bare = [folder for folder in folders if split_names.is_bare(folder.path.name)]
    for group in (bare, folders):
        if len(group) == 1:
            return group[0]
    raise DataError(
        f"{_names(folders)} in {text(folders[0].path.parent)} are all the {split} split by their names; "
        "put their pictures into one of them and remove the others"
    )


def class_folders(top: Folder) -> dict[str, Folder]:
    """Return the class folders in `top`, by name; those without a picture are among them, to be refused."""
    candidates = _candidates(top)
    sets = [folder for folder in candidates if _has_splits(folder)]
    if sets:
        raise DataError(f"{text(top.path)} holds {_several(sets, candidates)}; give {_either(sets)}")
    if above := [folder for folder in candidates if len(_named(folder).loose) > 1]:
        name = text(above[0].path.name)
        raise DataError(
            f"{text(above[0].path)} has splits of its own ({_names(_named(above[0]).folders)}); put the splits above "
            f"the classes (train/{name}, …)"
        )
    if split_names.are_parts([folder.path.name for folder in candidates]):
        alone = f", or give {text(candidates[0].path)} to train on that alone" if _class_names(candidates[0]) else ""
        raise DataError(
            f"{_names(candidates)} in {text(top.path)} are parts of one set by their names, and no classes; "
            f"put the pictures of each class into a folder of its own{alone}"
        )
    for folder in candidates:
        if split_names.is_container(folder.path.name) and len(candidates) > 1:
            beside = _names([other for other in candidates if other is not folder])
            raise DataError(
                f"{text(folder.path)} is no class by its name, and {beside} beside it may be some; "
                f"give {text(folder.path)} to train on the folders in it"
            )
    nested = {folder.path.name: inside for folder in candidates if (inside := _class_names(folder))}
    divided = [top.folders[name] for name in nested]
    if 2 * len(nested) > max(len(candidates), 2) and _alike(divided):
        shared = sorted(set.intersection(*nested.values()))
        # Beside folders with loose pictures all names must be the same: with fewer, they may be parts of classes.
        if len(nested) == len(candidates) or len(shared) == min(map(len, nested.values())):
            raise DataError(
                f"{_names(divided)} in {text(top.path)} hold folders of the same names "
                f"({listed([text(name) for name in shared], LISTED)}); give {_either(divided)} if those are the "
                "classes, or put the pictures of each class into its folder directly"
            )
    divided = [folder for folder in candidates if len(nested.get(folder.path.name, ())) > 1]
    plain = [folder for folder in candidates if nested.get(folder.path.name, set()) <= {folder.path.name}]  # test/test
    if len(candidates) == 2 and divided and plain:
        place, other = divided[0].path, plain[0].path.name
        raise DataError(
            f"{text(place)} holds several folders and {text(other)} beside it does not, so that it is not clear "
            f"whether {text(place.name)} is a class; give {text(place)} to train on the folders in it, or put the "
            "pictures of the class into its folder directly"
        )
    names = {folder.path.name for folder in candidates}
    again = {name for name, inside in nested.items() if len(inside & (names - {name})) > 1}  # flowers/flowers
    candidates = [folder for folder in candidates if folder.path.name not in again]
    empty = [
        folder for folder in top.folders.values() if not any(inner.files or inner.others for inner in folder.walk())
    ]
    kept = {folder.path.name: folder for folder in (*candidates, *empty) if not split_names.is_notes(folder.path.name)}
    return {name: _own(kept[name]) for name in sorted(kept)}


def _own(folder: Folder) -> Folder:
    """Return a class's folder without what was made from the pictures in it, or written about them (its `masks`)."""
    inside = {name: _own(subfolder) for name, subfolder in folder.folders.items()}
    if folder.files or any(split_names.is_container(name) and holds(subfolder) for name, subfolder in inside.items()):
        made = {name for name in inside if split_names.is_derived(name) or split_names.is_notes(name)}
        inside = {name: subfolder for name, subfolder in inside.items() if name not in made}
    return replace(folder, folders=inside)


def _candidates(top: Folder) -> list[Folder]:
    """Return the folders in `top` that hold pictures, less those whose names say that they hold no classes."""
    candidates = [folder for name, folder in top.folders.items() if holds(folder) and not split_names.is_notes(name)]
    containers = [folder for folder in candidates if split_names.is_container(folder.path.name)]
    if containers:
        candidates = [folder for folder in candidates if not split_names.is_derived(folder.path.name)]
    sources = [folder for folder in candidates if not split_names.is_derived(folder.path.name)]
    if len(sources) < len(candidates):  # segmentations/ beside CUB_200_2011/
        names = {name for source in sources for inner in source.walk() for name in inner.folders}
        candidates = [
            folder
            for folder in candidates
            if not (split_names.is_only_derived(folder.path.name) and folder.folders and names >= folder.folders.keys())
        ]
    return [folder for folder in candidates if folder not in containers or subfolders(folder)]


def _has_classes(folder: Folder) -> bool:
    """Whether the folder holds class folders, rather than pictures of one."""
    candidates = _candidates(_inner(folder))
    if len(candidates) == 1:  # one class, or a folder around the pictures (test/test)
        return not folder.files and not split_names.split_of(candidates[0].path.name)[0]
    return len(candidates) > 1


def alone(top: Folder) -> Folder:
    """Return the folder with the classes of a channel that holds one split."""
    if splits := _splits(top):
        raise DataError(
            f"{text(top.path)} is given as one split and holds {_names(splits.values())}; give those folders, "
            "or only the one folder as the channel training"
        )
    within = _within(top)
    return top if within is None else alone(within)


def _inner(top: Folder) -> Folder:
    """Return the folder with the classes of a split, looking through what is around them (seg_train/seg_train)."""
    within = _within(top)
    return top if within is None else _inner(within)


def _within(top: Folder) -> Folder | None:
    """Return the only folder in `top` with pictures, if it holds folders with pictures itself.

    A whole set in it counts, whatever its name says of classes: programs that divide pictures call it `output`.
    """
    candidates = _candidates(top)
    if not candidates and len(only := subfolders(top)) == 1 and _has_splits(only[0]):
        candidates = only
    return candidates[0] if len(candidates) == 1 and not top.files and len(subfolders(candidates[0])) else None


def _has_splits(folder: Folder) -> bool:
    """Whether the folder is a data set by itself."""
    named = _named(_inner(folder))
    return "train" in named.labelled and len(named.labelled | named.loose) > 1


def _alike(folders: list[Folder]) -> bool:
    """Whether all hold nothing but folders, and these have the same names, for the most part."""
    names = [_class_names(folder) for folder in folders]
    return 2 * len(set.intersection(*names)) >= min(map(len, names)) > 0


def _class_names(folder: Folder) -> set[str]:
    """Return the names of the folders with pictures that the folder holds, if it holds nothing but such."""
    inner = _inner(folder)
    return set() if folder.files or inner.files else {candidate.path.name for candidate in _candidates(inner)}


def subfolders(folder: Folder) -> list[Folder]:
    """Return the folders in it that hold what may be a picture."""
    return [subfolder for subfolder in folder.folders.values() if holds(subfolder)]


def holds(folder: Folder) -> bool:
    """Whether there may be a picture, here or below."""
    return any(inner.files for inner in folder.walk())


def no_classes(top: Folder, folders: list[Folder]) -> DataError:
    """Return the error for folders in `top` that hold pictures of unknown classes."""
    return DataError(
        f"{text(folders[0].path)} holds pictures without class folders{unread(top, folders[0])}; put the pictures of "
        "each class into a folder of its own, or, if they are all of one class, give the folder above"
    )


def unread(top: Folder, folder: Folder) -> str:
    """Return, in brackets, what the first file in `folder` is if it is known to be no picture, or what in `top` may say
    the classes of the pictures in it; nothing where neither is known.
    """
    first = next(folder.pictures(), None)
    if first is not None and (said := formats.content(first)):
        return f" ({text(first.name)} is {said})"
    if first is not None and "\\" in first.name:
        return f" ({text(first.name)} is a path of Windows: unpack the archive with a program that makes folders of it)"
    notes = [name for inner in top.walk() for name in inner.folders if split_names.is_notes(name)]
    others = [name for inner in top.walk() for name in inner.others if not name.lower().startswith(_NO_TABLES)]
    others.sort(key=lambda name: "label" not in name.lower() and split_names.split_of(name)[0] != "train")
    tables = [name for ending in _TABLES for name in others if name.lower().endswith(ending)]
    return f" (what {text((notes or tables)[0])} says of them is not read)" if notes or tables else ""


def _several(sets: list[Folder], folders: list[Folder]) -> str:
    others = [folder for folder in folders if folder not in sets]
    several = f"the data set{'s' * (len(sets) > 1)} {_names(sets)}"
    return f"{several} beside {_names(others)}" if others else several


def _either(folders: list[Folder]) -> str:
    return " or ".join(text(folder.path) for folder in folders[:2])


def _names(folders: Iterable[Folder]) -> str:
    return listed([text(folder.path.name) for folder in folders], LISTED)


def listed(names: Sequence[str], most: int) -> str:
    """Return the first `most` of the names, and how many there are besides."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
