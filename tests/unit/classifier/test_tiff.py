"""Of a TIFF only the first picture's pixels are read."""

import io
import struct

import pytest
from PIL import Image

from classifier.errors import PictureError, PictureTooLargeError
from classifier.pictures import decode
from classifier.tiff import tiff
from tests.unit.classifier.conftest import encoded

SHORT, LONG = 3, 4


def tiff_of(tags: dict[int, tuple[int, int, int]], order: str = "<") -> bytes:
    """Return a TIFF of entries: tag -> (type, how many, value or offset)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    entries = (
        struct.pack(order + "HHI", tag, kind, count)
        + (struct.pack(order + "HH", value, 0) if kind == SHORT else struct.pack(order + "I", value))
        for tag, (kind, count, value) in sorted(tags.items())
    )
    return head + b"".join(entries) + bytes(4) + bytes(3000)


def red(**tags: tuple[int, int, int]) -> dict[int, tuple[int, int, int]]:
    """Return the entries of a grey picture of 16×16 pixels, with `tags` (named t256, …) besides or instead."""
    plain = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 16, 279: 256}
    return {tag: (LONG, 1, value) for tag, value in plain.items()} | {int(name[1:]): tag for name, tag in tags.items()}


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(order: str) -> None:
    assert decode(tiff_of(red(), order)).size == (16, 16)


def test_pages_and_texts_are_left_out() -> None:
    pages = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], description="x" * 1000)
    with Image.open(io.BytesIO(tiff(data))) as image:
        assert image.n_frames == 1 and 270 not in image.tag_v2
    assert decode(data).getpixel((0, 0)) == (255, 0, 0)


def test_a_directory_that_leads_to_itself_is_read_once() -> None:
    data = bytearray(tiff_of(red()))
    data[8 + 2 + 9 * 12 : 8 + 2 + 9 * 12 + 4] = struct.pack("<I", 8)
    assert decode(bytes(data)).size == (16, 16)


def test_what_is_missing_at_the_end_is_not_taken_from_elsewhere() -> None:
    data = tiff_of(red(t273=(LONG, 1, 2800)))[:3056]
    assert decode(data).size == (16, 16)
    for missing in (1, 10, 100, 256):
        with pytest.raises(PictureError, match="damaged or incomplete"):
            decode(data[:-missing])


def test_a_directory_at_an_odd_place_is_read() -> None:
    data = tiff_of(red())
    moved = b"II*\0" + struct.pack("<I", 601) + bytes(593) + data[8:]
    assert decode(moved).size == (16, 16)


def test_a_directory_in_the_header_is_refused() -> None:
    with pytest.raises(PictureError, match="damaged or incomplete"):
        decode(b"II*\0" + struct.pack("<I", 6) + bytes(500))


def test_bigtiff() -> None:
    data = encoded(Image.new("RGB", (20, 10), "red"), "TIFF", big_tiff=True)
    assert data[2] == 43
    assert decode(data).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("limit", [None, 10**9])
def test_a_turned_tiff_is_turned_once(limit: int | None) -> None:
    image = Image.new("RGB", (20, 10), "red")
    image.paste("blue", (10, 0, 20, 10))
    turned = decode(encoded(image, "TIFF", tiffinfo={274: 6}), limit_bytes=limit)
    assert (turned.size, turned.getpixel((0, 0))) == ((10, 20), (255, 0, 0))


def test_parts_are_limited() -> None:
    with pytest.raises(PictureTooLargeError, match="parts"):
        decode(tiff_of(red(t273=(LONG, 2_000_000, 8), t279=(LONG, 2_000_000, 8))))


def test_tiles_much_larger_than_the_picture_are_refused() -> None:
    with pytest.raises(PictureTooLargeError, match="tiles"):
        decode(tiff_of(red(t322=(LONG, 1, 60_000), t323=(LONG, 1, 60_000))))


@pytest.mark.parametrize("code", [6, 34712, 34925, 50000, 50001])
def test_rare_compressions_are_refused(code: int) -> None:
    with pytest.raises(PictureError, match="compression that is not read"):
        decode(tiff_of(red(t259=(SHORT, 1, code))))


@pytest.mark.parametrize(
    "tags", [{"t254": (LONG, 1, 1), "t330": (LONG, 1, 8)}, {"t50706": (1, 4, 1)}], ids=["preview", "DNG"]
)
def test_a_cameras_raw_file_is_not_taken_for_its_preview(tags: dict[str, tuple[int, int, int]]) -> None:
    with pytest.raises(PictureError, match="raw picture"):
        decode(tiff_of(red(**tags)))


def test_a_directory_of_endless_entries_is_refused() -> None:
    data = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 10**15) + bytes(1000)
    with pytest.raises(PictureError, match="more entries"):
        decode(data)
