"""Pictures look as people see them, and broken ones end in one kind of error."""

import contextlib
import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.pictures import PictureError, PictureTooLargeError, decode


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def colour(image: Image.Image) -> np.ndarray:
    """Return the mean colour of the picture, three values of 0 … 255."""
    return np.asarray(image).reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
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


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_too_many_pixels_are_refused_before_decoding(side):
    with pytest.raises(PictureTooLargeError, match="million pixels"):
        decode(encoded(Image.new("1", (side, side))))


def test_thirty_two_bit_pictures_are_refused_not_guessed():
    with pytest.raises(PictureError, match="32-bit"):
        decode(encoded(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF"))


def test_random_damage_never_escapes_as_another_error():
    generator = random.Random(0)
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        whole = encoded(Image.fromarray(noise), form)
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(generator.randint(1, 8)):
                data[generator.randrange(len(data))] = generator.randrange(256)
            with contextlib.suppress(PictureError):
                assert decode(bytes(data)).mode == "RGB"
