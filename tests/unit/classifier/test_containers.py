"""Of a file only what shows its picture reaches a decoder, and what would take long does not."""

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from classifier import containers
from classifier.errors import PictureError, PictureTooLargeError
from classifier.pictures import decode
from tests.unit.classifier.conftest import encoded

MILLION = 1_000_000


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(*chunks: bytes) -> bytes:
    """Return a red PNG with `chunks` before its pixels."""
    whole = encoded(Image.new("RGB", (8, 8), "red"))
    return whole[:33] + b"".join(chunks) + whole[33:]


def jpeg_with(segments: bytes) -> bytes:
    """Return a red JPEG with `segments` at its beginning."""
    whole = encoded(Image.new("RGB", (8, 8), "red"), "JPEG")
    return whole[:2] + segments + whole[2:]


def progressive(side: int, scans: int) -> bytes:
    """Return a grey JPEG in many scans, each of which has hardly any data and visits every pixel."""
    scan = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + bytes(8)
    tables = b"\xff\xdb\0\x43\0" + b"\1" * 64
    for kind in (b"\0", b"\x10"):
        tables += b"\xff\xc4\0\x14" + kind + b"\1" + bytes(15) + b"\0"
    frame = b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", side, side) + b"\1\1\x11\0"
    first = b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(8)
    return b"\xff\xd8" + frame + tables + first + scan * (scans - 1) + b"\xff\xd9"


def test_scans_are_limited() -> None:
    assert decode(progressive(64, containers.MAX_SCANS)).size == (64, 64)
    with pytest.raises(PictureTooLargeError, match="25000 scans, and 100 are read"):
        decode(progressive(64, 25_000))
    with pytest.raises(PictureTooLargeError, match=r"88.4 million pixels in 17 scans, and 16 are read"):
        containers.jpeg(progressive(9400, 17))
    assert containers.jpeg(progressive(9400, 16))


def test_scans_of_a_sequential_jpeg_are_limited_too() -> None:
    frame = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 64, 64) + b"\3\1\x11\0\2\x11\0\3\x11\0"
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(8)
    with pytest.raises(PictureTooLargeError, match="101 scans"):
        containers.jpeg(b"\xff\xd8" + frame + scan * 101 + b"\xff\xd9")


def test_what_looks_like_scans_behind_the_picture_counts_for_nothing() -> None:
    whole = encoded(Image.new("RGB", (64, 64), "red"), "JPEG", progressive=True)
    assert decode(whole + b"\xff\xda" * 1000).size == (64, 64)


@pytest.mark.parametrize(
    "segments",
    [
        b"\xff\xe1\0\x09Exif\0\0a" * 50_000,
        b"\xff\xe3\0\2" * 50_000,
        b"\xff\xfe\0\4ab" * 50_000,
        b"\xff" * MILLION,
        b"\xff\0" * MILLION,
        b"\xff\xd0" * MILLION,
    ],
    ids=["exif", "application", "comments", "fill", "stuffing", "restarts"],
)
def test_what_a_jpeg_repeats_is_left_out(segments: bytes) -> None:
    data = jpeg_with(segments)
    assert len(containers.jpeg(data)) < 1000
    assert decode(data).getpixel((0, 0)) == (254, 0, 0)


def test_tables_of_a_jpeg_are_limited() -> None:
    with pytest.raises(PictureTooLargeError, match="tables"):
        decode(jpeg_with((b"\xff\xdb\0\x43\0" + b"\1" * 64) * 10_000))


@pytest.mark.parametrize("process", [0xC3, 0xC9, 0xCA], ids=["lossless", "arithmetic", "progressive arithmetic"])
def test_rare_kinds_of_jpeg_are_refused(process: int) -> None:
    whole = encoded(Image.new("RGB", (8, 8)), "JPEG")
    with pytest.raises(PictureError, match="a kind that is not read"):
        decode(whole.replace(b"\xff\xc0", bytes((0xFF, process))))


def test_a_text_of_a_gigabyte_is_not_waited_for() -> None:
    declared = struct.pack(">I", 10**9) + b"tEXtkey\0value"
    with pytest.raises(PictureError, match="damaged or incomplete"):
        decode(png_with(declared))


