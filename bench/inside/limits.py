"""How fast the two halves of feature extraction are alone: `python -m bench.inside.limits ARCH DATA`.

Prints pictures per second of decoding (and resizing) in a process a core, and of the network on tensors that are ready.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch

from classifier import network
from train import data
from train.batches import Order, PictureBatches

#: Pictures in a batch, and batches that the network is timed on.
BATCH, BATCHES = 64, 4


def main(arch: str, folder: Path) -> dict[str, float]:
    """Return the pictures per second of "decoding" and of the "network"."""
    split = data.find({"training": folder}, 0.1, 0.1, 0).train
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    preprocessing = network.preset(arch)
    batches = PictureBatches(split, preprocessing, Order(len(split), BATCH), len(os.sched_getaffinity(0)), device)
    for _ in batches.pixels():  # starts the processes
        pass
    begun = time.monotonic()
    done = sum(len(pixels) for pixels, _ in batches.pixels())
    decoding = done / (time.monotonic() - begun)

    side = preprocessing.crop_size
    inputs = torch.randn(BATCH, 3, side, side, device=device).to(memory_format=torch.channels_last)
    net = network.build(arch, len(set(split.targets))).eval().to(device)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        net(inputs).sum().item()
        begun = time.monotonic()
        for _ in range(BATCHES):
            net(inputs).sum().item()
    return {"decoding": decoding, "network": BATCH * BATCHES / (time.monotonic() - begun)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
