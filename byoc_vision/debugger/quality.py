"""What the answers to the test pictures are worth: each class's figures, and whether probabilities can be trusted."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision.debugger.job import Prediction

#: Bins of equal width that the probabilities are sorted into, as in the paper that `calibration` names.
BINS = 15

#: The normal distribution's quantile for an interval that holds the true value 95 times of 100.
Z95 = 1.959964

#: Classes from which on the share of pictures whose class is among the most probable ones says something, and how many.
MANY, TOP = 10, 5

#: Accuracies that an answer may be wanted with.
GOALS = (0.8, 0.9, 0.95, 0.98, 0.99)

#: Points of the curve of accuracy against the share that is answered.
POINTS = 101


def interval(right: int, count: int) -> tuple[float, float]:
    """Return between which shares the true accuracy lies with 95 % confidence when `right` of `count` were right.

    Wilson's score interval (1927), which stays within 0 and 1 and holds for few pictures, too.
    """
    share, square = right / count, Z95**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def classes(rows: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return the figures of each class that has test pictures, the lowest accuracy first.

    accuracy: the share of the class's pictures that were predicted as it (its recall); low, high: its `interval`.
    precision: the share of the pictures predicted as the class that are of it, or None where there were none.
    f1: the harmonic mean of both.
    """
    asked = Counter(row.label for row in rows)
    answered = Counter(row.predicted for row in rows)
    right = Counter(row.label for row in rows if row.label == row.predicted)
    figures = []
    for label, count in asked.items():
        low, high = interval(right[label], count)
        figures.append(
            {
                "label": label,
                "count": count,
                "accuracy": right[label] / count,
                "low": low,
                "high": high,
                "precision": right[label] / answered[label] if answered[label] else None,
                "f1": 2 * right[label] / (count + answered[label]),
            }
        )
    return sorted(figures, key=lambda row: (row["accuracy"], -row["count"], row["label"]))


def overall(rows: Sequence[Prediction]) -> dict[str, Any]:
    """Return the figures of all test pictures together; none where there are no pictures.

    macro_f1: the mean of the F1 of the classes that have test pictures. See `calibration`, `coverage`, `thresholds`.
    """
    if not rows:
        return {}
    right = np.array([row.label == row.predicted for row in rows])
    probability = np.array([row.probability for row in rows])
    low, high = interval(int(right.sum()), len(rows))
    covered = coverage(right, probability)
    return {
        "pictures": len(rows),
        "accuracy": float(right.mean()),
        "low": low,
        "high": high,
        "macro_f1": float(np.mean([row["f1"] for row in classes(rows)])),
        "calibration": calibration(right, probability),
        "coverage": covered,
        "thresholds": thresholds(covered),
    }


def top_accuracy(probabilities: NDArray[np.float32], labels: Sequence[str], truth: Sequence[str]) -> float:
    """Return the share of pictures whose class is among the `TOP` most probable: of equal ones, the first are.

    `probabilities` [N, classes] have columns as `labels`; `truth` [N] is each picture's class.
    """
    place = {label: i for i, label in enumerate(labels)}
    wanted = np.array([place.get(label, -1) for label in truth])
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    return float((best == wanted[:, None]).any(axis=1).mean())


def thresholds(covered: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return [accuracy wanted, least probability, share answered, accuracy] for the `GOALS` that all answers miss.

    `covered` is what `coverage` gave: of its points the one that answers most counts. A goal that no point meets is
    left out.
    """
    points = []
    for goal in GOALS:
        if covered[-1][1] >= goal:
            continue
        if met := [point for point in covered if point[1] >= goal]:
            share, accuracy, least = met[-1]
            points.append([goal, least, share, accuracy])
    return points


def calibration(right: NDArray[np.bool_], probability: NDArray[np.float64]) -> dict[str, Any]:
    """Return the expected calibration error, and each bin's mean probability, accuracy and number of pictures.

    The error is the mean distance of the two, by number of pictures: Guo et al., On Calibration of Modern Neural
    Networks (2017), equation 3. `right` [N] says which answers were, `probability` [N] what the network gave them.
    """
    place = np.clip(np.ceil(probability * BINS).astype(int) - 1, 0, BINS - 1)
    bins, error = [], 0.0
    for i in range(BINS):
        inside = place == i
        count = int(inside.sum())
        if count:
            bins.append([float(probability[inside].mean()), float(right[inside].mean()), count])
            error += count / len(right) * abs(bins[-1][0] - bins[-1][1])
    return {"error": error, "bins": bins}


def coverage(right: NDArray[np.bool_], probability: NDArray[np.float64]) -> list[list[float]]:
    """Return [share answered, accuracy of these, least probability] where only the surest answers are given.

    The shares are at most `POINTS`, at equal distances; answers of one probability are given together.
    """
    order = np.argsort(-probability, kind="stable")
    probability, right = probability[order], right[order]
    ends = np.flatnonzero(np.append(probability[1:] < probability[:-1], True)) + 1
    chosen = np.unique(np.searchsorted(ends, np.linspace(1, len(right), POINTS)))
    accuracy = np.cumsum(right).tolist()
    return [[end / len(right), accuracy[end - 1] / end, float(probability[end - 1])] for end in ends[chosen].tolist()]