@pytest.mark.parametrize(
    "chunks",
    [
        chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(30 * MILLION))),
        chunk(b"iTXt", b"key\0\1\0\0\0" + zlib.compress(bytes(30 * MILLION))),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(30 * MILLION))),
        chunk(b"tEXt", b"key\0" + bytes(3 * MILLION)),
        chunk(b"teXt", b"") * 50_000,
        chunk(b"PLTE", b"abc") * 50_000,
        chunk(b"IDAT", b"") * 50_000,
        chunk(b"acTL", struct.pack(">II", 10_000, 0)) + chunk(b"fcTL", bytes(26)) * 10_000,
    ],
    ids=["text", "international text", "profile", "long text", "many", "palettes", "empty pixels", "frames"],
)
def test_what_a_png_has_besides_its_pixels_is_left_out(chunks: bytes) -> None:
    data = png_with(chunks)
    assert len(containers.png(data)) < 200
    assert decode(data).getpixel((0, 0)) == (255, 0, 0)


def test_pixels_of_a_png_may_come_in_many_chunks() -> None:
    whole = encoded(Image.new("RGB", (100, 100), (1, 2, 3)), compress_level=0)
    start = whole.index(b"IDAT") + 4
    pixels = whole[start : start + struct.unpack_from(">I", whole, start - 8)[0]]
    parts = b"".join(chunk(b"IDAT", pixels[i : i + 100]) for i in range(0, len(pixels), 100))
    assert decode(whole[: start - 8] + parts).getpixel((99, 99)) == (1, 2, 3)


def gif_frames() -> tuple[bytes, bytes]:
    """Return the head of a GIF, and a frame of it, white where nothing is painted."""
    whole = encoded(Image.new("P", (8, 8), 1), "GIF")
    return whole[: whole.index(b",")], whole[whole.index(b",") : -1]


@pytest.mark.parametrize(
    "before",
    [b"!\xfe" + b"\1a" * 100_000 + b"\0", b"!\x01\0" * 100_000, bytes(100_000)],
    ids=["comment", "extensions", "nothing"],
)
def test_what_a_gif_has_before_its_first_frame_is_left_out(before: bytes) -> None:
    head, frame = gif_frames()
    assert len(containers.gif(head + before + frame + b";")) < 1000
    assert decode(head + before + frame + b";").size == (8, 8)


def test_of_ten_thousand_frames_the_first_counts() -> None:
    head, frame = gif_frames()
    assert decode(head + frame * 10_000 + b";").size == (8, 8)


def test_a_gif_keeps_its_transparency() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0] + [0] * 765)
    assert decode(encoded(image, "GIF", transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_of_a_webp_animation_the_first_frame_counts(files: dict[str, bytes]) -> None:
    frames = [decode(files["PNG"]), Image.new("RGB", (64, 48), "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:] * 50, lossless=True)
    assert len(containers.webp(data)) < len(data)
    assert decode(data).tobytes() == frames[0].tobytes()


def test_a_webp_keeps_transparency_and_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    data = encoded(image, "WEBP", exif=exif, icc_profile=b"x" * 5000, xmp=b"x" * 5000)
    assert len(containers.webp(data)) < 1000
    assert (decode(data).size, decode(data).getpixel((0, 0))) == ((10, 20), (255, 255, 255))


def test_a_large_run_length_coded_bmp_is_refused() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 9000, 9000, 1, 8, 1, 2, 0, 0, 256, 0)
    with pytest.raises(PictureTooLargeError, match="run-length"):
        decode(b"BM" + struct.pack("<IHHI", 1080, 0, 0, 1078) + header + bytes(1024) + b"\0\1")


@pytest.mark.parametrize(
    ("form", "reduce"),
    [("JPEG", containers.jpeg), ("PNG", containers.png), ("GIF", containers.gif), ("WEBP", containers.webp)],
)
def test_reducing_twice_changes_nothing(files: dict[str, bytes], form: str, reduce: Callable[[bytes], bytes]) -> None:
    reduced = reduce(files[form])
    assert reduce(reduced) == reduced
    assert decode(reduced).tobytes() == Image.open(io.BytesIO(files[form])).convert("RGB").tobytes()
