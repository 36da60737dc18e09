"""Where a network looked: how much each part of a picture spoke for the answer, for the report.

HiResCAM (Draelos and Carin, 2020): each cell's features, weighted by the gradient of the answer's logit there, summed,
and cut at zero. Where the features are averaged and a linear head follows, that is the class activation map (Zhou et
al., 2016). The maps of the last resolutions are multiplied: the last knows best what it sees, those before it where.
Only what comes after these is differentiated, so a map costs little more than an answer.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from torchvision.models import VisionTransformer

from byoc_vision.contract import job
from byoc_vision.contract.errors import described
from classifier.artifact import Classifier, write_text
from train.batches import Order, PictureBatches
from train.data import Split
from train.progress import progress
from train.stopping import Stopped, StopSignal

#: Pictures at a time, and the seconds after which no more are begun.
_BATCH, _SECONDS = 4, 30

#: Cells of the side of the last map, at least: a network for small pictures ends with 1 or 2, which show no place.
_LEAST_SIDE = 4

#: Cells of the side of the first map, at most: what comes before sees edges and colours rather than things.
_MOST_SIDE = 16

#: Dots in the name of a stage of a network, at most: layer4, features.17, trunk_output.block4.
_DEPTH = 1

#: The highest value in the file.
_MOST = 255


def write(
    classifier: Classifier,
    split: Split,
    answered: Tensor,
    folder: Path,
    workers: int,
    stop: StopSignal,
    report: Callable[[str], None],
) -> None:
    """Write `heatmaps.json` into `folder`: for pictures of `split` what spoke for the classes `answered` [N].

    `{"crop": share of the shorter side that the network sees, "maps": {name: rows of values from 0 to 255}}`
    It has as many pictures as there is time for; where there can be none, that is told to `report`.
    """
    begun = time.monotonic()
    try:
        drawn = _drawn(classifier, split, answered, workers, stop, begun + _SECONDS)
    except Stopped:
        raise
    # What hooks and gradients meet in a network that nobody has tried is no reason to lose the job.
    except Exception as error:
        report(f"no heat maps were made ({described(error, 300)})")
        return
    preprocessing = classifier.preprocessing
    crop = preprocessing.crop_size / preprocessing.resize_size
    rows = {name: np.rint(_MOST * map_).astype(int).tolist() for name, map_ in drawn.items()}
    write_text(folder / job.HEAT_MAPS, json.dumps({"crop": crop, "maps": rows}, ensure_ascii=False))
    left = len(split) - len(drawn)
    rest = f"; there was no time for {left} more" if left else ""
    report(f"heat maps of {len(drawn)} pictures that it is most wrong about: {time.monotonic() - begun:.1f} s{rest}")


def _drawn(
    classifier: Classifier, split: Split, answered: Tensor, workers: int, stop: StopSignal, deadline: float
) -> dict[str, NDArray[np.float32]]:
    network = classifier.network
    device = next(network.parameters()).device
    order = Order(len(split), _BATCH)
    batches = PictureBatches(split, classifier.preprocessing, order, workers, device)
    drawn: list[NDArray[np.float32]] = []
    places: list[str] = []
    answers = torch.split(answered.to(device), _BATCH)
    for (inputs, _), classes in zip(progress(batches.epoch(0), len(order), "heat maps"), answers, strict=False):
        stop.check()
        places = places or feature_maps(network, inputs[:1])
        drawn.extend(maps(network, inputs, classes, places))
        if time.monotonic() > deadline:
            break
    return dict(zip(split.names, drawn, strict=False))


def maps(network: nn.Module, inputs: Tensor, classes: Tensor, places: Sequence[str]) -> NDArray[np.float32]:
    """Return how much each part of `inputs` [N, 3, S, S] spoke for `classes` [N]: [N, H, W], from 0 to 1.

    `places` are the layers that `feature_maps` returns. It is 0 everywhere where nothing spoke for the class.
    """
    network.eval()
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        kept.append(output if kept else output.detach().requires_grad_())
        return kept[-1].clone()  # what comes next may write into it

    handles = [network.get_submodule(place).register_forward_hook(keep) for place in places]
    try:
        with torch.enable_grad():
            logits = network(inputs).float()
            # What speaks for all classes alike explains no answer.
            spoken = logits.gather(1, classes[:, None])[:, 0] - logits.mean(dim=1)
            gradients = torch.autograd.grad(spoken.sum(), kept)
    finally:
        for handle in handles:
            handle.remove()
    both = _cam(kept[-1].detach(), gradients[-1])
    for features, gradient in zip(reversed(kept[:-1]), reversed(gradients[:-1]), strict=True):
        finer = _cam(features.detach(), gradient)
        last = functional.interpolate(both, finer.shape[2:], mode="bilinear")
        both = torch.where(_most(last * finer) > 0, _scaled(last * finer), last)
    scaled: NDArray[np.float32] = _scaled(both)[:, 0].cpu().numpy()
    return scaled


def _cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Return HiResCAM's map [N, 1, H, W]."""
    return _scaled((_grid(gradient.float()) * _grid(features.float())).sum(dim=1, keepdim=True).clamp_min(0))


def _scaled(map_: Tensor) -> Tensor:
    return map_ / _most(map_).clamp_min(torch.finfo(map_.dtype).tiny)


def _most(map_: Tensor) -> Tensor:
    return map_.amax(dim=(1, 2, 3), keepdim=True)


def _grid(features: Tensor) -> Tensor:
    """Return features as [N, channels, H, W]: some networks have the channels last, or tokens in a row."""
    if features.dim() == 3:
        tokens = features[:, 1:]  # without the class token
        side = round(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
    return features if features.shape[2] == features.shape[3] else features.permute(0, 3, 1, 2)


def feature_maps(network: nn.Module, example: Tensor) -> list[str]:
    """Return the names of the layers whose outputs are the feature maps of the last resolutions, in their order.

    `example` is a picture [1, 3, S, S]. Raises `ValueError` for a network without feature maps.
    """
    network.eval()
    if isinstance(network, VisionTransformer):
        # Of the last block's output only the class token counts; that of the block before tells the patches apart.
        return [f"encoder.layers.{[name for name, _ in network.encoder.layers.named_children()][-2]}"]
    sides: dict[str, int] = {}
    calls: Counter[str] = Counter()

    def note(name: str) -> RemovableHandle:
        def see(_: nn.Module, __: object, output: object) -> None:
            calls[name] += 1
            if isinstance(output, Tensor) and output.dim() == 4:
                height, width = _grid(output).shape[2:]
                sides[name] = height if height == width else 0

        return network.get_submodule(name).register_forward_hook(see)

    # Further down are branches, of which each sees a part.
    handles = [note(name) for name, _ in network.named_modules() if name and name.count(".") <= _DEPTH]
    try:
        with torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    usable = {name: side for name, side in sides.items() if side > 1 and calls[name] == 1}
    if not usable:
        raise ValueError("the network has no feature maps")
    least = min(_LEAST_SIDE, max(usable.values()))
    # Of each resolution, the last.
    last = {side: name for name, side in usable.items() if side >= least}
    lowest = last[min(last)]
    return [*(name for side, name in last.items() if min(last) < side <= _MOST_SIDE), lowest]
