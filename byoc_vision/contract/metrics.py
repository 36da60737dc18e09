"""The lines a job reports its figures in, and the expressions that find them there: defined once, side by side."""

import re
from collections.abc import Mapping

#: The figures a tuning job or CloudWatch can follow.
NAMES = ("train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")

#: Those that say which of several jobs is best; the test split is not for choosing.
OBJECTIVES = ("validation_loss", "validation_accuracy")

#: Said once more at the end, of the epoch that was kept.
LAST = ("best_epoch", "train_loss", "validation_loss", "validation_accuracy")

#: CreateTrainingJob's AlgorithmSpecification.MetricDefinitions. The space keeps one name from matching inside another.
DEFINITIONS = [{"Name": name, "Regex": rf"(?:^|\s){name}=([0-9.eE+-]+)"} for name in NAMES]

#: Finds the epoch in a line with an epoch's figures.
EPOCH = re.compile(r"(?:^|\s)epoch=(\d+)")


def line(figures: Mapping[str, float | int]) -> str:
    """Return `figures` as one log line of `name=value` pairs, fit for `DEFINITIONS`."""
    return " ".join(f"{name}={value if isinstance(value, int) else f'{value:.5g}'}" for name, value in figures.items())
