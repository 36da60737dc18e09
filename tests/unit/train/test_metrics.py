"""The metric expressions, matched against real log lines as CloudWatch delivers them."""

import re

import pytest

from byoc_vision.contract import metrics

EPOCH = metrics.line(
    {"epoch": 3, "train_loss": 0.512345, "validation_loss": 1e-7, "validation_accuracy": 0.8125, "seconds": 1.5}
)
TEST = metrics.line({"test_loss": 12345.678, "test_accuracy": 1.0})


def found(line: str) -> dict[str, float]:
    matches = {d["Name"]: re.search(d["Regex"], line) for d in metrics.DEFINITIONS}
    return {name: float(match.group(1)) for name, match in matches.items() if match}


@pytest.mark.parametrize("prefix", ["", "2026-01-01 00:00:00,123 train INFO ", "algo-1-xyz | "])
def test_each_figure_is_found_where_it_stands_and_nowhere_else(prefix):
    assert found(prefix + EPOCH) == {
        "train_loss": pytest.approx(0.51234, rel=1e-4),
        "validation_loss": pytest.approx(1e-7),
        "validation_accuracy": 0.8125,
    }
    assert found(prefix + TEST) == {"test_loss": pytest.approx(12346), "test_accuracy": 1.0}


def test_the_line_reads_well():
    assert EPOCH == "epoch=3 train_loss=0.51235 validation_loss=1e-07 validation_accuracy=0.8125 seconds=1.5"


def test_sagemaker_takes_no_more_than_its_limit_of_definitions():
    assert len(metrics.DEFINITIONS) <= 40
    assert all(len(d["Regex"]) <= 500 for d in metrics.DEFINITIONS)
