"""Which layers learn, from which epoch on, and how fast: by the blocks of a network, the head last."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from byoc_vision.contract.hyperparameters import Settings
from classifier import network


def build(
    settings: Settings, weights: Path | None, classes: int, device: torch.device
) -> tuple[nn.Module, list[tuple[str, ...]]]:
    """Return the network for so many `classes`, on `device`, and the names of its layers that learn, by block.

    The others have no gradients. Raises `WeightsError` for a file of `weights` that is not the network's.
    """
    net = network.build(settings.arch, classes)
    if settings.pretrained:
        network.load_backbone(net, settings.arch, weights)
    blocks = network.blocks(net)
    if settings.train_layers != "all":
        blocks = blocks[-1 - (settings.blocks if settings.train_layers == "last-block" else 0) :]
        net.requires_grad_(False)
        for name in itertools.chain(*blocks):
            net.get_submodule(name).requires_grad_(True)
    # cuDNN tries its algorithms once: all batches but the last have one shape.
    torch.backends.cudnn.benchmark = settings.train_layers == "all"
    # A pixel's channels side by side: convolutions are faster so, on CPUs and on tensor cores.
    return net.to(device).to(memory_format=torch.channels_last), blocks  # type: ignore[call-overload]


class Layers:
    """The trainable parameters of `network`; `blocks` are the names of its layers, by block, the head's last.

    Discriminative learning rates and gradual unfreezing are those of Howard and Ruder (2018).
    """

    def __init__(self, network: nn.Module, blocks: Sequence[Sequence[str]], settings: Settings) -> None:
        self._network, self._settings = network, settings
        self._first = [network.get_submodule(names[0]) if names else network for names in blocks]
        self._parameters: list[list[nn.Parameter]] = [[] for _ in blocks]
        place = {name: number for number, names in enumerate(blocks) for name in names}
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                # A parameter of no layer, as the position of a vision transformer's patches, comes before all blocks.
                number = next((place[layer] for layer in place if name.startswith(f"{layer}.")), 0)
                self._parameters[number].append(parameter)
        self._frozen = 0

    def groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups; the learning rate of each is the run's times its `share`."""
        if self._settings.layer_decay == 1:
            return [{"params": [parameter for block in self._parameters for parameter in block], "share": 1.0}]
        head = len(self._parameters) - 1
        shares = [self._settings.layer_decay ** (head - number) for number in range(head + 1)]
        return [{"params": block, "share": share} for block, share in zip(self._parameters, shares, strict=True)]

    def begin(self, epoch: int) -> bool:
        """Freeze the blocks that do not learn in `epoch` (from 1) and no others; return whether that is a change.

        The head learns from the first, and the number of blocks that learn grows evenly until all do.
        """
        blocks, over = len(self._parameters) - 1, self._settings.unfreeze_epochs
        learning = -(-blocks * (epoch - 1) // over) if epoch <= over else blocks
        before, self._frozen = self._frozen, blocks - learning
        for number, block in enumerate(self._parameters):
            for parameter in block:
                parameter.requires_grad_(number >= self._frozen)
        return self._frozen != before

    def train(self) -> None:
        """Set to training mode, where there is dropout and batch normalisation learns, what follows the frozen layers.

        A head alone has neither.
        """
        self._network.train(self._settings.train_layers != "head")
        if self._settings.train_layers == "all" and not self._frozen:
            return
        learning = self._first[self._frozen]
        for module in itertools.takewhile(lambda module: module is not learning, self._network.modules()):
            module.training = False
