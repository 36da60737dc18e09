"""Reads a job's output folder into one object, whatever state the job left it in."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.job import (
    COPIES_SHOWN,
    COPY_GROUPS_SHOWN,
    CURVES,
    HEAT_MAPS,
    METRICS,
    MODEL,
    PREDICTIONS,
    PROBABILITIES,
    PROFILE,
)
from byoc_vision.debugger import profile
from byoc_vision.debugger.profile import Profile, Series


@dataclass(frozen=True)
class Prediction:
    """What the finished model said of a test picture; `probability` is that of the predicted class."""

    file: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Copies:
    """Groups of pictures that are copies of one another: how many, and the first of them.

    A picture has `file`, `label` and `split`. `partly` counts pictures that were not compared with all that look like
    them.
    """

    across_splits: int = 0
    label_conflicts: int = 0
    groups: list[list[dict[str, str]]] = field(default_factory=list)
    partly: int = 0


@dataclass(frozen=True)
class HeatMap:
    """What in a picture spoke for its answer: `values` [H, W] from 0 to 255, of the middle of the picture.

    That is a square whose side is the share `crop` of the picture's shorter side.
    """

    values: NDArray[np.uint8]
    crop: float


@dataclass(frozen=True, eq=False)
class Job:
    """What a job left. `missing` says in sentences what it did not leave, or left broken.

    probabilities: of all classes for each of `predictions`, [N, classes], columns as the model's labels; None where
        there are none. heat_maps: by file, of some of the pictures that were answered wrongly.

    Of a script of the user's own, `curves` has the figures in the lines that it printed: name -> readings [N, 2], their
    numbers and values.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    probabilities: NDArray[np.float32] | None = None
    heat_maps: dict[str, HeatMap] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    profile: Profile = field(default_factory=Profile)
    curves: dict[str, Series] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def best_epoch(self) -> int | None:
        """The epoch (from 1) whose weights the model has."""
        best = self.metrics.get("best_epoch")
        return best if isinstance(best, int) and 1 <= best <= len(self.history) else None

    @property
    def copies(self) -> Copies:
        """The pictures that the data has twice, as far as the job has told."""
        try:
            counts = self.metrics["copies"]
            groups = [
                [{key: str(picture[key]) for key in ("file", "label", "split")} for picture in group[:COPIES_SHOWN]]
                for group in counts["groups"][:COPY_GROUPS_SHOWN]
            ]
            partly = int(counts.get("partly", 0))  # jobs of earlier versions have none
            return Copies(int(counts["across_splits"]), int(counts["label_conflicts"]), groups, partly)
        except (KeyError, TypeError, ValueError, OverflowError):
            return Copies()

    @property
    def fine_tuned(self) -> bool:
        """Whether more than the head was trained, from pretrained weights, as far as the model's settings tell."""
        settings = self.model.get("settings")
        known = settings if isinstance(settings, dict) else {}
        return known.get("pretrained") is True and known.get("train_layers") in ("last-block", "all")

    @property
    def labels(self) -> list[str]:
        """The classes, in the model's order where it is known, else sorted."""
        known = _labels(self.model)
        names = {label for row in self.predictions for label in (row.label, row.predicted)}
        return known + sorted(names - set(known))


def read(output: Path, model: Path | None = None) -> Job:
    """Return what is in the job's `output` folder, and in its `model` folder; never raises for what is not."""
    recorded = profile.read(output / PROFILE)
    if recorded.script:
        missing = list(recorded.missing)
        return Job(profile=recorded, curves=_curves(output / PROFILE / CURVES, missing), missing=tuple(missing))
    missing = []
    metrics = profile.read_json(output / METRICS, f"{METRICS}, with the curves and the figures of the test,", missing)
    description = profile.read_json(model / MODEL, f"{MODEL}, with settings and versions,", missing) if model else {}
    if model is None:
        missing.append("Settings and versions are the model's, which was not given.")
    history = metrics.get("history")
    predictions = _predictions(output / PREDICTIONS, missing)
    shape = len(predictions), len(_labels(description))
    return Job(
        metrics,
        [_figures(epoch) for epoch in history if isinstance(epoch, dict)] if isinstance(history, list) else [],
        predictions,
        _probabilities(output / PROBABILITIES, shape, missing),
        _heat_maps(output / HEAT_MAPS, missing),
        description,
        recorded,
        missing=(*missing, *recorded.missing),
    )


