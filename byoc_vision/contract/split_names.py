"""What the names of folders say in a data set: which split it is, or that what it holds are no classes."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from byoc_vision.contract.formats import words

SPLITS = ("train", "validation", "test")

#: Each split's words. `eval` and `holdout` are the test split, but for sets that have another one.
_WORDS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "validate", "valid", "val", "vld", "dev", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout"),
}
_SECOND = {"eval", "evaluation", "holdout"}
_SPLIT = {word: split for split, words in _WORDS.items() for word in words}

#: Words that say nothing about what is in the folder.
_CONTAINER = words("image images img imgs data dataset datasets jpg jpgs jpeg jpegs png pngs frames")
_NEUTRAL = _CONTAINER | words("set sets split splits folder files pictures photos samples")

#: Words for what comes with pictures: beside class folders they are no classes.
_NOTES = words(
    "annotation annotations doc docs documentation meta metadata list lists labels bbox bboxes xml xmls imagesets "
    "readme output outputs results"
)
#: Words for what is made from the pictures of a folder `images` that is beside it.
_DERIVED = words(
    "mask masks segmentation segmentations trimap trimaps gt truth ground depth heatmaps edges thumbnails thumbs "
    "bounding landmarks keypoints"
)
#: Those of them that a class may be called.
_CLASS_WORDS = words("mask ground depth edges")
_MADE_WORDS = _DERIVED | words("label labels overlay seg segmented thumb thumbnail")
#: The stem of a file that is made from another: that one's, a word, and perhaps a number.
_MADE = re.compile(r"(.+)[_-]([^\W\d_]+)(?:[_-]?\d+)?")
#: Words for a part of a set, whatever number comes after them.
_PART = _CONTAINER | words("part parts batch chunk shard fold")


def split_of(name: str) -> tuple[str, str]:
    """Return the split that a folder's name says, or "", and what else it says (of `seg_train`: `seg`)."""
    for spelled in (name, name.lower()):  # TrainSet is two words, TrAiN and TRAINset are one
        parts = [part for word in _words(spelled) for part in _divided(word)]
        splits = [_SPLIT[part] for part in parts if part in _SPLIT]
        if splits:
            break
    rest = " ".join(part for part in parts if part not in _SPLIT and part not in _NEUTRAL)
    return (splits[0], rest) if len(set(splits)) == 1 else ("", rest)


def is_bare(name: str) -> bool:
    """Whether the name is a split's word and nothing else."""
    return name.lower() in _SPLIT


def is_evaluation(name: str) -> bool:
    """Whether the name is that of a test split, or of the validation split of a set that has another."""
    return not _SECOND.isdisjoint(_words(name))


def is_container(name: str) -> bool:
    """Whether a folder of that name holds pictures of any class (`images`)."""
    said = _words(name)
    return bool(said) and _CONTAINER.issuperset(said)


def is_notes(name: str) -> bool:
    """Whether a folder of that name holds what was written about pictures (`annotations`)."""
    said = [word for word in _words(name) if word not in _NEUTRAL]
    return bool(said) and _NOTES.issuperset(said)


def is_derived(name: str) -> bool:
    """Whether a folder of that name holds what was made from pictures (`masks`)."""
    return not _DERIVED.isdisjoint(_words(name))


def is_only_derived(name: str) -> bool:
    """Whether the name says that, and nothing else, and is none that a class may have."""
    said = {word for word in _words(name) if word not in _NEUTRAL}
    return bool(said - _CLASS_WORDS) and _DERIVED.issuperset(said)


def derived(files: Iterable[str]) -> list[str]:
    """Return the names that are another's of `files` and a word for what is made of it (`a_mask.png`)."""
    stems = {file.rpartition(".")[0] for file in files}
    parts = {file: _MADE.fullmatch(file.rpartition(".")[0]) for file in files}
    return [file for file, part in parts.items() if part and part[1] in stems and part[2].lower() in _MADE_WORDS]


def are_parts(names: Sequence[str]) -> bool:
    """Whether the names only number the parts of one set (`images_001` and `images_002`)."""
    said = {tuple(_words(name)) for name in names}
    return len(names) > 1 and len(said) == 1 and not _PART.isdisjoint(*said)


def alike(name: str) -> str:
    """Return what a name is told apart by: not case, blanks, hyphens, leading zeros, or how accents are kept."""
    blanks = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name).casefold()).strip(" .")
    return re.sub(r"(?<![\d.,])0+(?=\d)", "", blanks)


def groups_alike(names: Iterable[str]) -> list[list[str]]:
    """Return the names that are `alike`, in groups of two or more."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(alike(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [word.lower() for word in re.findall(r"[^\W\d_]+", apart)]


def _divided(word: str) -> tuple[str, ...]:
    """Return the parts of a word such as `trainset`."""
    for begin in _SPLIT:
        if word.startswith(begin) and word[len(begin) :] in _NEUTRAL:
            return begin, word[len(begin) :]
    return (word,)
