"""Pictures look as people see them, and broken ones end in one kind of error."""

import contextlib
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.pictures import PictureError, PictureTooLargeError, decode
from tests.unit.classifier.conftest import encoded


def colour(image: Image.Image) -> np.ndarray:
    """Return the mean colour of the picture, three values of 0 … 255."""
    return np.asarray(image).reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_reads_every_listed_format(form):
    image = decode(encoded(Image.new("RGB", (20, 10), (200, 40, 60)), form))
    assert (image.mode, image.size) == ("RGB", (20, 10))
    assert np.allclose(colour(image), (200, 40, 60), atol=4)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (8, 8), 90), (90, 90, 90)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
        (Image.new("RGB", (8, 8), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE), (10, 200, 30)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 128)), (255, 127, 127)),
        (Image.new("LA", (8, 8), (0, 255)), (0, 0, 0)),
    ],
    ids=["grey", "one bit", "palette", "transparent", "half transparent", "grey with alpha"],
)
def test_modes_become_what_people_see(image, expected):
    assert np.allclose(colour(decode(encoded(image))), expected, atol=2)


def test_palette_with_transparent_entry_shows_a_white_page():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0] + [0] * 765)
    assert np.allclose(colour(decode(encoded(image, transparency=0))), (255, 255, 255))


def test_cmyk_jpeg():
    image = Image.new("RGB", (16, 16), (30, 160, 220)).convert("CMYK")
    assert np.allclose(colour(decode(encoded(image, "JPEG"))), (30, 160, 220), atol=6)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    image = Image.fromarray(np.full((8, 8), 128 * 257, dtype=np.uint16))
    assert np.allclose(colour(decode(encoded(image))), (128, 128, 128))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    # Upright: the left half red, the right half blue. Stored so that `orientation` turns it upright again.
    upright = Image.new("RGB", (32, 16), "red")
    upright.paste("blue", (16, 0, 32, 16))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encoded(stored, "JPEG", exif=exif, quality=95))
    assert image.size == (32, 16)
    assert colour(image.crop((0, 0, 12, 16)))[0] > 200
    assert colour(image.crop((20, 0, 32, 16)))[2] > 200


