"""Write random weights that behave like trained ones: `python -m bench.inside.random_weights ARCH PICTURES FILE`.

Batch normalisation sees some pictures first; without that, activations grow from layer to layer beyond what any trained
network shows, and beyond what can be quantised.
"""

import sys
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torchvision import datasets, models, transforms


@torch.no_grad()
def main(arch: str, pictures: Path, file: Path) -> None:
    """Write a state_dict of torchvision's `arch` to `file`."""
    torch.manual_seed(0)
    network = models.get_model(arch, weights=None)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches
    transform = transforms.Compose([transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor()])
    data = datasets.ImageFolder(pictures, transform)
    for batch in islice(torch.utils.data.DataLoader(data, 16, shuffle=True), 4):
        network(batch[0] * 4 - 2)  # about the mean and the deviation of normalised pictures
    torch.save(network.state_dict(), file)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
