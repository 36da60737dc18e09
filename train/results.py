"""What a run leaves beside the model: its figures, and what it said of each test picture."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from byoc_vision.contract import job
from classifier.artifact import write_whole
from train.data import Data
from train.evaluation import Evaluation


def write_predictions(folder: Path, data: Data, tested: Evaluation) -> None:
    """Write `predictions.csv` into `folder`, a row for each test picture: file, label, predicted, probability."""

    def write(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(job.PREDICTION_COLUMNS)
            predicted, probability = tested.predicted.tolist(), tested.probability.tolist()
            for i, name in enumerate(data.test.names):
                label = data.labels[data.test.targets[i]]
                rows.writerow([name, label, data.labels[predicted[i]], f"{probability[i]:.6f}"])

    write_whole(folder / job.PREDICTIONS, write)


def write_metrics(folder: Path, data: Data, figures: Mapping[str, object]) -> None:
    """Write `metrics.json` into `folder`: the figures, and how many pictures each split has."""
    content = {**figures, "pictures": {name: len(split) for name, split in data.splits.items()}}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_whole(folder / job.METRICS, lambda path: path.write_text(text, encoding="utf-8"))
