"""Real small runs, each broken on purpose in one way: the rule for it fires and says why."""

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch import nn

from byoc_vision.contract.hyperparameters import Settings
from byoc_vision.debugger.__main__ import main
from classifier import network
from train.batches import FeatureBatches
from train.fit import DivergedError
from train.record import utilisation
from train.record.step_times import StepClock
from train.run import Run

#: Small enough for seconds, with ReLUs and batch normalisation.
SMALL = {
    "arch": "resnet18",
    "train_layers": "all",
    "pretrained": False,
    "image_size": 32,
    "batch_size": 8,
    "workers": 0,
    "export": False,
}

Weights = dict[str, torch.Tensor]
Judged = Callable[..., dict[str, Any]]


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    """Return a function that runs a job and returns its report's verdicts by rule."""

    def run(pictures: Path, weights: Weights | None = None, /, **settings: Any) -> dict[str, Any]:
        file = tmp_path / "weights.pth"
        if weights is not None:
            torch.save(weights, file)
        output = tmp_path / "output"
        job = Run(
            settings=Settings(**{**SMALL, "pretrained": weights is not None, **settings}),
            channels={"training": pictures},
            weights=file if weights is not None else None,
            model=tmp_path / "model",
            output=output,
            checkpoints=tmp_path / "checkpoints",
            report=lambda line: None,
        )
        try:
            job()
        except DivergedError:
            assert settings["lr"] == 100
        return report(output, tmp_path / "model")

    return run


def report(output: Path, model: Path) -> dict[str, Any]:
    assert main([str(output), "--model", str(model)]) == 0
    rules = json.loads((output / "report.json").read_text())["rules"]
    return {rule["Rule"]: rule for rule in rules}


def issue(verdict: dict[str, Any]) -> str:
    """Return why the rule has fired."""
    assert verdict["RuleEvaluationStatus"] == "IssuesFound", verdict
    assert verdict["Advice"]
    return str(verdict["StatusDetails"])


