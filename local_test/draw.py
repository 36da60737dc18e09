"""Draw a small labelled picture set: four shapes, each in its own colour, in train/, valid/ and test/.

    python -m local_test.draw DIR

writes it to DIR and prints the hyperparameters that learn it, from nothing and in seconds, as name=value lines.
"""

import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

SPLITS = {"train": 40, "valid": 10, "test": 10}
SIZE = (160, 120)

#: Class name -> colour and corners (0: an ellipse).
CLASSES = {
    "blue_triangle": ((40, 70, 220), 3),
    "green_square": ((40, 180, 70), 4),
    "red_circle": ((220, 40, 40), 0),
    "yellow_pentagon": ((230, 200, 30), 5),
}

#: What learns these pictures. Real photographs want the defaults.
HYPERPARAMETERS = {
    "arch": "resnet18",
    "pretrained": "false",
    "train-layers": "all",
    "image-size": "64",
    "batch-size": "16",
    "epochs": "4",
}


def draw_set(root: Path, seed: int = 0) -> None:
    """Write the set to `root`; the same seed gives the same pictures."""
    for split, count in SPLITS.items():
        for name, (colour, corners) in CLASSES.items():
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture = draw_picture(colour, corners, random.Random(f"{seed} {split} {name} {number}"))
                picture.save(folder / f"{name}_{number:02}.jpg", quality=90)


def draw_picture(colour: tuple[int, int, int], corners: int, generator: random.Random) -> Image.Image:
    """Return one shape of about `colour`, somewhere, turned somehow, on a background of coarse noise."""
    coarse = Image.frombytes("RGB", (16, 12), generator.randbytes(16 * 12 * 3))
    image = Image.blend(coarse.resize(SIZE, Image.Resampling.BICUBIC), Image.new("RGB", SIZE, (128, 128, 128)), 0.6)
    radius = generator.uniform(24, 42)
    x, y = generator.uniform(60, 100), generator.uniform(50, 70)
    turn = generator.uniform(0, 2 * math.pi)
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    around = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    shade = tuple(max(0, min(255, channel + generator.randint(-30, 30))) for channel in colour)
    if corners:
        ImageDraw.Draw(image).polygon(around, fill=shade)
    else:
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=shade)
    return image


if __name__ == "__main__":
    draw_set(Path(sys.argv[1]))
    print("\n".join(f"{name}={value}" for name, value in HYPERPARAMETERS.items()))
