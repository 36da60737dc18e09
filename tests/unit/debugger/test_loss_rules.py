"""Rules over losses: the known vector, and what was chosen where the documentation is ambiguous."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from smdebug.exceptions import NoMoreData, RuleEvaluationConditionMet
from smdebug.rules import invoke_rule
from smdebug.trials import create_trial

from byoc_vision.debugger.finished_trial import FinishedTrial
from byoc_vision.debugger.rules.base import NotRecordedError, ParameterError
from byoc_vision.debugger.rules.losses import LossNotDecreasing, Overfit, Overtraining
from byoc_vision.debugger.smdebug_adapter import SmdebugRule
from tests.unit.debugger.conftest import Judge, fired
from tests.unit.debugger.jobs import EVAL, GLOBAL, LOSS, TRAIN, Recorder

KNOWN = [0.3, 0.33, 0.31, 0.30, 0.28]


def losses(values, mode):
    return [({LOSS: np.float64(value)}, mode) for value in values]


def epochs(*pairs):
    """Epochs of two training batches and two validation batches, whose means are the pairs."""
    steps = []
    for train, validation in pairs:
        steps += losses([train - 0.25, train + 0.25], TRAIN) + losses([validation + 0.125, validation - 0.125], EVAL)
    return steps


@pytest.mark.parametrize("mode", [TRAIN, EVAL, GLOBAL])
def test_loss_not_decreasing_fires_on_the_known_vector_at_step_12(judge, mode):
    assert fired(judge(LossNotDecreasing, losses(KNOWN, mode), every=4)) == [12]


def test_loss_not_decreasing_by_smdebugs_own_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_END_DELAY_REFRESH", "0")
    recorder = Recorder(tmp_path / "trial")
    for i, value in enumerate(KNOWN):
        recorder.save({LOSS: np.float32(value)}, TRAIN, 4 * i)
    recorder.end()
    rule = SmdebugRule(create_trial(str(tmp_path / "trial")), LossNotDecreasing)
    with pytest.raises(RuleEvaluationConditionMet) as met:
        invoke_rule(rule, raise_eval_cond=True)
    assert met.value.step == 12
    assert [finding.step for finding in rule.findings] == [12]
    again = SmdebugRule(create_trial(str(tmp_path / "trial")), LossNotDecreasing)
    with pytest.raises((NoMoreData, TypeError)):  # smdebug's sign that the trial is over
        invoke_rule(again)
    assert fired(again) == [12]


@pytest.mark.parametrize(
    ("last", "fires"),
    [
        (1.0, True),  # no change
        (0.9995, True),  # 0.05 % down
        (0.998, False),  # 0.2 % down
        (1.04, False),  # 4 % up is allowed
        (1.06, True),  # 6 % up
        (math.nan, False),  # ExplodingTensor's
    ],
)
def test_loss_not_decreasing_between_fall_and_rise(judge, last, fires):
    assert bool(judge(LossNotDecreasing, losses([1.0] + [9.0] * 9 + [last], TRAIN)).findings) is fires


def test_loss_not_decreasing_looks_at_most_every_num_steps(judge: Judge) -> None:
    assert fired(judge(LossNotDecreasing, losses([1.0] * 11, TRAIN), num_steps="3")) == [3, 6, 9]


def test_loss_not_decreasing_prefers_validation_as_the_mean_of_a_pass(judge: Judge) -> None:
    # The batches jump about and training stands still; validation falls from pass to pass.
    falling = epochs(*((1.0, 2.0 - 0.1 * i) for i in range(8)))
    assert not judge(LossNotDecreasing, falling, num_steps=2).findings
    assert judge(LossNotDecreasing, falling, num_steps=2, mode="TRAIN").findings
    standing = epochs(*((2.0 - 0.1 * i, 1.0) for i in range(8)))
    assert fired(judge(LossNotDecreasing, standing, num_steps=2))[0] == 7  # the end of the second pass


def test_loss_not_decreasing_reads_other_tensors(judge: Judge) -> None:
    steps = [({LOSS: np.float64(1 / (i + 1)), "perplexity": np.float64(4)}, TRAIN) for i in range(12)]
    assert not judge(LossNotDecreasing, steps).findings
    only = {"use_losses_collection": "False", "tensor_regex": "perplexity"}
    assert fired(judge(LossNotDecreasing, steps, **only)) == [10]


def test_loss_not_decreasing_finds_losses_by_name_without_their_collection(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for number, loss in enumerate(KNOWN):
        misleading = {"gradient/loss_0": np.array([number]), "Loss_input_0": np.array([number])}
        recorder.save({"loss_0": np.array([loss])} | misleading, GLOBAL, 4 * number)
    shutil.rmtree(tmp_path / "collections")
    rule = LossNotDecreasing(FinishedTrial(tmp_path))
    assert [step for step in rule.trial.steps if rule.invoke_at_step(step)] == [12]


def test_loss_not_decreasing_on_one_step_has_nothing_to_say(judge: Judge) -> None:
    rule = judge(LossNotDecreasing, losses([1.0], TRAIN))
    rule.check()
    assert not rule.findings and not rule.judged


def test_loss_not_decreasing_refuses_an_unknown_mode(judge: Judge) -> None:
    with pytest.raises(ParameterError, match="mode must be TRAIN, EVAL or GLOBAL and is 'validation'"):
        judge(LossNotDecreasing, [], mode="validation")


@pytest.mark.parametrize(("validation", "fires"), [(1.125, True), (1.1, False), (1.0625, False), (0.5, False)])
def test_overfit_above_the_ratio(judge, validation, fires):
    rule = judge(Overfit, epochs((1.0, validation)), ratio_threshold="0.1000001")
    assert bool(rule.findings) is fires
    if fires:
        [found] = rule.findings
        assert (found.step, found.value) == (3, 0.125)


def test_overfit_counts_evaluations_on_end(judge: Judge) -> None:
    steps = epochs((1.0, 1.5), (1.0, 1.0), (1.0, 1.5), (1.0, 1.5), (1.0, 1.5))
    assert fired(judge(Overfit, steps)) == [3, 11, 15, 19]
    assert fired(judge(Overfit, steps, patience="2")) == [15, 19]
    assert fired(judge(Overfit, steps, patience="3")) == [19]
    assert fired(judge(Overfit, steps, start_step="12")) == [15, 19]


def test_overfit_without_validation_says_so(judge: Judge) -> None:
    with pytest.raises(NotRecordedError, match="Losses of validation were not recorded"):
        judge(Overfit, losses([1.0, 0.9], TRAIN)).check()


def test_overtraining_needs_both_losses_to_rest(judge: Judge) -> None:
    parameters = {"patience_train": "2", "patience_validation": "3"}
    rest = epochs(*[(1.0, 1.0)] * 6)
    assert fired(judge(Overtraining, rest, **parameters)) == [
        15,
        17,
        19,
        21,
        23,
    ]  # from the fourth pass on, with every phase
    only_validation = epochs(*((1.0 - 0.02 * i, 1.0) for i in range(8)))
    assert not judge(Overtraining, only_validation, **parameters).findings
    only_training = epochs(*((1.0, 1.0 - 0.02 * i) for i in range(8)))
    assert not judge(Overtraining, only_training, **parameters).findings


@pytest.mark.parametrize(("fall", "fires"), [(0.009, True), (0.011, False), (-0.1, True)])
def test_overtraining_wants_more_than_delta(judge, fall, fires):
    steps = epochs((1.0, 1.0), (1.0, 1.0 - fall))
    assert bool(judge(Overtraining, steps, patience_train=1, patience_validation=1).findings) is fires
