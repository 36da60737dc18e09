"""Training pictures are cropped and changed at random, as the settings say: at the same place always alike."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import Module
from torchvision import transforms

from byoc_vision.contract.hyperparameters import Settings
from classifier.preprocessing import Preprocessing, as_array


@dataclass(frozen=True)
class Augmentation:
    """What is done to a picture, instead of the plain `preprocessing`; the fields are the settings of their names."""

    preprocessing: Preprocessing
    augment: str = "none"
    crop_scale: float = Settings.crop_scale
    flip: str = Settings.flip

    def __post_init__(self) -> None:
        if self.augment != "none":
            _ = self._transform  # here, and not in each of the processes that decode: what it may import takes a second

    @classmethod
    def of(cls, settings: Settings, preprocessing: Preprocessing) -> "Augmentation":
        """Return what `settings` say."""
        return cls(preprocessing, settings.augment, settings.crop_scale, settings.flip)

    def pixels(self, image: Image.Image, *place: int) -> NDArray[np.uint8]:
        """Return an RGB `image` as uint8 [3, crop_size, crop_size].

        All that is random follows from the numbers in `place` alone: there is no state to save, and none to lose.
        """
        if self.augment == "none":
            return self.preprocessing.pixels(image)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mixed(*place))
            augmented: Image.Image = self._transform(image)
        return as_array(augmented)

    def view(self, image: Image.Image, digest: bytes, number: int) -> tuple[NDArray[np.uint8], bytes]:
        """Return a view of the `image` that has the `digest`, as pixels, and the view's own digest.

        Number 0 is the picture as it is. The others are the same in all jobs with these settings.
        """
        if number == 0:
            return self.preprocessing.pixels(image), digest
        return self.pixels(image, int.from_bytes(digest[:4]), number), self.name(digest, number)

    def name(self, digest: bytes, number: int) -> bytes:
        """Return the digest of a view of the picture that has the `digest`."""
        if number == 0:
            return digest
        recipe = f"{self.augment} {self.crop_scale} {self.flip} {number}"
        return hashlib.sha256(digest + recipe.encode()).digest()

    @cached_property
    def _transform(self) -> Callable[[Image.Image], Image.Image]:
        interpolation = transforms.InterpolationMode(self.preprocessing.interpolation)
        side, scale = self.preprocessing.crop_size, (self.crop_scale, 1.0)
        steps: list[Module] = [transforms.RandomResizedCrop(side, scale=scale, interpolation=interpolation)]
        if self.flip != "none":
            steps.append(transforms.RandomHorizontalFlip())
        if self.flip == "both":
            steps.append(transforms.RandomVerticalFlip())
        if self.augment == "trivial":
            from torchvision.transforms import v2  # loads torch's compiler

            steps.append(v2.TrivialAugmentWide(interpolation=interpolation))
        composed: Callable[[Image.Image], Image.Image] = transforms.Compose(steps)
        return composed


def mixed(*numbers: int) -> int:
    """Return one 63-bit seed for `numbers`, so that neighbouring ones give unrelated random streams."""
    seed = 0
    for number in numbers:
        seed = (seed ^ (number & 0xFFFFFFFF)) * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03 & 0x7FFFFFFFFFFFFFFF
        seed ^= seed >> 29
    return seed