def test_broken_exif_does_not_lose_the_picture():
    data = bytearray(encoded(Image.new("RGB", (8, 8), "red"), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"))
    assert decode(bytes(data)).size == (8, 8)


def test_jpeg_is_decoded_at_reduced_size_only_down_to_what_is_needed():
    data = encoded(Image.new("RGB", (800, 400), "red"), "JPEG")
    assert decode(data, at_least=100).size == (200, 100)
    assert decode(data, at_least=101).size == (400, 200)
    assert decode(data).size == (800, 400)


@pytest.mark.parametrize(
    "data",
    [b"", b"just text, called .jpg", b"\xff\xd8\xff\xe0", b"GIF89a", encoded(Image.new("RGB", (64, 64), "red"))[:-40]],
    ids=["empty", "text", "jpeg header", "gif header", "truncated png"],
)
def test_what_is_no_picture_is_a_picture_error(data):
    with pytest.raises(PictureError, match="picture"):
        decode(data)


def png(size: tuple[int, int], depth: int, colour: int, pixels: bytes, interlaced: bool = False) -> bytes:
    """Return a PNG by hand, so that its pixels may be too few."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("depth", "colour", "row"), [(8, 2, 39), (1, 0, 2), (16, 6, 104), (4, 3, 7), (8, 4, 26)])
@pytest.mark.parametrize("value", [0, 255])
def test_a_png_with_fewer_rows_than_it_says_is_refused(depth: int, colour: int, row: int, value: int):
    rows = (b"\0" + bytes([value]) * row) * 20
    assert decode(png((13, 20), depth, colour, rows)).size == (13, 20)
    for there in (19, 10, 1):
        with pytest.raises(PictureError, match="incomplete"):
            decode(png((13, 20), depth, colour, rows[: there * (row + 1)]))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (13, 21), (16, 1)])
def test_an_interlaced_png_with_fewer_rows_than_it_says_is_refused(size: tuple[int, int]):
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    passes = [(len(range(x, size[0], dx)), len(range(y, size[1], dy))) for x, y, dx, dy in steps]
    rows = [bytes(1 + width) for width, height in passes if width for _ in range(height)]
    assert decode(png(size, 8, 0, b"".join(rows), interlaced=True)).size == size
    with pytest.raises(PictureError, match="incomplete"):
        decode(png(size, 8, 0, b"".join(rows[:-1]), interlaced=True))


def test_truncated_jpeg(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    file = tmp_path / "half.jpg"
    file.write_bytes(encoded(Image.fromarray(noise), "JPEG")[:6000])
    for at_least in (None, 1):
        with pytest.raises(PictureError, match="damaged or incomplete"):
            decode(file, at_least)


def test_formats_nobody_asked_for_are_not_parsed():
    with pytest.raises(PictureError, match="not a picture"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((10_000, 10_000), "million pixels"),
        ((20_000, 20_000), "million pixels"),
        ((1, 300_000), "a side .* more than 262144 pixels"),
        ((300_000, 1), "a side .* more than 262144 pixels"),
    ],
)
def test_too_many_pixels_are_refused_before_decoding(size, words):
    with pytest.raises(PictureTooLargeError, match=words):
        decode(encoded(Image.new("1", size)))


def test_thirty_two_bit_pictures_are_refused_not_guessed():
    with pytest.raises(PictureError, match="32-bit"):
        decode(encoded(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF"))


@pytest.mark.parametrize("limit", [None, 10**9])
def test_a_picture_that_ends_anywhere_is_an_error_or_a_picture(files: dict[str, bytes], limit: int | None):
    for data in files.values():
        for length in range(min(len(data), 700)):
            with contextlib.suppress(PictureError):
                assert decode(data[:length], limit_bytes=limit).size == (64, 48)


@pytest.mark.parametrize("orders", ["II", "MM"])
def test_exif_that_leads_to_itself_is_read_once(orders: str):
    order = "little" if orders == "II" else "big"
    number = lambda value, size: value.to_bytes(size, order)  # noqa: E731
    # Orientation, and three pointers to the very directory that holds them, which is also the next one.
    entries = number(0x0112, 2) + number(3, 2) + number(1, 4) + (number(6, 2) + bytes(2))
    for tag in (0x8769, 0x8825, 0xA005):
        entries += number(tag, 2) + number(4, 2) + number(1, 4) + number(8, 4)
    exif = b"Exif\0\0" + orders.encode() + number(42, 2) + number(8, 4) + number(4, 2) + entries + number(8, 4)
    for form in ("JPEG", "PNG", "WEBP", "AVIF"):
        assert decode(encoded(Image.new("RGB", (20, 10)), form, exif=exif)).size == (10, 20), form


def test_nothing_of_the_file_is_kept():
    exif = Image.Exif()
    exif[0x010E] = "x" * 1000
    image = decode(encoded(Image.new("RGB", (8, 8)), "JPEG", exif=exif))
    assert (type(image), image.info) == (Image.Image, {})


def test_random_damage_never_escapes_as_another_error(files: dict[str, bytes]):
    generator = random.Random(0)
    for whole in files.values():
        for _ in range(300):
            data = bytearray(whole)
            for _ in range(generator.randint(1, 8)):
                # Half of it in the first bytes, where the sizes and offsets stand.
                place = generator.randrange(generator.choice((len(data), 100)))
                change = generator.randrange(4)
                if change == 0:
                    data[place] = generator.randrange(256)
                elif change == 1:
                    del data[place : place + generator.choice((1, 4, 100))]
                elif change == 2:
                    data[place:place] = data[place : place + generator.choice((1, 12, 50))]
                else:
                    data[place : place + 4] = generator.choice((b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"))
            with contextlib.suppress(PictureError):
                assert decode(bytes(data), limit_bytes=10**8).mode == "RGB"


def test_what_a_damaged_tiff_makes_libtiff_say_is_not_printed(capfd: pytest.CaptureFixture[str]):
    whole = encoded(Image.new("RGB", (64, 48)), "TIFF", compression="jpeg")
    for length in range(8, len(whole), 7):
        with contextlib.suppress(PictureError):
            decode(whole[:length] + bytes(len(whole) - length))
    assert capfd.readouterr().err == ""
