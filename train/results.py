"""What a run leaves beside the model: its figures, and what it said of each test picture."""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from byoc_vision.contract import job
from classifier.artifact import whole, write_text
from train.data import Data
from train.evaluation import Evaluation


def write_predictions(folder: Path, data: Data, tested: Evaluation) -> None:
    """Write `predictions.csv` into `folder`, a row for each test picture: file, label, predicted, probability.

    Beside it `probabilities.npy` [N, classes], if `tested` has those of all classes.
    """
    answers = data.test.names, data.test.targets, tested.predicted.tolist(), tested.probability.tolist()
    with whole(folder / job.PREDICTIONS) as path, path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(job.PREDICTION_COLUMNS)
        for name, target, predicted, probability in zip(*answers, strict=True):
            rows.writerow([name, data.labels[target], data.labels[predicted], f"{probability:.6f}"])
    if tested.probabilities is not None:
        with whole(folder / job.PROBABILITIES) as path, path.open("wb") as binary:
            np.save(binary, tested.probabilities.numpy(), allow_pickle=False)


def most_wrong(data: Data, tested: Evaluation) -> list[int]:
    """Return the positions of the test pictures that were answered wrongly and that the report shows, surest first."""
    rows = zip(tested.predicted.tolist(), data.test.targets, strict=True)
    wrong = [i for i, (predicted, target) in enumerate(rows) if predicted != target]
    # By the rounded probability, which is all that the report knows.
    return sorted(wrong, key=lambda i: -round(tested.probability[i].item(), 6))[: job.WRONG_SHOWN]


def _kinds(kinds: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return how many pictures there are of each format and mode, the most frequent first, and of each size."""
    formats, modes, sizes = Counter[str](), Counter[str](), Counter[int]()
    for kind, count in kinds.items():
        form, mode, size = kind.split()
        formats[form] += count
        modes[mode] += count
        sizes[int(size)] += count
    return {
        "formats": dict(formats.most_common()),
        "modes": dict(modes.most_common()),
        "shorter_sides": {str(size): sizes[size] for size in sorted(sizes)},
    }


def write_metrics(folder: Path, data: Data, figures: Mapping[str, object]) -> None:
    """Write `metrics.json` into `folder`: the figures, and how many pictures each split, class and kind has."""
    content = {**figures, "pictures": {name: len(split) for name, split in data.splits.items()}}
    columns = {name: Counter(split.targets) for name, split in data.splits.items()}
    content["pictures_of_classes"] = {
        label: {name: column[target] for name, column in columns.items()} for target, label in enumerate(data.labels)
    }
    content["kinds_of_pictures"] = _kinds(data.kinds)
    content["left_out"] = list(data.lines)
    write_text(folder / job.METRICS, json.dumps(content, indent=2, ensure_ascii=False))
