"""The figures of the test pictures, against those of scikit-learn, SciPy and the papers."""

import numpy as np
import pytest

from byoc_vision.debugger import quality
from byoc_vision.debugger.job import Prediction

LABELS = ["ant", "ant", "ant", "ant", "bee", "bee", "bee", "cat", "cat", "dog"]
PREDICTED = ["ant", "ant", "bee", "cat", "bee", "bee", "ant", "cat", "ant", "cat"]
ROWS = [Prediction(f"{i}.jpg", *row, 0.5) for i, row in enumerate(zip(LABELS, PREDICTED, strict=True))]


def test_classes_as_scikit_learn_has_them() -> None:
    """precision_recall_fscore_support of scikit-learn 1.7, where dog is never predicted."""
    figures = {row["label"]: row for row in quality.classes(ROWS)}
    assert list(figures) == ["dog", "ant", "cat", "bee"]  # the lowest accuracy first, of equals the one with more
    assert [figures[name]["accuracy"] for name in ("ant", "bee", "cat", "dog")] == [0.5, 2 / 3, 0.5, 0]
    assert [figures[name]["precision"] for name in ("ant", "bee", "cat", "dog")] == [0.5, 2 / 3, 1 / 3, None]
    assert [figures[name]["f1"] for name in ("ant", "bee", "cat", "dog")] == pytest.approx([0.5, 2 / 3, 0.4, 0])
    assert quality.overall(ROWS)["macro_f1"] == pytest.approx(0.3916666666666666)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(15, 21, 0.5004361928, 0.8618613705), (0, 3, 0, 0.5614970318), (3, 3, 0.4385029682, 1)],
)
def test_an_interval_as_scipy_has_it(right: int, count: int, low: float, high: float) -> None:
    """proportion_ci of scipy.stats.binomtest, method wilson."""
    assert quality.interval(right, count) == pytest.approx((low, high), abs=1e-7)


def test_calibration_is_the_mean_distance_by_number_of_pictures() -> None:
    right = np.array([True, False, True, True, True])
    probability = np.array([0.95, 0.95, 0.5, 0.0, 1.0])
    calibration = quality.calibration(right, probability)
    assert calibration["bins"] == [
        [0, 1, 1],
        [0.5, 1, 1],
        [pytest.approx(2.9 / 3), pytest.approx(2 / 3), 3],
    ]
    assert calibration["error"] == pytest.approx((1 * 1 + 1 * 0.5 + 3 * 0.3) / 5)


def test_a_model_that_says_what_it_knows_is_calibrated() -> None:
    probability = np.repeat([0.25, 0.75], 400)
    right = np.tile([True, False, False, False], 100).tolist() + np.tile([True, True, True, False], 100).tolist()
    assert quality.calibration(np.array(right), probability)["error"] == pytest.approx(0)


def test_coverage_gives_the_surest_first_and_equals_together() -> None:
    right = np.array([False, True, True, True])
    assert quality.coverage(right, np.array([0.2, 0.9, 0.6, 0.6])) == [[0.25, 1, 0.9], [0.75, 1, 0.6], [1, 0.75, 0.2]]


def test_coverage_of_many_pictures_stays_short() -> None:
    probability = np.linspace(0, 1, 50_000)
    points = quality.coverage(probability > 0.5, probability)
    assert len(points) <= quality.POINTS and points[-1][0] == 1
    assert {accuracy for share, accuracy, _ in points if share <= 0.5} == {1}


def test_one_picture_and_a_constant_predictor() -> None:
    assert quality.overall([]) == {}
    assert quality.overall(ROWS[:1])["coverage"] == [[1, 1, 0.5]]
    constant = [Prediction("a", label, "ant", 1.0) for label in LABELS]
    figures = quality.overall(constant)
    assert figures["accuracy"] == 0.4 and figures["calibration"]["error"] == pytest.approx(0.6)
    assert figures["coverage"] == [[1, 0.4, 1]]