def weights(seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    return network.build("resnet18", 3).state_dict()


def noise(folder: Path, **counts: int) -> Path:
    """Draw `counts` pictures of noise of each class: there is nothing to learn but each by heart."""
    generator = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_dead_relus(judged, draw_classes):
    """A bias so low that nothing comes through."""
    broken = weights()
    broken["layer1.0.bn1.bias"].fill_(-100)
    found = judged(draw_classes("pictures"), broken, epochs=1)
    assert "relu_activity/layer1.0.relu at step 0: 100 % of its units are dead; threshold 50" in issue(
        found["DeadRelu"]
    )


def test_weights_that_start_at_zero(judged, draw_classes, monkeypatch):
    build = network.build

    def zeros(arch: str, classes: int) -> nn.Module:
        built = build(arch, classes)
        for parameter in built.parameters():
            nn.init.zeros_(parameter)
        return built

    monkeypatch.setattr(network, "build", zeros)
    found = judged(draw_classes("pictures"), epochs=1)
    assert "mean absolute value 0; threshold 1e-07" in issue(found["VanishingGradient"])
    said = issue(found["PoorWeightInitialization"])
    assert "relu_input_0 at step 0: does not vary, nor does any other; threshold 10" in said


def test_pretrained_weights_are_not_taken_for_an_initialisation(judged, draw_classes):
    """The layers of a trained network differ far more than those of a well initialised one."""
    trained = weights()
    trained["layer1.0.bn1.weight"].fill_(100)
    found = judged(draw_classes("pictures"), trained, epochs=1)["PoorWeightInitialization"]
    assert not found["Applicable"] and "pretrained" in found["StatusDetails"]


def test_a_learning_rate_that_explodes(judged, draw_classes):
    plain = {"arch": "squeezenet1_1", "image_size": 64}  # Batch normalisation would tame it.
    found = judged(draw_classes("pictures"), **plain, optimizer="sgd", lr=100, epochs=3)
    said = issue(found["ExplodingTensor"])
    assert "NaN among its values" in said or "infinity among its values" in said


def test_a_learning_rate_that_moves_nothing(judged, draw_classes):
    settings = {"train_layers": "head", "lr": 1e-8, "schedule": "constant", "epochs": 12, "patience": 0}
    found = judged(draw_classes("pictures"), weights(), **settings)
    assert "loss at step 21: down 0" in issue(found["LossNotDecreasing"])
    assert "nothing better than" in issue(found["Overtraining"])


def test_pictures_learnt_by_heart(judged, tmp_path):
    found = judged(noise(tmp_path / "pictures", cat=16, dog=16), lr=0.003, epochs=6, label_smoothing=0)
    assert "above training" in issue(found["Overfit"])


def test_a_rare_class(judged, tmp_path):
    for split, many, few in (("train", 11, 2), ("validation", 2, 2), ("test", 33, 3)):
        noise(tmp_path / "pictures" / split, cat=many, dog=few)
    found = judged(tmp_path / "pictures", epochs=1)
    said = issue(found["ClassImbalance"])
    assert "class cat is 11 times as frequent (33) as class dog (3); threshold 10" in said


def test_steps_that_wait_for_their_data(judged, draw_classes, monkeypatch):
    """A millisecond passes between two looks at the clock, but a second before one batch of every epoch."""
    clock, epoch = itertools.count(step=0.001), FeatureBatches.epoch

    def stutter(self, number, skip=0):
        for i, batch in enumerate(epoch(self, number, skip)):
            if i == 1:
                all(itertools.islice(clock, 1, 1000))
            yield batch

    monkeypatch.setattr(FeatureBatches, "epoch", stutter)
    monkeypatch.setattr(StepClock, "_now", lambda self: next(clock))
    settings = {"train_layers": "head", "batch_size": 1, "epochs": 16, "patience": 0}
    found = judged(draw_classes("pictures", count=20), weights(), **settings)
    assert "1 s, the longest of 15 such train steps (median 0.004 s)" in issue(found["StepOutlier"])


def test_no_loader_workers(judged, draw_classes):
    found = judged(draw_classes("pictures"), epochs=1)
    assert f"0 workers for {psutil.cpu_count()} cores; threshold 70" in issue(found["Dataloader"])


def test_a_start_that_takes_too_long(judged, draw_classes, monkeypatch):
    began = utilisation.began()
    monkeypatch.setattr(utilisation, "began", lambda: began - 25 * 60)
    found = judged(draw_classes("pictures"), epochs=1)
    assert "minutes to the first step; threshold 20" in issue(found["MaxInitializationTime"])


SAMPLES = 1500

#: Rule -> what the profiler would have sampled of a job with GPUs, and what the rule then says.
UTILISATION = {
    "LowGPUUtilization": ({"gpu_0": 6}, "GPU 0: under-used, p95 6 %"),
    "CPUBottleneck": ({"gpu_0": 5, "cpu_0": 97}, "CPU: above 90 % while a GPU is below 10 %, in 100 % of the samples"),
    "IOBottleneck": ({"gpu_0": 30, "iowait": 80}, "waiting for I/O: above 50 % while a GPU is below 70 %"),
    "BatchSize": ({"gpu_0": 40, "gpu_memory_0": 12}, "GPU 0: p95 40 %, memory 12 %, CPU 30 %"),
    "GPUMemoryIncrease": ({"gpu_memory_0": np.linspace(5, 95, SAMPLES)}, "GPU 0: memory up by 30 points"),
    "LoadBalancing": ({"gpu_1": 3, "gpu_memory_1": 85}, "GPU 0 and GPU 1: Jensen-Shannon distance of the loads 0.833"),
}


def test_gpus_that_wait(judged, draw_classes, tmp_path):
    """Utilisation as of a job with GPUs is put in place of what was sampled."""
    judged(draw_classes("pictures"), epochs=1)
    busy = {"time": 0, "cpu_0": 30, "iowait": 1, "memory": 20, "gpu_0": 95, "gpu_memory_0": 85}
    for rule, (broken, why) in UTILISATION.items():
        columns = {name: np.broadcast_to(value, SAMPLES) for name, value in {**busy, **broken}.items()}
        with (tmp_path / "output" / "profile" / "system.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(columns)
            rows.writerows(zip(*columns.values(), strict=True))
        found = report(tmp_path / "output", tmp_path / "model")
        assert why in issue(found[rule])
        assert rule in issue(found["ProfilerReport"]) or len(found["ProfilerReport"]["Findings"]) > 1
