"""Pairs of samples are trained on together: mixed (Zhang et al., 2018), or one with a part of the other (CutMix).

CutMix: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features (2019).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixed:
    """Inputs, of which the `share` is a sample's own, and the rest that of the sample at its place in `others`."""

    inputs: Tensor
    share: float
    others: Tensor


def mix(inputs: Tensor, mixup: float, cutmix: float, place: tuple[int, ...]) -> Mixed | None:
    """Return the batch `inputs` in mixed pairs, as the settings `mixup` and `cutmix` say; None where both are 0.

    Where both are set, half of the batches get the one, and half the other. All that is random follows from `place`.
    """
    if not mixup and not cutmix:
        return None
    random = np.random.default_rng(place)
    if mixup and not (cutmix and random.random() < 0.5):
        share = float(random.beta(mixup, mixup))
        others = torch.from_numpy(random.permutation(len(inputs))).to(inputs.device)
        return Mixed(share * inputs + (1 - share) * inputs[others], share, others)
    cut = math.sqrt(1 - random.beta(cutmix, cutmix))
    others = torch.from_numpy(random.permutation(len(inputs))).to(inputs.device)
    height, width = inputs.shape[-2:]
    rows, columns = (_span(side, cut, random) for side in (height, width))
    pasted = inputs.clone()
    pasted[..., rows, columns] = inputs[others][..., rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return Mixed(pasted, 1 - area / (height * width), others)


def _span(side: int, cut: float, random: np.random.Generator) -> slice:
    """Return a part of a `side` whose middle is anywhere on it; of the share `cut`, or less at the ends."""
    middle, half = int(random.integers(side)), int(cut * side) // 2
    return slice(max(0, middle - half), min(side, middle + half))
