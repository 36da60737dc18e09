"""How much of a heat map's mass lies on the shape of a drawn picture.

    python -m tests.unit.train.shapes MODEL

prints the share of newly drawn pictures in which it is more than half: on the shape, and within half a cell of it.
"""

import io
import math
import random
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import nn

from classifier import artifact
from classifier.preprocessing import Preprocessing
from local_test import draw
from train import heatmaps


def drawn(colour: tuple[int, int, int], corners: int, seed: str) -> tuple[Image.Image, Image.Image]:
    """Return a drawn picture, as it is stored, and where its shape is."""
    content = io.BytesIO()
    draw.draw_picture(colour, corners, random.Random(seed)).save(content, "JPEG", quality=90)
    generator = random.Random(seed)
    generator.randbytes(16 * 12 * 3)
    radius, x, y = generator.uniform(24, 42), generator.uniform(60, 100), generator.uniform(50, 70)
    turn, shape = generator.uniform(0, 2 * math.pi), Image.new("RGB", draw.SIZE)
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    around = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    if corners:
        ImageDraw.Draw(shape).polygon(around, fill="white")
    else:
        ImageDraw.Draw(shape).ellipse((x - radius, y - radius, x + radius, y + radius), fill="white")
    return Image.open(content).convert("RGB"), shape


def shares(network: nn.Module, preprocessing: Preprocessing, each: int, stem: str) -> NDArray[np.float64]:
    """Return the part of each map's mass that lies on the pixels of the shape, and on those within half a cell of it.

    [N, 2], of `each` pictures of every class. The maps are for the true classes, in the order of `draw.CLASSES`, and as
    large as the network's input; half a cell is what their resolution does not tell.
    """
    pictures, shapes, classes = [], [], []
    for number, (name, (colour, corners)) in enumerate(draw.CLASSES.items()):
        for i in range(each):
            picture, shape = drawn(colour, corners, f"{stem} {name} {i}")
            pictures.append(preprocessing.pixels(picture))
            shapes.append(Image.fromarray(preprocessing.pixels(shape)[0]))
            classes.append(number)
    inputs, side = torch.from_numpy(preprocessing.normalize(np.stack(pictures))), preprocessing.crop_size
    layers, found = heatmaps.feature_maps(network, inputs[:1]), []
    for batch, answers in zip(inputs.split(20), torch.tensor(classes).split(20), strict=True):
        found.extend(heatmaps.maps(network, batch, answers, layers))
    return np.array([_shares(map_, shape, side) for map_, shape in zip(found, shapes, strict=True)])


def _shares(map_: NDArray[np.float32], shape: Image.Image, side: int) -> list[float]:
    mass = np.asarray(Image.fromarray(map_).resize((side, side), Image.Resampling.BILINEAR))
    near = shape.filter(ImageFilter.MaxFilter(2 * round(side / len(map_) / 2) + 1))
    return [float(mass[np.asarray(part) > 127].sum() / max(mass.sum(), 1e-30)) for part in (shape, near)]


if __name__ == "__main__":
    model = artifact.load(Path(sys.argv[1]))
    assert list(model.labels) == list(draw.CLASSES)
    print(*np.mean(shares(model.network, model.preprocessing, 50, "new") > 0.5, axis=0))
