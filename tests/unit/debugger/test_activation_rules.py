"""Dead and saturated activations, poor initialisation, images: hand-computed layers."""

import numpy as np
import pytest

from byoc_vision.debugger.rules.activations import DeadRelu, SaturatedActivation
from byoc_vision.debugger.rules.base import NotApplicableError, NotRecordedError, ParameterError
from byoc_vision.debugger.rules.images import CheckInputImages
from byoc_vision.debugger.rules.initialization import PoorWeightInitialization
from tests.unit.debugger.conftest import Judge
from tests.unit.debugger.jobs import EVAL, LOSS, TRAIN

OUTPUT, INPUT, GRADIENT = "layer1.relu_output_0", "relu_input_0", "gradient/Net_fc.weight"


def outputs(dead: int, units: int, active: int = 50) -> np.ndarray:
    """The outputs [100, units] of which the first `dead` units are never positive, the rest `active` times."""
    values = np.zeros((100, units))
    values[:active, dead:] = 1
    return values


@pytest.mark.parametrize(("dead", "fires"), [(0, False), (5, False), (6, True), (10, True)])
def test_more_than_half_of_a_layer_is_dead(judge, dead, fires):
    rule = judge(DeadRelu, [({OUTPUT: outputs(dead, 10)}, TRAIN)])
    assert bool(rule.findings) is fires
    if fires:
        assert rule.findings[0].value == 10 * dead


@pytest.mark.parametrize(("active", "fires"), [(0, True), (1, False), (2, False)])
def test_a_unit_is_dead_below_one_per_cent_of_activity(judge, active, fires):
    assert bool(judge(DeadRelu, [({OUTPUT: outputs(0, 4, active)}, TRAIN)]).findings) is fires


def test_a_unit_of_a_convolution_is_a_channel(judge: Judge) -> None:
    values = np.zeros((2, 4, 5, 5))
    values[0, 0, 0, 0] = 1  # 2 % of the 50 places of channel 0
    assert not judge(DeadRelu, [({OUTPUT: values}, TRAIN)], threshold_layer="75").findings
    assert judge(DeadRelu, [({OUTPUT: values}, TRAIN)], threshold_layer="74").findings


@pytest.mark.parametrize(("share", "fires"), [(0.009, True), (0.01, False), (0.4, False)])
def test_recorded_activity_serves_as_well_as_outputs(judge, share, fires):
    steps = [({"relu_activity/layer1.relu": np.array([share, share, 0.9])}, TRAIN)]
    assert bool(judge(DeadRelu, steps).findings) is fires


def test_reductions_tell_only_of_a_layer_that_is_dead_as_a_whole(judge: Judge) -> None:
    [found] = judge(DeadRelu, [({OUTPUT: outputs(10, 10)}, TRAIN)], reduced=True).findings
    assert found.value == 100
    rule = judge(DeadRelu, [({OUTPUT: outputs(6, 10)}, TRAIN)], reduced=True)
    with pytest.raises(NotRecordedError, match="activity of single units was not recorded"):
        rule.check()
    both = {OUTPUT: outputs(6, 10), "relu_activity/layer1.relu": np.array([0.0, 0.0, 0.5])}
    [found] = judge(DeadRelu, [({**both}, TRAIN)]).findings
    assert found.value == pytest.approx(200 / 3)


def test_a_recording_without_relus_says_whether_there_are_any(judge: Judge) -> None:
    steps = [({LOSS: np.float32(1)}, TRAIN)]
    for collections in ({}, {"relu_output": [".*relu_output"]}):
        with pytest.raises(NotRecordedError):
            judge(DeadRelu, steps, collections=collections).check()
    with pytest.raises(NotApplicableError, match="no ReLUs"):
        judge(DeadRelu, steps, collections={"relu_output": []}).check()


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize(
    ("variances", "fires"), [((1, 16), True), ((1, 9), False), ((4, 25), False), ((0, 0), True), ((0, 1), True)]
)
def test_variances_of_layers_too_far_apart(judge, variances, fires, reduced):
    tensors = {f"layer{i}.relu_input_0": np.sqrt(v) * np.array([-1.0, 1.0]) for i, v in enumerate(variances)}
    assert bool(judge(PoorWeightInitialization, [(tensors, TRAIN)], reduced=reduced).findings) is fires


@pytest.mark.parametrize(("width", "fires"), [(0.0009, True), (0.0011, False), (0.1, False)])
def test_gradients_too_close_together(judge, width, fires):
    # 0 … 100 hundredths: the 5th and 95th percentile are 90 of them apart.
    values = np.linspace(0, width / 0.9, 101)
    assert bool(judge(PoorWeightInitialization, [({GRADIENT: values}, TRAIN)]).findings) is fires
    assert not judge(PoorWeightInitialization, [({GRADIENT.replace("weight", "bias"): values}, TRAIN)]).findings


@pytest.mark.parametrize(("std", "fires"), [(0.00030, True), (0.00031, False)])
def test_gradients_from_their_standard_deviation(judge, std, fires):
    steps = [({GRADIENT: std * np.array([-1.0, 1.0])}, TRAIN)]  # 3.29 × 0.0003 = 0.00099
    assert bool(judge(PoorWeightInitialization, steps, reduced=True).findings) is fires


