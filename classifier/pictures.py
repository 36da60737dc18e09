"""Decode pictures the way people see them, whatever bytes they come in.

EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures become 8-bit RGB; transparent pixels show a white
page; of an animation the first frame counts. Hostile bytes end in `PictureError`, never in anything else.
"""

import ctypes
import io
import logging
import struct
import warnings
from pathlib import Path

import numpy as np
import pi_heif
from PIL import AvifImagePlugin, Image, UnidentifiedImageError, _imaging

from byoc_vision.contract.errors import one_line
from classifier import boxes, containers, footprint, kinds, tiff
from classifier.containers import MAX_PIXELS
from classifier.errors import OutOfMemoryError, PictureError, PictureTooLargeError

__all__ = ["MAX_PIXELS", "OutOfMemoryError", "PictureError", "PictureTooLargeError", "decode"]

# One thread: where pictures are decoded, each core has a process that does.
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Pillow warns of metadata that it cannot read, which is not used, and above `MAX_PIXELS`; here that is the line.
warnings.filterwarnings("ignore", module="PIL")

# libtiff prints to stderr whatever it finds wrong. (A library also answers for the symbols of those it is linked with.)
_libtiff = ctypes.CDLL(_imaging.__file__)
_libtiff.TIFFSetErrorHandler(None)
_libtiff.TIFFSetWarningHandler(None)
# So does Pillow for a TIFF of more channels than it reads.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

_REDUCED = {
    "JPEG": containers.jpeg,
    "PNG": containers.png,
    "GIF": containers.gif,
    "WEBP": containers.webp,
    "BMP": containers.bmp,
    "TIFF": tiff.tiff,
}
_READ = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC, AVIF"

_BITS, _PHOTOMETRIC, _ORIENTATION = 0x0102, 0x0106, 0x0112
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: Pixels of a side, at most. A row costs a decoder as much time and memory as many pixels, and a column may become one.
MAX_SIDE = 262_144

#: Side of the squares that are converted at a time.
_PART = 512


def decode(source: bytes | Path, at_least: int | None = None, limit_bytes: int | None = None) -> Image.Image:
    """Return the picture in `source` (a file's bytes, or its path) as an upright 8-bit RGB image.

    A JPEG is decoded straight to 1/2, 1/4 or 1/8 of its size, which is much faster, where that leaves its shorter side
    `at_least` so many pixels. Raises, before a pixel is decoded, `PictureTooLargeError` for a picture with more than
    `MAX_PIXELS` pixels, or `MAX_SIDE` on a side, or one whose decoding takes more than `limit_bytes`
    (`footprint.peak`), or too long; in all else that is not a whole picture `PictureError`; where memory ends
    `OutOfMemoryError`.
    """
    try:
        rgb, orientation = _decoded(source, at_least, limit_bytes)
        return rgb.transpose(_TRANSPOSED[orientation]) if orientation in _TRANSPOSED else rgb
    except PictureError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError("there is not enough memory left to decode the picture; send a smaller one") from error
    except Image.DecompressionBombError as error:
        raise PictureTooLargeError(
            f"the picture has more than {MAX_PIXELS // 1_000_000} million pixels; send a smaller one"
        ) from error
    # Decoders meet broken bytes with every exception there is (OSError, SyntaxError, struct.error, IndexError, …).
    except Exception as error:
        reason = one_line(error, 100) or type(error).__name__
        raise PictureError(f"the picture is damaged or incomplete ({reason})") from error


def kind(content: bytes) -> str:
    """Return what kind of picture a file is that `decode` reads: Pillow's names of format and mode, and the size.

    That is the greatest power of two that the shorter side reaches, as in "JPEG RGB 256".
    """
    form, data = _reduced(content)
    with Image.open(io.BytesIO(data), formats=[form]) as image:
        return f"{form} {image.mode} {1 << min(image.size).bit_length() - 1}"


