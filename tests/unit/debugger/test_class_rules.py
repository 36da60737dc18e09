"""Imbalanced and mispredicted classes."""

import numpy as np
import pytest

from byoc_vision.debugger.rules.base import ParameterError
from byoc_vision.debugger.rules.classes import ClassImbalance, Confusion
from tests.unit.debugger.conftest import Judge, fired
from tests.unit.debugger.jobs import TRAIN

LABELS, PREDICTIONS = "CrossEntropyLoss_input_1", "CrossEntropyLoss_input_0"


def step(labels, predicted=None):
    tensors = {LABELS: np.asarray(labels)}
    if predicted is not None:
        tensors[PREDICTIONS] = np.asarray(predicted)
    return tensors, TRAIN


def test_990_of_one_class_and_10_of_another_fire(judge: Judge) -> None:
    [found] = judge(ClassImbalance, [step([0] * 990 + [1] * 10)]).findings
    assert (found.step, found.value, found.threshold) == (0, 99, 10)


@pytest.mark.parametrize(("many", "few", "fires"), [(500, 50, False), (510, 50, True), (300, 300, False)])
def test_imbalance_above_ten_to_one(judge, many, few, fires):
    assert bool(judge(ClassImbalance, [step([7] * many + [3] * few)]).findings) is fires


def test_nothing_is_judged_before_enough_samples(judge: Judge) -> None:
    steps = [step([0] * 99 + [1])] * 6
    assert fired(judge(ClassImbalance, steps)) == [4, 5]
    assert fired(judge(ClassImbalance, steps, samples="501")) == [5]
    assert fired(judge(ClassImbalance, steps, samples="601")) == []


@pytest.mark.parametrize(("wrong", "fires"), [(70, False), (71, True), (0, False)])
def test_a_class_mispredicted_more_often_than_allowed(judge, wrong, fires):
    labels = [0] * 100 + [1] * 100
    predicted = [1] * wrong + [0] * (100 - wrong) + [1] * 100
    assert bool(judge(ClassImbalance, [step(labels, predicted)], samples=200).findings) is fires


def test_scores_become_classes_with_argmax(judge: Judge) -> None:
    scores = np.tile([0.1, 0.9], (10, 1))
    [found] = judge(ClassImbalance, [step([0] * 5 + [1] * 5, scores)], samples=10, argmax="True").findings
    assert found.value == 1 and found.tensor == "predictions"
    with pytest.raises(ParameterError, match="20 predictions for 10 labels; set argmax to True"):
        judge(ClassImbalance, [step([0] * 10, scores)])


def test_a_table_of_predictions_is_judged_whole(judge: Judge) -> None:
    rule = judge(ClassImbalance, [])
    rule.judge_table(["cat"] * 22 + ["dog"] * 2, ["cat"] * 22 + ["cat", "dog"])
    [found] = rule.findings
    assert (found.step, found.value) == (None, 11)


@pytest.mark.parametrize(("right", "fires"), [(90, False), (89, True), (100, False)])
def test_confusion_beside_the_diagonal(judge, right, fires):
    tensors = {"labels": np.zeros(100), "predictions": np.array([0] * right + [1] * (100 - right))}
    assert bool(judge(Confusion, [(tensors, TRAIN)]).findings) is fires
