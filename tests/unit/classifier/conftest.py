"""A picture in each format that is read."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

#: 64×48 pixels, the left half red, the right half blue. Nothing in the images writes HEIC.
HEIC = Path(__file__).parents[2] / "samples" / "picture.heic"


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """Return the file of an `image`."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """The file of a picture of noise for each format but HEIF, whose picture is another."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    forms = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
    return {**{form: encoded(noise, form) for form in forms}, "HEIF": HEIC.read_bytes()}