def _labels(model: dict[str, Any]) -> list[str]:
    listed = model.get("labels")
    return [str(label) for label in listed] if isinstance(listed, list) else []


def _probabilities(file: Path, shape: tuple[int, int], missing: list[str]) -> NDArray[np.float32] | None:
    """Return the table of all probabilities; a job need not leave one, and it says nothing without the labels."""
    if not (file.exists() and all(shape)):
        return None
    try:
        table: NDArray[np.float32] = np.load(file, allow_pickle=False)
        if table.shape == shape and table.dtype.kind == "f" and np.isfinite(table).all():
            return table
        said = f"does not fit {PREDICTIONS} and the model's classes"
    except (OSError, ValueError, EOFError):
        said = "is damaged"
    missing.append(f"{PROBABILITIES}, with the probabilities of all classes, {said} and is left out.")
    return None


def _heat_maps(file: Path, missing: list[str]) -> dict[str, HeatMap]:
    """Return the heat maps, which a job need not leave."""
    if not file.exists():
        return {}
    content = profile.read_json(file, f"{HEAT_MAPS}, with what the network looked at,", missing)
    try:
        crop = float(content["crop"])
        maps = {str(name): HeatMap(np.array(rows, np.uint8), crop) for name, rows in content["maps"].items()}
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        missing.extend([f"{HEAT_MAPS} is damaged."] if content else [])
        return {}
    whole = 0 < crop <= 1 and all(map_.values.ndim == 2 and map_.values.size for map_ in maps.values())
    return maps if whole else {}


def _curves(file: Path, missing: list[str]) -> dict[str, Series]:
    curves: dict[str, list[tuple[float, float]]] = {}
    try:
        with file.open(newline="", encoding="utf-8", errors="replace") as lines:
            for row in csv.DictReader(lines):
                try:
                    curves.setdefault(row["name"], []).append((float(row["reading"]), float(row["value"])))
                except (KeyError, TypeError, ValueError):
                    continue
    except FileNotFoundError:
        missing.append("The script printed no figure more than once, so that there are no curves of figures.")
    except (OSError, csv.Error):
        missing.append(f"{file.name}, with the figures that the script printed, is damaged.")
    return {name: np.array(readings) for name, readings in curves.items()}


def finite(value: object) -> bool:
    """Return whether a value is a number one can draw."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _figures(epoch: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in epoch.items() if finite(value)}


def _predictions(file: Path, missing: list[str]) -> list[Prediction]:
    rows, broken = [], 0
    try:
        # A spreadsheet that has stored the table again marks it as UTF-8.
        with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
            for row in csv.DictReader(line.replace("\0", "") for line in lines):
                try:
                    chance = float(row["probability"])
                    if not 0 <= chance <= 1 or None in (row["file"], row["label"], row["predicted"]):
                        raise ValueError("no probability, or no name")
                    rows.append(Prediction(row["file"], row["label"], row["predicted"], chance))
                except (KeyError, TypeError, ValueError):
                    broken += 1
    except FileNotFoundError:
        missing.append(f"{PREDICTIONS}, with the prediction for every test picture, was not written.")
        return []
    except (OSError, csv.Error):
        broken += 1
    if broken:
        missing.append(f"{PREDICTIONS}: {broken} rows are broken and left out.")
    elif not rows:
        missing.append(f"{PREDICTIONS} is empty.")
    return rows
