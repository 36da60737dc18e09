"""Makes probabilities what they say: all logits are divided by one number, the temperature that suits validation.

Guo et al., On Calibration of Modern Neural Networks (2017). Which class is predicted stays as it is.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.batches import Batches
from train.stopping import StopSignal

#: Logits at most that a temperature is fitted on; more pictures change it no more.
LOGITS = 10_000_000

#: The temperatures that are tried, and how often the range is narrowed to 0.62 of itself.
_RANGE, _STEPS = (0.05, 20.0), 40


@torch.inference_mode()
def fit(network: nn.Module, batches: Batches, precision: torch.dtype, stop: StopSignal) -> tuple[float, float, float]:
    """Return the temperature that fits `network` to `batches`, and the negative log-likelihood without and with it.

    A class that was predicted rightly every time is no certainty: of N pictures, one more that is wrong is counted with
    them (the rule of succession, as in Platt, 1999), so that few pictures do not lead to probabilities of 1.
    """
    logits = batches.gather(answers(network, batches, precision, stop)).double().cpu()
    targets = batches.targets.cpu()
    temperature = _least(lambda value: _loss(logits / value, targets), *_RANGE)
    return temperature, _loss(logits, targets), _loss(logits / temperature, targets)


@torch.inference_mode()
def answers(network: nn.Module, batches: Batches, precision: torch.dtype, stop: StopSignal) -> Tensor:
    """Return the logits [N, classes] float32 of `network` on this replica's share of an unshuffled epoch."""
    network.eval()
    rows = []
    for inputs, _ in batches.epoch(0):
        if batches.order.group.size == 1:  # A replica that left would make the others wait.
            stop.check()
        with torch.autocast(inputs.device.type, precision, enabled=precision is not torch.float32):
            rows.append(network(inputs).float())
    return torch.cat(rows)


@torch.no_grad()
def apply(temperature: float, head: nn.Module) -> None:
    """Divide the logits that the layer `head` makes by `temperature`, for good: it is part of the weights."""
    for parameter in head.parameters():
        parameter.div_(temperature)


def _loss(logits: Tensor, targets: Tensor) -> float:
    samples, classes = logits.shape
    smoothing = classes / ((samples + 2) * (classes - 1))
    return functional.cross_entropy(logits, targets, label_smoothing=min(1.0, smoothing)).item()


def _least(loss: Callable[[float], float], low: float, high: float) -> float:
    """Return where `loss`, which falls and then rises, is least, by golden-section search over the logarithm."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = math.log(low), math.log(high)
    for _ in range(_STEPS):
        left, right = b - ratio * (b - a), a + ratio * (b - a)
        if loss(math.exp(left)) < loss(math.exp(right)):
            b = right
        else:
            a = left
    return math.exp((a + b) / 2)
