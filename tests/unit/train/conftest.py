"""Small runs: three colours, a small network, seconds."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sagemaker_training import environment

from byoc_vision.contract.hyperparameters import Settings
from classifier import network
from train import sagemaker
from train.run import Report, Run
from train.stopping import StopSignal

SMALL = {
    "arch": "mobilenet_v3_small",  # has dropout and batch normalisation: state that a careless resume would lose
    "pretrained": False,
    "train_layers": "all",
    "image_size": 32,
    "epochs": 3,
    "batch_size": 4,
    "workers": 0,
    "max_unreadable": 0.0,
    "precision": "float32",  # the preset is the machine's
    "export": False,
}

MakeRun = Callable[..., Run]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return "pretrained" weights: ResNet-18's random features tell colours apart well enough."""
    torch.manual_seed(7)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.build("resnet18", 10).state_dict(), file)
    return file


@pytest.fixture
def make_run(tmp_path: Path, draw_classes: Callable[..., Path]) -> MakeRun:
    """Return a function that makes a run over drawn pictures; its results go to `tmp_path / out`."""
    pictures = draw_classes("pictures", count=8)

    def make(
        out: str = "out",
        weights: Path | None = None,
        stop: StopSignal | None = None,
        report: Report = lambda line: None,
        hook_configuration: Path | None = None,
        **settings: Any,
    ) -> Run:
        return Run(
            settings=Settings(**{**SMALL, **settings}),
            channels={"training": pictures},
            weights=weights,
            model=tmp_path / out / "model",
            output=tmp_path / out / "output",
            checkpoints=tmp_path / out / "checkpoints",
            stop=stop or StopSignal(),
            report=report,
            hook_configuration=hook_configuration,
        )

    return make


@pytest.fixture
def opt_ml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder laid out like /opt/ml, which sagemaker-training and the entry take for that."""
    for name in [name for name in os.environ if name.startswith(("SM_", "SAGEMAKER_"))]:
        monkeypatch.delenv(name)
    root = tmp_path / "ml"
    for folder in ("input/config", "input/data/training", "model", "output/data", "code"):
        (root / folder).mkdir(parents=True)
    configuration: dict[str, dict[str, Any]] = {
        "hyperparameters": {},
        "inputdataconfig": {"training": {"TrainingInputMode": "File"}},
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"},
    }
    for name, content in configuration.items():
        (root / "input/config" / f"{name}.json").write_text(json.dumps(content))
        key = {"hyperparameters": "hyperparameters", "inputdataconfig": "input_data_config"}.get(
            name, "resource_config"
        )
        monkeypatch.setattr(environment, f"{key}_file_dir", str(root / "input/config" / f"{name}.json"))
    monkeypatch.setattr(environment, "output_data_dir", str(root / "output/data"))
    monkeypatch.setattr(environment, "model_dir", str(root / "model"))
    monkeypatch.setattr(environment, "_input_data_dir", str(root / "input/data"))
    monkeypatch.setattr(sagemaker, "ROOT", root)
    for name in ("output_dir", "input_dir", "input_config_dir"):
        monkeypatch.setattr(
            environment, name, str(root / name.removesuffix("_dir").replace("input_config", "input/config"))
        )
    monkeypatch.setattr(StopSignal, "listen", lambda self: None)
    return root
