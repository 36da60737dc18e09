"""Small runs: three colours, a small network, seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.contract.hyperparameters import Settings
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
