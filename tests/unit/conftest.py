"""Pictures drawn for the tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 60), "red": (220, 30, 20)}

DrawClasses = Callable[..., Path]


@pytest.fixture
def draw_classes(tmp_path: Path) -> DrawClasses:
    """Return a function that fills a folder with `count` noisy pictures of each colour, one class folder a colour."""

    def draw(folder: Path | str, count: int = 4, classes: tuple[str, ...] = tuple(COLOURS), size: int = 40) -> Path:
        root = tmp_path / folder
        generator = np.random.default_rng(len(str(folder)))
        for name in classes:
            (root / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                noise = generator.integers(-20, 20, (size, size, 3))
                pixels = np.clip(np.array(COLOURS.get(name, (128, 128, 128))) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / name / f"{name}{i}.png")
        return root

    return draw
