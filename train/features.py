"""A frozen backbone gives the same features for the same picture every time: compute them once for all epochs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from classifier.network import head_name
from train.batches import PictureBatches
from train.progress import progress
from train.stopping import StopSignal


def separable(network: nn.Module) -> bool:
    """Whether `network` ends in its head, so that the head needs nothing but features (squeezenet does not)."""
    return isinstance(network.get_submodule(head_name(network)), nn.Linear)


@torch.inference_mode()
def extract(
    network: nn.Module, batches: PictureBatches, precision: torch.dtype, what: str, stop: StopSignal
) -> tuple[Tensor, Tensor]:
    """Return what the head of `network` is given for one epoch of `batches`.

    That is features [N, D] (float32) and targets [N], in the order of the files and on the device of the batches; the
    replicas of a group compute a share each, and all get all.
    """
    network.eval()
    features, targets = [], []
    with _headless(network):
        for inputs, labels in progress(
            batches.epoch(0), len(batches.order), f"computing features of the {what} pictures"
        ):
            stop.check()
            with torch.autocast(inputs.device.type, precision, enabled=precision is not torch.float32):
                features.append(network(inputs).float())
            targets.append(labels)
    return batches.gather(torch.cat(features)), batches.gather(torch.cat(targets))


@contextmanager
def _headless(network: nn.Module) -> Iterator[None]:
    parent_name, _, name = head_name(network).rpartition(".")
    parent = network.get_submodule(parent_name)
    head = getattr(parent, name)
    setattr(parent, name, nn.Identity())
    try:
        yield
    finally:
        setattr(parent, name, head)
