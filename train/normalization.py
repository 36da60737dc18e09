"""Measure the mean and standard deviation of pictures, for networks trained on unusual ones from the start."""

from dataclasses import replace

import torch

from classifier.preprocessing import Preprocessing
from train.batches import PictureBatches


def measured(pictures: PictureBatches, preprocessing: Preprocessing) -> Preprocessing:
    """Return `preprocessing` with each channel's mean and standard deviation over all pixels of `pictures`.

    A channel that never varies gets the standard deviation 1/255 rather than 0.
    """
    total, squares = torch.zeros(2, 3, dtype=torch.float64)
    count = 0
    for pixels, _ in pictures.pixels():
        values = pixels.double() / 255
        total += values.sum(dim=(0, 2, 3))
        squares += (values**2).sum(dim=(0, 2, 3))
        count += values.numel() // 3
    sums = pictures.order.group.sum([*total.tolist(), *squares.tolist(), count])
    mean, power = (
        torch.tensor(sums[:3], dtype=torch.float64) / sums[6],
        torch.tensor(sums[3:6], dtype=torch.float64) / sums[6],
    )
    std = (power - mean**2).clamp_min(0).sqrt().clamp_min(1 / 255)
    return replace(preprocessing, mean=_triple(mean), std=_triple(std))


def _triple(values: torch.Tensor) -> tuple[float, float, float]:
    red, green, blue = (round(value, 5) for value in values.tolist())
    return red, green, blue
