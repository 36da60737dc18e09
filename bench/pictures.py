"""The pictures that are measured on: drawn ones where none are given, and smaller, larger or resized sets of them."""

import io
import random
import shutil
from collections.abc import Iterable
from itertools import cycle, islice
from pathlib import Path

from PIL import Image, ImageDraw

from bench.results import BenchError

SPLITS = ("train", "valid", "test")
SUFFIXES = (".jpg", ".jpeg")

#: Width and height of drawn pictures, in pixels: those of the photographs in common data sets.
SIZE = (500, 375)


def draw_set(folder: Path, classes: int = 6, train: int = 150, others: int = 30) -> Path:
    """Draw a set of so many pictures a class into `folder`, and return it; classes differ in the tint of a disc."""
    for number in range(classes):
        for split in SPLITS:
            place = folder / split / f"class_{number}"
            place.mkdir(parents=True)
            for i in range(train if split == "train" else others):
                (place / f"{i:04}.jpg").write_bytes(_draw(number / classes, random.Random(f"{split} {number} {i}")))
    return folder


def _draw(hue: float, generator: random.Random) -> bytes:
    """Return a JPEG about as large as a photograph's: soft shapes, and noise of two sizes over them."""
    picture = Image.frombytes("RGB", (8, 6), generator.randbytes(8 * 6 * 3)).resize(SIZE, Image.Resampling.BICUBIC)
    for width, height, share in ((62, 47, 0.3), (250, 188, 0.15)):
        noise = Image.frombytes("RGB", (width, height), generator.randbytes(width * height * 3))
        picture = Image.blend(picture, noise.resize(SIZE, Image.Resampling.BICUBIC), share)
    x, y = generator.randint(100, 400), generator.randint(100, 275)
    colour = f"hsl({(360 * hue + generator.randint(-20, 20)) % 360:.0f}, 70%, 50%)"
    ImageDraw.Draw(picture).ellipse((x - 80, y - 80, x + 80, y + 80), fill=colour)
    return _jpeg(picture)


def files(folder: Path) -> list[Path]:
    """Return the JPEGs below `folder`, in the order of their names."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def check(folder: Path) -> None:
    """Raise `BenchError` unless `folder` has the three splits that the baseline's script insists on."""
    for split in SPLITS:
        if not files(folder / split):
            raise BenchError(
                f"{folder} has no {split}/ with JPEGs in a folder per class; --data wants train, valid, test"
            )


def sized(source: Path, folder: Path, train: int, others: int) -> Path:
    """Copy `source` to `folder` with so many training and other pictures, classes in turn, and return it.

    Where there are fewer, they are repeated under other names.
    """
    for split in SPLITS:
        classes = [files(folder) for folder in sorted((source / split).iterdir()) if folder.is_dir()]
        wanted = train if split == "train" else others
        in_turn = zip(*(cycle(pictures) for pictures in classes), strict=True)
        for number, picture in enumerate(islice((file for turn in in_turn for file in turn), wanted)):
            place = folder / split / picture.parent.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, place / f"{number:06}.jpg")
    return folder


def distinct(source: Path, folder: Path, count: int) -> Path:
    """Fill `folder` with so many training pictures, no two with the same bytes, and few others; return it."""
    sized(source, folder, train=0, others=64)
    pictures = [(file.parent.name, file.read_bytes()) for file in files(source / "train")]
    for name in {name for name, _ in pictures}:
        (folder / "train" / name).mkdir(parents=True)
    for number, (name, data) in enumerate(islice(cycle(pictures), count)):
        # What follows the end of a JPEG is not part of the picture.
        (folder / "train" / name / f"{number:06}.jpg").write_bytes(data + number.to_bytes(4, "big"))
    return folder


def padded(picture: bytes, length: int) -> bytes:
    """Return a JPEG in so many bytes: what follows its end is not part of the picture."""
    return picture.ljust(length, b"\0")


def resized(source: Iterable[Path]) -> list[bytes]:
    """Return the pictures as JPEGs of `SIZE`."""
    return [_jpeg(Image.open(file).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)) for file in source]


def _jpeg(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=90)
    return data.getvalue()
