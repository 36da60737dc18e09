"""Make of an artifact what users deploy today: `python -m bench.inside.users_model MODEL OUT`.

The same weights as a `model.pth`, with their `code/inference.py`.
"""

import shutil
import sys
from pathlib import Path

import torch

from bench import baseline
from classifier import artifact

if __name__ == "__main__":
    model, out = map(Path, sys.argv[1:])
    (out / "code").mkdir(parents=True)
    torch.save(artifact.load(model).network.state_dict(), out / "model.pth")
    shutil.copy(Path(baseline.__file__).with_name("inference.py"), out / "code")
