"""Small copies of pictures, and what their network looked at, as data addresses that a page can carry."""

import base64
import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from byoc_vision.contract.folders import path
from byoc_vision.debugger.job import HeatMap

#: Longest side in pixels: shown at half that, sharp on a phone.
SIDE = 192

#: Pictures with more pixels are left alone: a small file can unpack to fill the memory.
MOST_PIXELS = 100_000_000

#: Pixels of a heat map's side; the browser smooths it to the picture's.
_MAP_SIDE = 48

#: The heat map's colours, red, green, blue and opacity, at 0, a third, two thirds and 1: what counted for nothing is
#: dimmed, what counted most glows.
_COLOURS = np.array([[16, 18, 32, 140], [16, 18, 32, 50], [255, 150, 0, 95], [255, 90, 0, 175]], float)


def thumbnail(folder: Path, name: str) -> str | None:
    """Return the picture `name` under `folder` as a small JPEG in a data address; None if there is no such picture.

    The name is as a job writes it (`folders.text`).
    """
    small = _small(folder, name)
    if small is None:
        return None
    content = io.BytesIO()
    small.save(content, "JPEG", quality=70, optimize=True)
    return _address("jpeg", content)


def overlay(folder: Path, name: str, heat: HeatMap) -> tuple[str, str] | None:
    """Return a heat map to lie over the picture's `thumbnail`, and where it is hottest in words; None without either.

    It is a PNG as wide for its height as the picture.
    """
    small = _small(folder, name)
    if small is None or not heat.values.any():
        return None
    square = Image.fromarray(heat.values).resize((_MAP_SIDE, _MAP_SIDE), Image.Resampling.BICUBIC)
    scale = _MAP_SIDE / (heat.crop * min(small.size))
    whole = Image.new("L", (round(small.width * scale), round(small.height * scale)))
    whole.paste(square, ((whole.width - _MAP_SIDE) // 2, (whole.height - _MAP_SIDE) // 2))
    ramp = np.stack([np.interp(range(256), np.linspace(0, 255, 4), channel) for channel in _COLOURS.T]).round()
    coloured = Image.frombytes("P", whole.size, whole.tobytes())
    coloured.putpalette(ramp[:3].T.astype(np.uint8).tobytes())
    content = io.BytesIO()
    coloured.save(content, "PNG", optimize=True, transparency=ramp[3].astype(np.uint8).tobytes())
    return _address("png", content), _hottest(np.asarray(whole, float))


def _hottest(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    """Return where the middle of the heat is: "the upper left", "the middle" …"""
    height, width = values.shape
    down = (values.sum(axis=1) @ np.arange(height) / values.sum() + 0.5) / height
    across = (values.sum(axis=0) @ np.arange(width) / values.sum() + 0.5) / width
    vertical = "upper" if down < 0.4 else "lower" if down > 0.6 else ""
    side = "left" if across < 0.4 else "right" if across > 0.6 else ""
    if vertical and side:
        return f"the {vertical} {side}"
    return f"the {vertical} part" if vertical else f"the {side} side" if side else "the middle"


def _small(folder: Path, name: str) -> Image.Image | None:
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
    except Exception:  # Whatever is wrong with one picture is no reason to have no report.
        return None
    return small


def _address(kind: str, content: io.BytesIO) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content.getvalue()).decode()
