"""From an RGB picture to the array a network takes, the same in training, evaluation and serving.

NumPy alone, so that it also serves where there is no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.checks import Fields, check

if TYPE_CHECKING:
    from torchvision import models

Triple = tuple[float, float, float]

#: Pixels a side may have; training makes networks for up to 2048.
MAX_SIDE = 4096


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_SIDE


def _are_three(value: Any, least: float) -> bool:
    """Tell whether `value` is three numbers from `least` to 1, the largest that a channel has."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(one) in (int, float) and least <= one <= 1 for one in value)
    )


def _is_filter(value: Any) -> bool:
    return isinstance(value, str) and value.upper() in Image.Resampling.__members__


_FIELDS: Fields = {
    "resize_size": (_is_side, f"a whole number from 1 to {MAX_SIDE}"),
    "crop_size": (_is_side, f"a whole number from 1 to {MAX_SIDE}"),
    "mean": (lambda value: _are_three(value, 0), "three numbers from 0 to 1"),
    # Training gives a channel that never varies 1/255.
    "std": (lambda value: _are_three(value, 0.001), "three numbers from 0.001 to 1"),
    "interpolation": (_is_filter, "the name of one of Pillow's filters"),
}


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
    def from_json(cls, value: Any) -> Self:
        """Return the preprocessing that `dataclasses.asdict` turned into the plain `value`.

        Raises `ValueError` naming a field that is missing, out of its range, or unknown: it would change the answers.
        """
        if isinstance(value, dict):
            value = {"interpolation": cls.interpolation, **value}
        check("preprocessing", value, _FIELDS)
        unknown = sorted(value.keys() - _FIELDS.keys())
        if unknown:
            raise ValueError(f"preprocessing has the field {unknown[0]!r}, which this image does not know")
        if value["resize_size"] < value["crop_size"]:
            raise ValueError("resize_size in preprocessing is smaller than crop_size")
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

    @property
    def input_bytes(self) -> int:
        """Bytes of the network's input for one picture."""
        return 3 * 4 * self.crop_size**2

    def inputs(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return what `normalize` makes of the `pixels` of RGB images, in no more memory than that takes itself."""
        inputs = np.empty((len(images), 3, self.crop_size, self.crop_size), np.float32)
        for index, image in enumerate(images):
            inputs[index] = self.normalize(self.pixels(image)[np.newaxis])[0]
        return inputs

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
