"""Output folders of jobs for the tests, written with smdebug's own writer."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from smdebug.core.access_layer import training_has_ended
from smdebug.core.modes import ModeKeys
from smdebug.core.reduction_config import ReductionConfig
from smdebug.core.reductions import get_reduction_tensor_name
from smdebug.core.writer import FileWriter
from smdebug.pytorch.collection import CollectionManager

from byoc_vision.debugger.trial import Mode
from train.record.managed_hook import Array

TRAIN, EVAL, GLOBAL = Mode.TRAIN, Mode.EVAL, Mode.GLOBAL
LOSS = "CrossEntropyLoss_output_0"
HOSTILE = "<script>alert(1)</script>"

#: Reductions of the hook's default: name, of absolute values.
REDUCTIONS = {
    ("mean", False): np.mean,
    ("std", False): np.std,
    ("min", False): np.min,
    ("max", False): np.max,
    ("mean", True): lambda values: np.mean(np.abs(values)),
    ("l2", False): lambda values: np.sqrt(np.sum(np.square(values))),
}


class Recorder:
    """Writes an smdebug folder step by step, each tensor in full or as its reductions."""

    def __init__(self, folder: Path, worker: str = "worker_0", collections: Mapping[str, Sequence[str]] | None = None):
        self.folder, self.worker, self.step = str(folder), worker, 0
        self.mode_steps = {TRAIN: 0, EVAL: 0, GLOBAL: 0}
        manager = CollectionManager()
        for name, patterns in (collections or {}).items():
            manager.get(name).include(list(patterns))
        for collection in manager.get_collections().values():
            collection.reduction_config = ReductionConfig()
        manager.export(self.folder, f"{worker}_collections.json")

    def save(self, tensors: Mapping[str, Any], mode: Mode = TRAIN, at: int | None = None, reduced: bool = False) -> int:
        """Write a step (the next one, or number `at`) and return its global number."""
        step = self.step if at is None else at
        mode_step = step if mode is GLOBAL or at is not None else self.mode_steps[mode]
        writer = FileWriter(trial_dir=self.folder, step=step, worker=self.worker)
        for name, value in tensors.items():
            values = np.asarray(value).view(Array)
            if values.dtype == np.float64:
                values = values.astype(np.float32) if reduced else values
            if not reduced or name == LOSS:
                writer.write_tensor(values, name, mode=ModeKeys(mode.value), mode_step=mode_step)
                continue
            for (reduction, absolute), function in REDUCTIONS.items():
                tensor = get_reduction_tensor_name(name, reduction, absolute)
                writer.write_tensor(
                    np.asarray(function(values)).view(Array), tensor, mode=ModeKeys(mode.value), mode_step=mode_step
                )
        writer.flush()
        writer.close()
        self.step = step + 1
        self.mode_steps[mode] += 1
        return step

    def end(self) -> None:
        """Write the mark smdebug waits for."""
        training_has_ended(self.folder)


def write_system(out: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Write `profile/system.csv`; columns may be constants, then `time` gives their length."""
    (out / "profile").mkdir(parents=True, exist_ok=True)
    with (out / "profile" / "system.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


def write_steps(out: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write `profile/steps.csv`: step, epoch, mode, begin, data, forward, backward, optimizer."""
    (out / "profile").mkdir(parents=True, exist_ok=True)
    with (out / "profile" / "steps.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", "epoch", "mode", "begin", "data", "forward", "backward", "optimizer"])
        table.writerows(rows)


def write_run(out: Path, **content: object) -> None:
    """Write `profile/run.json`."""
    (out / "profile").mkdir(parents=True, exist_ok=True)
    (out / "profile" / "run.json").write_text(json.dumps(content))


def write_predictions(out: Path, rows: Sequence[tuple[str, str, str, float]]) -> None:
    """Write `predictions.csv`."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "predicted", "probability"])
        table.writerows(rows)


def whole_job(out: Path, labels: tuple[str, ...] = ("cat", "dog", HOSTILE)) -> Path:
    """Write all a job leaves; beside it the model and the pictures."""
    recorder = Recorder(out / "debugger")
    for i in range(12):
        mode = EVAL if i % 4 == 3 else TRAIN
        loss = np.float32(2 * 0.8**i)
        recorder.save({LOSS: loss, "gradient/Net_fc.weight": np.array([-1.0, 1.0])}, mode, reduced=True)
    history = [
        {"train_loss": 1.0 / e, "validation_loss": 1.1 / e, "validation_accuracy": 1 - 0.5 / e} for e in (1, 2, 3)
    ]
    content = {**history[-1], "best_epoch": 3, "epochs": 3, "test_accuracy": 0.75, "test_loss": 0.5, "seconds": 61.0}
    content |= {"history": history, "pictures": {"train": 12}, "unreadable": {HOSTILE + ".jpg": "broken"}}
    (out / "metrics.json").write_text(json.dumps(content))
    rows = [(f"{HOSTILE}/a.jpg", labels[0], labels[-1], 0.9), ("b.jpg", labels[0], labels[0], 0.8)]
    write_predictions(
        out, [*rows, ("../../secret.jpg", labels[1], labels[0], 0.99), ("c.jpg", labels[1], labels[1], 0.7)]
    )
    time = np.arange(20) / 2
    write_system(out, {"time": time, "cpu_0": 40 + time, "cpu_1": 50 + time, "iowait": time, "memory": time + 20})
    write_steps(out, [[i, 1, "eval" if i % 4 == 3 else "train", i, 0.1, 0.2, 0.3, 0.1] for i in range(12)])
    write_run(out, started=0.0, first_step=2.5, cores=2, workers=2, device="cpu", precision="float32", gpus=[])
    model, pictures = out.parent / "model", out.parent / "pictures"
    model.mkdir()
    description = {
        "labels": labels,
        "settings": {"lr": 0.1, "arch": HOSTILE, "clip_gradient": 0, "export": True, "workers": None},
        "versions": {"torch": "2.10"},
    }
    (model / "model.json").write_text(json.dumps(description))
    pictures.mkdir()
    folder = pictures / HOSTILE.partition("/")[0]
    (folder / "script>").mkdir(parents=True)
    Image.new("RGB", (400, 300), "red").save(folder / "script>" / "a.jpg")
    Image.new("RGB", (40, 30)).save(out.parent / "secret.jpg")
    return out
