"""Decode pictures the way people see them, whatever bytes they come in.

EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures become 8-bit RGB; transparent pixels show a white
page; of an animation the first frame counts. Hostile bytes end in `PictureError`, never in anything else.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from classifier.errors import UserError

#: What may be trained on may be predicted on: one list for both. Pillow knows more formats than anyone should parse.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

#: Pixels a picture may have (89 million: Pillow's own line between a photograph and a decompression bomb).
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 0

# Pillow warns above that size and refuses at twice that; here the line is the line, and the warning says nothing new.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class PictureError(UserError):
    """The bytes are not a picture that can be read."""


class PictureTooLargeError(PictureError):
    """The picture has more than `MAX_PIXELS` pixels."""


def decode(source: bytes | Path, at_least: int | None = None) -> Image.Image:
    """Return the picture in `source` (a file's bytes, or its path) as an upright 8-bit RGB image.

    A JPEG is decoded straight to 1/2, 1/4 or 1/8 of its size, which is much faster, where that leaves its shorter side
    `at_least` so many pixels. Raises `PictureTooLargeError` before a pixel is decoded, and `PictureError` for all else
    that is not a whole picture.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            image.load()
            return _as_rgb(_upright(image))
    except Image.DecompressionBombError as error:
        raise PictureTooLargeError(
            f"the picture has more than {MAX_PIXELS // 1_000_000} million pixels; send a smaller one"
        ) from error
    except UnidentifiedImageError as error:
        raise PictureError(f"the data is not a picture; the formats read are {', '.join(FORMATS)}") from error
    except PictureError:
        raise
    # Decoders meet broken bytes with every exception there is (OSError, SyntaxError, struct.error, IndexError, …).
    except Exception as error:
        raise PictureError(f"the picture is damaged or incomplete ({_one_line(error)})") from error


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a picture whose EXIF block is broken is shown as stored, as every viewer does."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips 16-bit values to 255 (white) instead of scaling them.
        pixels = np.asarray(image.convert("I")) / 257
        image = Image.fromarray(pixels.round().astype(np.uint8), mode="L")
    if image.mode in ("I", "F"):
        raise PictureError(f"the picture stores 32-bit values (mode {image.mode}); save it with 8 or 16 bits a channel")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    return image.convert("RGB")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
