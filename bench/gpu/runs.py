"""Training runs for the checks: `train.run.Run` as a job has it, and the same in a process that sees no GPU."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from bench.gpu.setting import Setting
from bench.machine import same_program
from bench.pictures import files
from byoc_vision.contract import job
from byoc_vision.contract.hyperparameters import Settings, as_text
from byoc_vision.debugger import profile
from byoc_vision.debugger.profile import Profile
from classifier import network
from classifier.pictures import decode
from classifier.preprocessing import Preprocessing
from train.run import Run
from train.stopping import StopSignal


@dataclass(frozen=True)
class Left:
    """What a run has left in `folder`."""

    folder: Path

    @property
    def metrics(self) -> dict[str, Any]:
        """Its figures."""
        content: dict[str, Any] = json.loads((self.folder / "output" / job.METRICS).read_text(encoding="utf-8"))
        return content

    @property
    def losses(self) -> list[float]:
        """The training loss of each epoch."""
        return [epoch["train_loss"] for epoch in self.metrics["history"]]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The model's tensors, on the CPU."""
        return load_file(self.folder / "model" / "model.safetensors")

    @property
    def profile(self) -> Profile:
        """How the machine was used."""
        return profile.read(self.folder / "output" / job.PROFILE)


class StopAfter(StopSignal):
    """Asks for a stop when it has been looked for so many times."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def requested(self) -> bool:  # type: ignore[override]
        """Whether a stop was asked for."""
        self.left -= 1
        return self.left < 0


def settings(setting: Setting, **chosen: Any) -> Settings:
    """Return the settings of a short run."""
    common: dict[str, Any] = {
        "arch": setting.small,
        "image_size": setting.side,
        "epochs": setting.epochs,
        "batch_size": setting.batch,
        "test_batch_size": setting.batch,
        "precision": "float32",
        "export": False,
        "report": False,
        "workers": None if setting.gpus else 0,
    }
    return Settings(**{**common, **chosen})


def weights(setting: Setting, arch: str) -> Path:
    """Return a file of random weights of `arch` that behave like trained ones, made once.

    Without batch normalisation that has seen something, activations grow beyond what 16 bits can hold.
    """
    setting.scratch.mkdir(parents=True, exist_ok=True)
    file = setting.scratch / f"{arch}.pth"
    if file.exists():
        return file
    torch.manual_seed(0)
    net = network.build(arch, 1000).to(setting.device)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches
    with torch.no_grad():
        for _ in range(4):
            soft = functional.interpolate(torch.randn(16, 3, 8, 8), setting.side, mode="bicubic")
            net((soft + 0.2 * torch.randn_like(soft).clamp(-2, 2)).to(setting.device))
    torch.save({name: tensor.cpu() for name, tensor in net.state_dict().items()}, file)
    return file


def run(setting: Setting, name: str, stop: StopSignal | None = None, data: Path | None = None, **chosen: Any) -> Run:
    """Return a run that leaves its results in the folder `name`."""
    out = setting.folder(name)
    return Run(
        settings=settings(setting, **chosen),
        channels={"training": data or setting.data},
        weights=weights(setting, chosen.get("arch", setting.small)),
        model=out / "model",
        output=out / "output",
        checkpoints=out / "checkpoints",
        stop=stop or StopSignal(),
        report=quiet,
    )


def pixels(setting: Setting, preprocessing: Preprocessing, count: int) -> NDArray[np.uint8]:
    """Return the pixels of some validation pictures, of all classes: uint8 [N, 3, S, S]."""
    chosen = files(setting.data / "valid")
    chosen = chosen[:: max(1, len(chosen) // count)][:count]
    return np.stack([preprocessing.pixels(decode(file, preprocessing.enough)) for file in chosen])


def trained(setting: Setting, name: str, **chosen: Any) -> Left:
    """Train here, on the GPU where there is one, and return what is left."""
    run(setting, name, **chosen)()
    return Left(setting.folder(name))


def trained_on_cpu(setting: Setting, name: str, **chosen: Any) -> Left:
    """Train in a process that sees no GPU, and return what is left; where there is none, train here."""
    if not setting.gpus:
        return trained(setting, name, **chosen)
    out = setting.folder(name)
    options = [f"--{key}={value}" for key, value in as_text(settings(setting, **chosen)).items() if value != "preset"]
    command = [sys.executable, "-m", "train", "--data", str(setting.data), "--out", str(out), *options]
    command += ["--weights", str(weights(setting, chosen.get("arch", setting.small)))]
    environment = same_program(CUDA_VISIBLE_DEVICES="")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip() or "train failed").splitlines()[-1])
    return Left(out)


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return how far two networks' weights are apart: root mean square, as a share of that of the weights."""
    names = [name for name, tensor in one.items() if tensor.is_floating_point()]
    squares = sum(float(((one[name].double() - other[name].double()) ** 2).sum()) for name in names)
    whole = sum(float((one[name].double() ** 2).sum()) for name in names)
    return float(np.sqrt(squares / whole))


def quiet(line: str) -> None:
    """Write what a run says into the group's log."""
    print(f"  {line}", file=sys.stderr)
