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

    A class is a grid of 4 x 4 colours; its pictures have each colour changed a little.
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
    colours = random.Random(number).randbytes(48)
    for i in range(count):
        changes = random.Random(f"{number} {i}").randbytes(48)
        grid = bytes((3 * colour + change) // 4 for colour, change in zip(colours, changes, strict=True))
        data = io.BytesIO()
        picture = Image.frombytes("RGB", (4, 4), grid).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        picture.save(data, "JPEG", quality=75)
        (place / f"{i:06}.jpg").write_bytes(data.getvalue())
