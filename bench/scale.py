"""Pictures by the million, tiny and each another, to see what grows with their number: `draw`."""

import io
import random
from multiprocessing import Pool
from pathlib import Path

from PIL import Image

#: Pixels of a drawn picture's side: the least of which the look is compared with those of others.
SIDE = 32


def draw(folder: Path, count: int, classes: int) -> Path:
    """Draw `count` pictures into a folder for each of `classes`, equally many of each, and return `folder`.

    What is large in a picture, 2 x 2 colours, is its own, as in photographs; its class is finer, 4 x 4 colours.
    """
    jobs = [(folder, number, count // classes + (number < count % classes)) for number in range(classes)]
    with Pool() as pool:
        for _ in pool.imap_unordered(_draw_class, jobs, chunksize=16):
            pass
    return folder


def _draw_class(job: tuple[Path, int, int]) -> None:
    folder, number, count = job
    place = folder / f"class_{number:05}"
    place.mkdir(parents=True)
    shown = _grid(4, random.Random(number))
    for i in range(count):
        generator = random.Random(f"{number} {i}")
        picture = Image.blend(shown, _grid(2, generator), 0.5)
        picture = Image.blend(picture, _grid(4, generator), 0.25)
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=75)
        (place / f"{i:06}.jpg").write_bytes(data.getvalue())


def _grid(side: int, generator: random.Random) -> Image.Image:
    """Return `side` x `side` colours, which go over into one another."""
    colours = Image.frombytes("RGB", (side, side), generator.randbytes(3 * side**2))
    return colours.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
