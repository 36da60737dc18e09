"""Small copies of pictures, as data addresses that a page can carry."""

import base64
import io
import os
import warnings
from pathlib import Path

from PIL import Image, ImageOps

from byoc_vision.contract.folders import path

#: Longest side in pixels: shown at half that, sharp on a phone.
SIDE = 192

#: Pictures with more pixels are left alone: a small file can unpack to fill the memory.
MOST_PIXELS = 100_000_000


def thumbnail(folder: Path, name: str) -> str | None:
    """Return the picture `name` under `folder` as a small JPEG in a data address; None if there is no such picture.

    The name is as a job writes it (`folders.text`).
    """
    try:
        root = Path(os.path.abspath(folder))
        file = Path(os.path.normpath(root / path(name)))
        if not file.is_relative_to(root):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    return None
                picture.draft("RGB", (2 * SIDE, 2 * SIDE))
                small = ImageOps.exif_transpose(picture).convert("RGB")
        small.thumbnail((SIDE, SIDE))
        content = io.BytesIO()
        small.save(content, "JPEG", quality=70, optimize=True)
    except Exception:  # Whatever is wrong with one picture is no reason to have no report.
        return None
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
