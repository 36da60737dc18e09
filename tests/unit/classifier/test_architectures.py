"""What the contract says of architectures and of files of weights is what torch and torchvision say."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from byoc_vision.contract import weights
from byoc_vision.contract.architectures import ARCHITECTURES, Architecture
from classifier import network

FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnet50", "shufflenet_v2_x0_5",
    "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_32",
]  # fmt: skip


class _WithoutWeights(TorchFunctionMode):
    """Makes networks that have shapes and no numbers, in a tenth of the time."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}) | ({"device": "meta"} if function is torch.empty else {}))


def shapes(arch):
    """Return the name of the head, name -> shape of all tensors, and the number of blocks."""
    with _WithoutWeights():
        net = network.build(arch, 3)
    tensors = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    return network.head_name(net), tensors, len(network.blocks(net)) - 2


def test_the_names_are_torchvisions():
    assert list(ARCHITECTURES) == network.architectures()


@pytest.mark.parametrize("arch", FAMILIES)
def test_heads_and_digests_are_the_networks(arch):
    head, tensors, blocks = shapes(arch)
    assert ARCHITECTURES[arch] == Architecture(head, weights.digest(tensors, arch), blocks)
    assert weights.architectures(tensors) == [arch]


def test_no_two_architectures_are_taken_for_each_other():
    assert len({known.digest for known in ARCHITECTURES.values()}) == len(ARCHITECTURES)


if __name__ == "__main__":
    for arch in network.architectures():
        head, tensors, blocks = shapes(arch)
        ARCHITECTURES[arch] = Architecture(head, "", blocks)
        print(f'    "{arch}": Architecture("{head}", "{weights.digest(tensors, arch)}", {blocks}),')
