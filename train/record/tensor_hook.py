"""Records what happens inside a network while it trains: in some steps its tensors, in every step the loss.

The names are smdebug's. Its own hook sits on every layer in every step; this one is attached for the steps that are
recorded, and reduces all tensors on their device: what travels to the CPU, once a step, is a few numbers for each.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from byoc_vision.contract.job import ACTIVITY
from train.record import smdebug_files
from train.record.smdebug_files import Record, Step

LOSS = "CrossEntropyLoss"

#: smdebug's names of the reductions, in the order `_reduced` gives them.
_REDUCTIONS = ("mean", "std", "min", "max", "abs_mean")

#: Values of an activation that are looked at: some pictures of a batch say as much as all, and cost less.
_ENOUGH = 1_000_000


class Hook:
    """Records `network`, whose parameters that require gradients are trained, into `folder`: a `recorder.TensorHook`.

    A step of training is recorded when its number is a power of two or a multiple of `interval`: much happens at first.
    """

    def __init__(self, network: nn.Module, folder: Path, interval: int) -> None:
        self._folder, self._interval = folder, interval
        root = type(network).__name__
        self._parameters = {f"{root}_{name}": p for name, p in network.named_parameters() if p.requires_grad}
        self._relus = {name or root: m for name, m in network.named_modules() if isinstance(m, nn.ReLU | nn.ReLU6)}
        self._handles: list[RemovableHandle] = []
        self._calls: Counter[str] = Counter()
        self._reduced: dict[str, Tensor] = {}
        self._activity: dict[str, Tensor] = {}
        self._records: list[Record] = []
        self._losses: list[tuple[Step, Tensor]] = []
        smdebug_files.write_collections(folder, self._collections())

    def begin(self, step: Step) -> bool:
        number = step.mode_number
        if step.mode == "eval" or (number % self._interval and number & (number - 1)):
            return False
        self.flush()  # The step begins a file.
        self._attach()
        return True

    def forward(self, step: Step, loss: Tensor) -> None:
        self._losses.append((step, loss.detach()))

    def backward(self, step: Step) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._records = [Record(name, step, value) for name, value in self._tensors()]

    def flush(self) -> None:
        if self._losses:
            losses = torch.stack([loss for _, loss in self._losses]).float().cpu().numpy()
            steps = [step for step, _ in self._losses]
            self._records += [Record(f"{LOSS}_output_0", *row) for row in zip(steps, losses, strict=True)]
            smdebug_files.write(self._folder, self._records)
        self._records, self._losses = [], []

    def close(self) -> None:
        self.flush()
        smdebug_files.end(self._folder)

    def _collections(self) -> dict[str, list[str]]:
        """Return smdebug's collections as regular expressions of their tensors' names."""
        names = [re.escape(name) for name in self._parameters]
        relus = [re.escape(name) for name in self._relus]
        return {
            "losses": [f"^{LOSS}_output_"],
            "weights": [f"^{name}$" for name in names if not name.endswith("bias")],
            "biases": [f"^{name}$" for name in names if name.endswith("bias")],
            "gradients": ["^gradient/"],
            "relu_input": [f"^{name}_input_" for name in relus],
            "relu_output": [f"^{name}_output_" for name in relus],
            "relu_activity": [f"^{ACTIVITY}"],
        }

    def _attach(self) -> None:
        for name, relu in self._relus.items():
            # Before the forward pass, because a ReLU that works in place leaves nothing of its input.
            before = relu.register_forward_pre_hook(lambda _, inputs, name=name: self._enter(name, inputs[0]))
            after = relu.register_forward_hook(lambda _, inputs, output, name=name: self._leave(name, output))
            self._handles += [before, after]

    def _enter(self, name: str, inputs: Tensor) -> None:
        self._reduced[f"{name}_input_{self._calls[name]}"] = _reduced(_some(inputs))

    def _leave(self, name: str, output: Tensor) -> None:
        call = self._calls[name]  # Residual blocks use one ReLU several times.
        self._calls[name] += 1
        some = _some(output)
        self._reduced[f"{name}_output_{call}"] = _reduced(some)
        # A unit is a feature of [N, features], or a channel of [N, channels, height, width].
        activity = (some > 0).float().mean(dim=(0, *range(2, some.dim())))
        self._activity[f"{ACTIVITY}{name}.{call}" if call else ACTIVITY + name] = activity

    @torch.no_grad()
    def _tensors(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        for name, parameter in self._parameters.items():
            self._reduced[name] = _reduced(parameter)
            if parameter.grad is not None:
                self._reduced[f"gradient/{name}"] = _reduced(parameter.grad)
        for name, row in zip(self._reduced, torch.stack(list(self._reduced.values())).cpu().numpy(), strict=True):
            for reduction, value in zip(_REDUCTIONS, row, strict=True):
                yield f"smdebug/reductions/{reduction}/{name}", value
        for name, activity in self._activity.items():
            yield name, activity.cpu().numpy()
        self._reduced, self._activity = {}, {}
        self._calls.clear()


def _some(activation: Tensor) -> Tensor:
    """Return an activation [N, …] of as many samples as are `_ENOUGH`."""
    activation = activation.detach()
    return activation[: max(1, _ENOUGH * len(activation) // max(1, activation.numel()))]


def _reduced(tensor: Tensor) -> Tensor:
    """Return the `_REDUCTIONS` of a tensor as float32 [5], on its device."""
    values = tensor.detach().float()
    std, mean = torch.std_mean(values, correction=0)
    low, high = torch.aminmax(values)
    return torch.stack([mean, std, low, high, values.abs().mean()])
