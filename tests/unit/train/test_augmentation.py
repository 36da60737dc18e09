"""What augmentation keeps of a picture, and that it is the same at the same place."""

import numpy as np
import pytest
from PIL import Image

from byoc_vision.contract.hyperparameters import Settings
from classifier.preprocessing import Preprocessing
from train.augmentation import Augmentation

SMALL = Preprocessing(64, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture
def ramp() -> Image.Image:
    """Return a picture that is redder to the right and greener to the bottom."""
    rows, columns = np.mgrid[0:256, 0:256]
    return Image.fromarray(np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8))


def slopes(augmentation: Augmentation, picture: Image.Image, count: int = 60) -> np.ndarray:
    """Return by how much pictures get redder to the right and greener to the bottom, [count, 2], 256 for the whole."""
    seen = [augmentation.pixels(picture, 1, number).astype(float) for number in range(count)]
    return np.array([[(p[0, :, -1] - p[0, :, 0]).mean(), (p[1, -1] - p[1, 0]).mean()] for p in seen])


@pytest.mark.parametrize(("flip", "sideways", "upside_down"), [("none", 0, 0), ("horizontal", 1, 0), ("both", 1, 1)])
def test_flips(ramp: Image.Image, flip: str, sideways: bool, upside_down: bool) -> None:
    red, green = slopes(Augmentation(SMALL, "basic", flip=flip), ramp).T
    assert (red < 0).any() == sideways
    assert (green < 0).any() == upside_down
    assert (red > 0).any() and (green > 0).any()


@pytest.mark.parametrize("least", [0.1, 0.25, 0.8])
def test_a_crop_keeps_at_least_its_share_of_the_area(ramp: Image.Image, least: float) -> None:
    areas = np.abs(slopes(Augmentation(SMALL, "basic", crop_scale=least), ramp)).prod(axis=1) / 256**2
    assert 0.9 * least < areas.min() < least + 0.15


def test_the_settings_are_those_of_the_names() -> None:
    settings = Settings(augment="trivial", crop_scale=0.5, flip="both")
    assert Augmentation.of(settings, SMALL) == Augmentation(SMALL, "trivial", 0.5, "both")


def test_views_are_the_same_in_every_job_and_have_names_of_their_own(ramp: Image.Image) -> None:
    digest = bytes(range(32))
    basic = Augmentation(SMALL, "basic")
    pixels, name = basic.view(ramp, digest, 0)
    assert name == digest and np.array_equal(pixels, SMALL.pixels(ramp))
    names = {digest}
    for augmentation in (basic, Augmentation(SMALL, "basic", flip="none"), Augmentation(SMALL, "trivial")):
        for number in (1, 2):
            pixels, name = augmentation.view(ramp, digest, number)
            again, _ = Augmentation.of(Settings(augment=augmentation.augment, flip=augmentation.flip), SMALL).view(
                ramp, digest, number
            )
            assert np.array_equal(pixels, again)
            assert name == augmentation.name(digest, number)
            names.add(name)
    assert len(names) == 7
    assert not np.array_equal(basic.view(ramp, digest, 1)[0], basic.view(ramp, digest, 2)[0])
