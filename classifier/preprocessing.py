"""From an RGB picture to the array a network takes, the same in training, evaluation and serving.

NumPy alone, so that it also serves where there is no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torchvision import models

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Shorter side to `resize_size`, centre crop of `crop_size` pixels, (value / 255 - mean) / std per channel."""

    resize_size: int
    crop_size: int
    mean: Triple
    std: Triple
    interpolation: str = "bilinear"

    @classmethod
    def of(cls, weights: "models.WeightsEnum") -> Self:
        """Return what the pretrained `weights` were made with, as torchvision publishes it beside them."""
        preset = weights.transforms()
        return cls(
            resize_size=preset.resize_size[0],
            crop_size=preset.crop_size[0],
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the preprocessing that `dataclasses.asdict` turned into the plain `value`."""
        return cls(**{**value, "mean": tuple(value["mean"]), "std": tuple(value["std"])})

    def resized(self, crop_size: int) -> Self:
        """Return the same preprocessing for another crop size; the resize size keeps its proportion to it."""
        resize_size = round(self.resize_size * crop_size / self.crop_size)
        return type(self)(resize_size, crop_size, self.mean, self.std, self.interpolation)

    @property
    def enough(self) -> int:
        """Pixels of the shorter side with which a picture may be decoded at a reduced scale.

        With twice the resized side, the result differs by less than one of 255 steps on average.
        """
        return 2 * self.resize_size

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the resized centre of an RGB `image` as uint8 [3, crop_size, crop_size].

        Only the part that the crop keeps is resampled, in one step: same result as resize then crop (up to the rounding
        of the resized side to whole pixels), and a 1x5000 picture costs no more memory than any other.
        """
        width, height = image.size
        side = min(width, height) * self.crop_size / self.resize_size
        left, top = (width - side) / 2, (height - side) / 2
        crop = image.resize(
            (self.crop_size, self.crop_size),
            Image.Resampling[self.interpolation.upper()],
            box=(left, top, left + side, top + side),
        )
        return as_array(crop)

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return uint8 [N, 3, H, W] `pixels` as the network's float32 input of the same shape."""
        mean, std = (
            np.array(values, np.float32).reshape(3, 1, 1) * np.float32(255) for values in (self.mean, self.std)
        )
        inputs: NDArray[np.float32] = (pixels - mean) / std
        return inputs


def as_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return an RGB `image` as uint8 [3, height, width]."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