@pytest.mark.parametrize(
    ("losses", "fires"),
    [
        ([1.0] * 5, True),
        ([1.0] * 4, False),  # too few
        ([1.0, 1.0, 1.0, 1.0, 0.9991], True),
        ([1.0, 1.0, 1.0, 1.0, 0.9989], False),
        ([1.0, 1.2, 0.9, 1.1, 1.0, 1.3, 1.0], False),  # no fall, but batches that differ
        ([2.0 - 0.1 * i for i in range(10)] + [1.0] * 10, False),  # what comes after the first ten is another matter
    ],
)
def test_a_flat_loss_in_the_first_steps(judge, losses, fires):
    steps = [({LOSS: np.float64(loss)}, TRAIN) for loss in losses]
    assert bool(judge(PoorWeightInitialization, steps).findings) is fires


def test_only_the_first_training_steps_are_judged(judge: Judge) -> None:
    good, bad = {GRADIENT: np.array([-1.0, 1.0])}, {GRADIENT: np.zeros(2)}
    assert not judge(PoorWeightInitialization, [(good, TRAIN)] * 10 + [(bad, TRAIN)]).findings
    assert judge(PoorWeightInitialization, [(good, TRAIN)] * 10 + [(bad, TRAIN)], steps="11").findings
    assert not judge(PoorWeightInitialization, [(bad, EVAL), (good, TRAIN)]).findings


@pytest.mark.parametrize(
    ("name", "value", "fires"),
    [
        ("tanh_input_0", 9.4998, False),
        ("tanh_input_0", 9.5, True),
        ("tanh_input_0", -9.5, True),
        ("gate.sigmoid_input_0", 16.9, False),
        ("gate.sigmoid_input_0", 17.0, True),
        ("gate.sigmoid_input_0", -22.9, False),
        ("gate.sigmoid_input_0", -23.1, True),
    ],
)
@pytest.mark.parametrize("reduced", [False, True])
def test_inputs_beyond_the_extremes_saturate(judge, name, value, fires, reduced):
    rule = judge(SaturatedActivation, [({name: np.full((4, 3), value)}, TRAIN)], reduced=reduced)
    assert [finding.value for finding in rule.findings] == ([100.0] if fires else [])


@pytest.mark.parametrize(("saturated", "fires"), [(5, False), (6, True)])
def test_more_than_half_of_a_layer_is_saturated(judge, saturated, fires):
    values = np.zeros((2, 10))
    values[:, :saturated] = [[20], [-20]]  # first beyond the one extreme, then beyond the other
    assert bool(judge(SaturatedActivation, [({"tanh_input_0": values}, TRAIN)]).findings) is fires


@pytest.mark.parametrize(("active", "fires"), [(0, True), (1, False), (2, False)])
def test_a_unit_is_saturated_below_one_per_cent_of_activity(judge, active, fires):
    values = np.full((100, 4), 20.0)
    values[:active] = 0
    assert bool(judge(SaturatedActivation, [({"tanh_input_0": values}, TRAIN)]).findings) is fires


def test_reductions_of_a_layer_within_the_extremes_tell_nothing_of_its_units(judge: Judge) -> None:
    rule = judge(SaturatedActivation, [({"tanh_input_0": np.array([[-20.0, 20.0]])}, TRAIN)], reduced=True)
    with pytest.raises(NotRecordedError, match="not recorded, only layers' reductions"):
        rule.check()


IMAGES = "ResNet_input_0"


@pytest.mark.parametrize(("mean", "fires"), [(0.19, False), (0.21, True), (-0.21, True), (0.0, False)])
def test_a_channel_whose_mean_is_not_zero(judge, mean, fires):
    images = np.zeros((250, 3, 2, 2))
    images[:, 1] = mean + np.array([[-1.0, 1.0], [1.0, -1.0]])
    rule = judge(CheckInputImages, [({IMAGES: images}, TRAIN)] * 2, regex="_input_0$")
    assert [(finding.step, round(finding.value, 6)) for finding in rule.findings] == ([(1, mean)] if fires else [])


@pytest.mark.parametrize(("samples", "steps"), [(500, []), (30, [2]), (20, [1, 2]), (10, [0, 1, 2])])
def test_the_mean_is_that_of_enough_images(judge, samples, steps):
    seen = [({IMAGES: np.ones((10, 3, 2, 2))}, TRAIN)] * 3
    rule = judge(CheckInputImages, seen, regex=IMAGES, threshold_samples=str(samples))
    assert [finding.step for finding in rule.findings] == steps


def test_channels_may_come_last_and_must_be_there(judge: Judge) -> None:
    images = np.zeros((10, 2, 2, 3))
    images[..., 2] = 1
    [found] = judge(
        CheckInputImages, [({IMAGES: images}, TRAIN)], regex=IMAGES, channel="3", threshold_samples="10"
    ).findings
    assert "channel 2 has a mean of 1 over 10 images" in found.detail
    with pytest.raises(ParameterError, match=r"is \[10, 2, 2, 3\], so its channels are not at 4"):
        judge(CheckInputImages, [({IMAGES: images}, TRAIN)], regex=IMAGES, channel=4)
    with pytest.raises(NotRecordedError, match="Images that went into the network were not recorded"):
        judge(CheckInputImages, [({IMAGES: images}, TRAIN)], regex=IMAGES, reduced=True).check()
