"""What decoding takes is foreseen, and refused where there is less."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from classifier import pictures
from classifier.errors import OutOfMemoryError, PictureTooLargeError
from classifier.pictures import decode
from tests.unit.classifier.conftest import encoded

SIZE = (2000, 1500)


def resident(key: str) -> int:
    """Return a figure of this process's memory in bytes."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def taken(data: bytes) -> int:
    """Return the bytes by which memory grows at most while `data` is decoded, in a process of its own."""
    reading, writing = os.pipe()
    if not os.fork():
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = resident("VmRSS")
        decode(data)
        os.write(writing, str(resident("VmHWM") - before).encode())
        os._exit(0)
    os.wait()
    os.close(writing)
    with os.fdopen(reading) as answer:
        return int(answer.read())


def foreseen(data: bytes) -> int:
    """Return the megabytes that a refusal names."""
    with pytest.raises(PictureTooLargeError, match=r"takes \d+ MB of memory, and 0 MB are there") as caught:
        decode(data, limit_bytes=1000)
    return int(re.findall(r"\d+", str(caught.value))[0]) * 1_000_000


@pytest.mark.parametrize(
    ("mode", "form", "options"),
    [
        ("L", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "JPEG", {"exif": 6}),
        ("CMYK", "JPEG", {"progressive": True}),
        ("P", "PNG", {}),
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("I;16", "PNG", {}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
        ("RGB", "TIFF", {"compression": "tiff_lzw", "tiffinfo": {278: SIZE[1]}}),
        ("RGB", "TIFF", {"tiffinfo": {274: 6}}),
        ("RGB", "WEBP", {}),
        ("RGBA", "WEBP", {"lossless": True, "quality": 0}),
        ("RGB", "AVIF", {"speed": 10, "subsampling": "4:4:4"}),
        ("RGBA", "AVIF", {"speed": 10}),
    ],
)
def test_never_more_is_taken_than_is_foreseen(mode: str, form: str, options: dict[str, object]) -> None:
    image = Image.linear_gradient("L").resize(SIZE)
    image = Image.fromarray(np.asarray(image).astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    if "exif" in options:
        exif = Image.Exif()
        exif[0x0112] = options["exif"]
        options = {"exif": exif}
    data = encoded(image, form, **options)
    assert taken(data) <= foreseen(data)


def test_what_is_refused_is_not_decoded(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    def load(image: Image.Image) -> None:
        raise AssertionError("it is decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    for data in files.values():
        foreseen(data)


def test_the_limit_is_what_may_be_taken(files: dict[str, bytes]) -> None:
    for data in files.values():
        assert decode(data, limit_bytes=50_000_000).size == (64, 48)


def test_a_reduced_scale_takes_less() -> None:
    data = encoded(Image.new("RGB", (4000, 3000)), "JPEG")
    with pytest.raises(PictureTooLargeError):
        decode(data, limit_bytes=30_000_000)
    assert decode(data, at_least=300, limit_bytes=30_000_000).size == (500, 375)


def test_memory_that_ends_is_told_so(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    def nothing_left(image: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(pictures, "_as_rgb", nothing_left)
    with pytest.raises(OutOfMemoryError, match="not enough memory"):
        decode(files["PNG"])
