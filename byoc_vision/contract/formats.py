"""What a file is that is no picture, by its name or its first bytes, and how the pictures in it can be had."""

import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path


def words(listed: str) -> frozenset[str]:
    """Return the words in the text `listed`."""
    return frozenset(listed.split())


_WRITE, _UNPACK = "write each picture in it to a file of its own", "unpack archives"

#: Endings of files that hold something else than one picture, each group with what to do to have pictures, if anything.
_ENDINGS = {
    _UNPACK: words("zip tar gz tgz bz2 tbz2 xz txz 7z rar zst lz4 iso dmg pkg"),
    _WRITE: words(
        "npy npz mat h5 hdf5 pkl pickle parquet feather arrow tfrecord tfrecords tfrec record rec idx lmdb mdb db "
        "sqlite bin"
    ),
    "save frames of it as pictures": words("mov mp4 m4v avi mkv webm mpg mpeg wmv flv 3gp mts"),
    "run dvc pull": words("dvc"),
    "": words(
        "txt text md rst log nfo csv tsv json jsonl ndjson xml xmp yaml yml toml ini cfg conf names data html htm css "
        "js pdf doc docx odt rtf xls xlsx ods ppt pptx tex bib srt vtt url webloc lnk torrent md5 sha1 sha256 sfv "
        "py pyc ipynb sh bat ps1 m c cc cpp h hpp java rb lua r exe dll so "
        "mp3 wav flac ogg m4a aac aiff lst manifest aae pts tfw jgw pgw prj lrcat pt pth "
        "ckpt onnx safetensors pb caffemodel prototxt weights"
    ),
}
_REMEDIES = {ending: remedy for remedy, endings in _ENDINGS.items() for ending in endings}
_NAMES = words("readme license licence copying notice changelog authors makefile dockerfile md5sums")

#: What stands behind an ending where a set is in parts: flowers.tfrecord-00000-of-00002.
_PARTS = re.compile(r"-\d+-of-\d+$")

#: First bytes of files that people have pictures in, where the name does not say so.
_BEGINNINGS = (
    (re.compile(rb"\x80[\2-\5]"), "a Python pickle"),
    (re.compile(rb"\0\0[\x08\x09\x0b-\x0e][\1-\4]"), "an array of the IDX format"),
    (re.compile(rb"\x89HDF\r\n"), "an HDF5 file"),
    (re.compile(rb"PAR1"), "a Parquet file"),
)


def is_other(name: str) -> bool:
    """Whether a file's name says that it is something else than one picture."""
    stem, dot, ending = _divided(name)
    return ending in _REMEDIES or ".tfevents." in name if dot and stem else ending in _NAMES


def telling(names: Iterable[str]) -> tuple[str, str]:
    """Return which of the names of files that are no pictures says most, and what to do to have pictures, or ""."""
    known = [(name, _REMEDIES.get(_divided(name)[2], "")) for name in names]
    return next(chain(((name, remedy) for name, remedy in known if remedy), known))


def _divided(name: str) -> tuple[str, str, str]:
    """Return a file's name in lower case as what is before the last dot, the dot, and the ending."""
    return _PARTS.sub("", name.lower()).rpartition(".")


def content(file: Path) -> str:
    """Return what a file is that people have pictures in, by its first bytes, and what to do then; "" for any other."""
    try:
        if not file.is_file():
            return ""
        with file.open("rb") as opened:
            begin = opened.read(16)
    except OSError:
        return ""
    what = next((what for pattern, what in _BEGINNINGS if pattern.match(begin)), "")
    return what and f"{what}; {_WRITE}"
