"""Figures over steps or time, with as many points as a page can show."""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision.debugger.job import Job
from byoc_vision.debugger.rules.base import LOSS
from byoc_vision.debugger.trial import Mode, Trial

#: Points of a curve: more than a screen has pixels for only make the file larger.
POINTS = 240


Bands = dict[str, list[float | None]]


def bands(x: NDArray[Any], y: NDArray[Any], points: int = POINTS) -> Bands:
    """Return at most `points` points of a curve, each with the mean, the least and the largest value around it."""
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if not len(x):
        return {}
    parts = [part for part in np.array_split(np.arange(len(x)), min(points, len(x))) if len(part)]
    return {
        "x": [_round(x[part].mean()) for part in parts],
        "mean": [_round(y[part].mean()) for part in parts],
        "least": [_round(y[part].min()) for part in parts],
        "most": [_round(y[part].max()) for part in parts],
    }


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def step_losses(trial: Trial) -> Bands:
    """Return the loss of every training step that was recorded, or of every step where modes were not told apart."""
    names = {name for names in set(trial.steps.values()) for name in names if re.search(LOSS, name)}
    for name in sorted(names):
        numbers = {step: trial.mode_step(step) for step, saved in trial.steps.items() if name in saved}
        points = [(number, step) for step, (mode, number) in numbers.items() if mode is Mode.TRAIN]
        points = sorted(points) or [(step, step) for step in sorted(numbers)]
        values = [(number, value) for number, step in points if (value := trial.value(name, step)) is not None]
        losses = [loss.item() if loss.size == 1 else loss.mean() for _, loss in values]
        if losses:
            return bands(np.array([number for number, _ in values], dtype=float), np.array(losses, dtype=float))
    return {}


def utilisation(job: Job) -> dict[str, Any]:
    """Return the course of each resource's utilisation in per cent over the minutes since the first sample."""
    system = job.profile.system
    if system is None:
        return {}
    minutes = (system.time - system.time.min()) / 60
    curves = {
        "CPU, mean of cores": system.cpu.mean(axis=1) if system.cpu.size else system.cpu[:, 0:0].sum(axis=1) + math.nan
    }
    if system.cpu.shape[1] > 1:
        curves["CPU, busiest core"] = system.cpu.max(axis=1)
    curves |= {"waiting for I/O": system.iowait, "memory": system.memory}
    for k in range(system.gpu.shape[1]):
        curves[f"GPU {k}"] = system.gpu[:, k]
    for k in range(system.gpu_memory.shape[1]):
        curves[f"GPU {k} memory"] = system.gpu_memory[:, k]
    content = {name: bands(minutes, values) for name, values in curves.items()}
    return {name: course for name, course in content.items() if course}