def _decoded(source: bytes | Path, at_least: int | None, limit_bytes: int | None) -> tuple[Image.Image, object]:
    """Return the picture as it is stored, and the orientation in which it is to be seen.

    It is turned by the caller, when all else that decoding took is given back.
    """
    form, data = _reduced(source if isinstance(source, bytes) else source.read_bytes())
    try:
        image = Image.open(io.BytesIO(data), formats=[form])
    except UnidentifiedImageError as error:
        raise PictureError(
            "the picture is a damaged TIFF, or of a kind that is not read; save it with 8 or 16 bits a channel, as RGB "
            "or grey"
            if form == "TIFF"
            else "the picture is damaged or incomplete (its header cannot be read)"
        ) from error
    with image:
        _check(image)
        full = image.size
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        if limit_bytes is not None:
            _check_memory(footprint.peak(image, full, data, _orientation(image) in _TRANSPOSED), limit_bytes)
        image.load()
        if form == "PNG" and _ends_in_zeros(image) and not containers.png_has_all_rows(data):
            raise PictureError("the picture is damaged or incomplete (its last rows are missing)")
        return _as_rgb(image), _orientation(image)


def _ends_in_zeros(image: Image.Image) -> bool:
    """Tell whether one of the last two rows is zeros; the last odd row comes last where a picture is interlaced."""
    rows = (image.crop((0, y, image.width, y + 1)) for y in range(max(0, image.height - 2), image.height))
    return not all(row.tobytes().strip(b"\0") for row in rows)


def _reduced(data: bytes) -> tuple[str, bytes]:
    """Return Pillow's name of the picture's format, and its file with only what the picture is made of."""
    kind = kinds.kind(data)
    if kind is None:
        raise PictureError(f"the data is not a picture in a format that is read ({_READ})")
    if kind not in kinds.FORMATS:
        raise PictureError(f"the data is {kind}, not a picture in a format that is read ({_READ})")
    try:
        return boxes.primary(data) if kind in ("HEIF", "AVIF") else (kind, _REDUCED[kind](data))
    except (EOFError, IndexError, struct.error) as error:
        raise PictureError("the picture is damaged or incomplete (its file ends too early)") from error


def _check(image: Image.Image) -> None:
    """Raise `PictureError` for a picture that is not to be decoded, by what its header says."""
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    if max(image.size) > MAX_SIDE:
        raise PictureTooLargeError(f"a side of the picture has more than {MAX_SIDE} pixels; send or cut it in parts")
    if image.mode in ("I", "F"):
        raise PictureError(
            f"the picture stores 32-bit or signed values (mode {image.mode}); save it with 8 or 16 bits a channel"
        )


def _check_memory(needed: int, limit: int) -> None:
    if needed > limit:
        raise PictureTooLargeError(
            f"decoding the picture takes {needed / 1e6:.0f} MB of memory, and {limit / 1e6:.0f} MB are there for it; "
            "send a smaller one"
        )


def _orientation(image: Image.Image) -> object:
    """Return the EXIF orientation; a picture whose EXIF block is broken is shown as stored, as every viewer does.

    `Image.getexif` would decode a PNG, to look for a block behind its pixels. A TIFF is turned by Pillow itself.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        return exif.get(_ORIENTATION)
    except Exception:
        return None


def _as_rgb(image: Image.Image) -> Image.Image:
    """Return the 8-bit RGB picture by itself: the file it comes from, and its decoder, hold memory of their own."""
    if image.mode == "RGB" and "transparency" not in image.info:
        rgb = image._new(image.im)
        rgb.info.clear()
        return rgb
    black, white = _ends(image)
    # In parts, so that what conversion takes besides the result stays small.
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, _PART):
        for left in range(0, image.width, _PART):
            box = (left, top, min(left + _PART, image.width), min(top + _PART, image.height))
            rgb.paste(_part_as_rgb(image.crop(box), black, white), box)
    return rgb


def _ends(image: Image.Image) -> tuple[int, int]:
    """Return the values of black and white in a picture of 16 bits; a TIFF may use 12 of them, and zero as white."""
    tags = getattr(image, "tag_v2", {})
    greatest = (1 << tags.get(_BITS, (16,))[0]) - 1
    return (greatest, 0) if tags.get(_PHOTOMETRIC) == 0 else (0, greatest)


def _part_as_rgb(image: Image.Image, black: int, white: int) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips 16-bit values to 255 (white) instead of scaling them.
        pixels = np.rint((np.asarray(image.convert("I"), np.float32) - black) * (255 / (white - black)))
        image = Image.fromarray(pixels.astype(np.uint8), mode="L")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    return image.convert("RGB")
