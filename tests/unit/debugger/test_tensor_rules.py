"""Rules over single tensors: exact on both sides of their thresholds, in full and from reductions."""

import math

import numpy as np
import pytest

from byoc_vision.debugger.rules.base import NotRecordedError, ParameterError
from byoc_vision.debugger.rules.tensors import (
    AllZero,
    ExplodingTensor,
    TensorVariance,
    UnchangedTensor,
    VanishingGradient,
    WeightUpdateRatio,
)
from tests.unit.debugger.conftest import Judge, fired
from tests.unit.debugger.jobs import GLOBAL, LOSS, TRAIN

GRADIENT = "gradient/Net_fc.weight"


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize(
    ("gradient", "fires"),
    [
        ([0.0, 0.0], True),
        ([-1e-7, 0.9e-7], True),  # 0.95e-7
        ([-2e-7, 0.0], False),  # exactly 1e-7 is not below it
        ([-1.1e-7, 1e-7], False),
        ([math.nan, 0.0], False),
    ],
)
def test_vanishing_gradient_below_the_mean_absolute_value(judge, gradient, fires, reduced):
    rule = judge(VanishingGradient, [({GRADIENT: np.array(gradient)}, TRAIN)], reduced=reduced)
    assert bool(rule.findings) is fires


def test_vanishing_gradient_evidence_and_text_parameters(judge: Judge) -> None:
    steps = [({GRADIENT: np.array([0.5, -0.5]), "Net_fc.weight": np.zeros(2)}, TRAIN)] * 2
    [first, _] = judge(VanishingGradient, steps, threshold="0.6").findings
    assert (first.step, first.tensor, first.value, first.threshold) == (0, GRADIENT, 0.5, 0.6)
    assert not judge(VanishingGradient, steps, threshold="0.5").findings


def test_vanishing_gradient_without_gradients_says_so(judge: Judge) -> None:
    rule = judge(VanishingGradient, [({LOSS: np.float32(1)}, TRAIN)])
    with pytest.raises(NotRecordedError, match="Gradients were not recorded"):
        rule.check()


def test_a_parameter_that_is_no_number_is_named(judge: Judge) -> None:
    with pytest.raises(ParameterError, match="VanishingGradient: threshold must be a number and is 'tiny'"):
        judge(VanishingGradient, [], threshold="tiny")


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize(
    ("values", "only_nan", "fires"),
    [
        ([1.0, math.nan], "False", True),
        ([1.0, math.inf], "False", True),
        ([1.0, -math.inf], False, True),
        ([1.0, 3e38], "False", False),
        ([math.inf, -math.inf], "True", False),
        ([math.nan, math.inf], "True", True),
        ([0.0, 0.0], "True", False),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_exploding_tensor(judge, values, only_nan, fires, reduced):
    rule = judge(ExplodingTensor, [({"any": np.array(values)}, GLOBAL)], reduced=reduced, only_nan=only_nan)
    assert bool(rule.findings) is fires


def test_exploding_tensor_looks_only_where_it_was_told_to(judge: Judge) -> None:
    steps = [({"a": np.array([math.nan]), GRADIENT: np.array([1.0]), "whole": np.array([3])}, TRAIN)]
    assert not judge(ExplodingTensor, steps, collection_names="gradients").findings
    assert not judge(ExplodingTensor, steps, tensor_regex="^b,^whole").findings
    assert judge(ExplodingTensor, steps, collection_names="gradients", tensor_regex="^a").findings


@pytest.mark.parametrize(
    ("values", "threshold", "fires"),
    [([0, 0, 0, 0], 100, True), ([0, 0, 0, 1], 100, False), ([0, 0, 0, 1], "75", True), ([0, 0, 1, 1], "75", False)],
)
def test_all_zero(judge, values, threshold, fires):
    assert bool(judge(AllZero, [({"a": np.array(values)}, TRAIN)], threshold=threshold).findings) is fires


def test_all_zero_from_reductions(judge: Judge) -> None:
    assert judge(AllZero, [({"a": np.zeros(3)}, TRAIN)], reduced=True).findings
    assert not judge(AllZero, [({"a": np.array([0.0, 1e-9])}, TRAIN)], reduced=True).findings


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize(
    ("limits", "fires"),
    [({"max_threshold": "3.9"}, True), ({"max_threshold": 4}, False), ({"min_threshold": 4.1}, True), ({}, False)],
)
def test_tensor_variance(judge, limits, fires, reduced):
    rule = judge(TensorVariance, [({"Net_fc.weight": np.array([1.0, 5.0])}, TRAIN)], reduced=reduced, **limits)
    assert bool(rule.findings) is fires


@pytest.mark.parametrize("reduced", [False, True])
def test_unchanged_tensor_after_so_many_steps(judge, reduced):
    steps = [({"Net_fc.weight": np.array([1.0, value])}, TRAIN) for value in (3, 2, 2, 2, 2, 1)]
    assert fired(judge(UnchangedTensor, steps, reduced=reduced)) == [3, 4]
    assert fired(judge(UnchangedTensor, steps, reduced=reduced, num_steps="4")) == [4]
    assert fired(judge(UnchangedTensor, steps, reduced=reduced, num_steps="5")) == []


def test_unchanged_tensor_asked_at_one_step_looks_back(judge: Judge) -> None:
    values = (1.0, 2.0, 2.0, 2.0, 3.0)
    asked = judge(UnchangedTensor, [({"Net_fc.weight": np.full(2, value)}, GLOBAL) for value in values])
    for step, fires in enumerate((False, False, False, True, False)):
        assert UnchangedTensor(asked.trial).invoke_at_step(step) is fires


def test_weight_update_ratio_on_both_sides(judge: Judge) -> None:
    steps = [({"Net_fc.weight": np.array([value, value])}, TRAIN) for value in (1.0, 1.5, 1.5)]
    assert fired(judge(WeightUpdateRatio, steps, epsilon=0)) == [2]  # no change at all
    assert fired(judge(WeightUpdateRatio, steps, epsilon=0, small_threshold=0, large_threshold="0.5")) == []
    assert fired(judge(WeightUpdateRatio, steps, epsilon=0, small_threshold=0, large_threshold="0.49")) == [1]


def test_weight_update_ratio_needs_the_weights_themselves(judge: Judge) -> None:
    rule = judge(WeightUpdateRatio, [({"Net_fc.weight": np.ones(2)}, TRAIN)] * 2, reduced=True)
    with pytest.raises(NotRecordedError, match="full values"):
        rule.check()
