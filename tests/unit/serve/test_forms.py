"""Which numeric form is chosen, and what is said about it."""

import itertools
import re
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from byoc_vision.contract.errors import UserError
from serve import forms
from serve.forms import Run
from serve.records import Trials

ANSWERS = np.array([0, 1, 2, 0])
#: Pictures that hold their class in their first value.
PROBES = np.zeros((4, 3, 2, 2), np.float32)
PROBES[:, 0, 0, 0] = ANSWERS


def form(seconds: float, wrong: int = 0) -> Run:
    """A form that takes so long for each call, and gives the last `wrong` of the probes another class."""

    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(seconds)
        classes = inputs[:, 0, 0, 0].astype(int)
        if wrong and len(inputs) == len(PROBES):
            classes[-wrong:] += 1
        return np.eye(4, dtype=np.float32)[classes]

    return run


def compiling(*calls: float, then: float) -> Run:
    """A form whose first calls take as long as they say, and all later ones as long as `then`."""
    times = iter(calls)
    return lambda inputs: form(next(times, then))(inputs)


SLOW, MIDDLE, FAST = 0.03, 0.01, 0.0


def choose(**runs: Run) -> tuple[str, str]:
    return forms.choose({name: lambda run=run: run for name, run in runs.items()}, PROBES, ANSWERS)


def test_the_fastest_form_that_agrees_is_chosen() -> None:
    name, sentence = choose(float32=form(SLOW), bfloat16=form(FAST), float16=form(MIDDLE))
    assert name == "bfloat16"
    assert re.fullmatch(
        r"chose bfloat16: \d+\.\d ms a picture against 1\d\.\d ms for float16, 3\d\.\d ms for float32; "
        "4 of 4 probe answers agree",
        sentence,
    )


def test_a_form_that_answers_otherwise_is_refused() -> None:
    name, sentence = choose(float32=form(SLOW), bfloat16=form(FAST, wrong=1), float16=form(MIDDLE))
    assert name == "float16"
    assert "; bfloat16 would take " in sentence
    assert sentence.endswith("but only 3 of 4 probe answers agree")


def test_the_reference_is_chosen_where_nothing_is_faster() -> None:
    name, sentence = choose(float32=form(FAST), bfloat16=form(MIDDLE))
    assert name == "float32"
    assert re.fullmatch(r"chose float32: \d\.\d ms a picture against \d+\.\d ms for bfloat16", sentence)


@pytest.mark.parametrize("calls", [(0.1,), (0.05, 0.14), (0.02, 0.02, 0.1)])
def test_a_form_that_compiles_at_its_first_calls_is_judged_by_the_later_ones(calls: tuple[float, ...]) -> None:
    name, _ = choose(float32=form(SLOW), bfloat16=compiling(*calls, then=FAST))
    assert name == "bfloat16"
    name, _ = choose(float32=compiling(*calls, then=FAST), bfloat16=form(SLOW))
    assert name == "float32"


def test_a_form_that_is_interrupted_now_and_then_is_judged_by_its_best_times() -> None:
    name, _ = choose(float32=form(MIDDLE), bfloat16=compiling(0.1, FAST, 0.1, 0.1, FAST, then=0.1))
    assert name == "bfloat16"


def test_timing_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def faster_every_time(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(None)
        return form(0.02 / len(calls))(inputs)

    choose(float32=faster_every_time, bfloat16=form(FAST))
    assert len(calls) <= 1 + forms.MOST  # made besides
    monkeypatch.setattr(forms, "SECONDS", 0.0)
    calls.clear()
    choose(float32=faster_every_time, bfloat16=form(SLOW))
    assert len(calls) == 1 + forms.FEWEST


def test_a_network_that_answers_otherwise_than_in_training_is_refused() -> None:
    with pytest.raises(UserError, match="2 of 4 probe pictures another class"):
        forms.judge(form(FAST, wrong=2), PROBES, ANSWERS)
    assert forms.agrees(form(FAST), PROBES, ANSWERS)
    assert not forms.agrees(form(FAST, wrong=1), PROBES, ANSWERS)


def test_time_is_that_of_the_clock() -> None:
    now = 0.0

    def taking(seconds: float) -> Run:
        def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            nonlocal now
            now += seconds
            return form(FAST)(inputs)

        return run

    made = {"float32": lambda: taking(0.2), "bfloat16": lambda: taking(0.1)}
    _, sentence = forms.choose(made, PROBES, ANSWERS, clock=lambda: now)
    assert sentence.startswith("chose bfloat16: 100.0 ms a picture against 200.0 ms for float32")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_answers_nothing_finite_is_refused(value: float) -> None:
    def broken(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full((len(inputs), 4), value, np.float32)

    with pytest.raises(UserError, match="NaN"):
        forms.judge(broken, PROBES, ANSWERS)
    assert choose(float32=form(SLOW), bfloat16=broken)[0] == "float32"


def logits(*rows: tuple[float, ...]) -> Run:
    return lambda inputs: np.array(rows, np.float32)


def test_a_near_tie_may_end_otherwise_on_another_processor() -> None:
    two = np.array([0, 1])
    forms.judge(logits((2.99, 3.0, -5.0), (0.0, 1.0, 0.5)), PROBES[:2], two)
    for rows in (
        ((2.9, 3.0, -5.0), (0.0, 1.0, 0.5)),  # not so near
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),  # no answer at all
    ):
        with pytest.raises(UserError, match="1 of 2 probe pictures"):
            forms.judge(logits(*rows), PROBES[:2], two)


def test_a_form_that_cannot_be_made_is_left_out() -> None:
    def failing() -> Run:
        raise RuntimeError("no such\noperator")

    made = {"float32": lambda: form(FAST), "bfloat16": failing}
    name, sentence = forms.choose(made, PROBES, ANSWERS)
    assert name == "float32"
    assert sentence.endswith("; bfloat16 cannot be made (no such operator)")


def test_a_form_that_has_ended_a_process_is_not_tried_again() -> None:
    def ending() -> Run:
        raise AssertionError

    made = {"float32": lambda: form(MIDDLE), "bfloat16": ending, "int8": lambda: form(FAST)}
    name, sentence = forms.choose(made, PROBES, ANSWERS, trials=Trials(ended=frozenset({"bfloat16"})))
    assert name == "int8"
    assert sentence.endswith("; bfloat16 ended the process that tried it")


def test_clock_speeds_that_change_do_not_change_the_choice() -> None:
    calls = itertools.count()

    def clocked(seconds: float) -> Run:
        """A form on a processor that is twice as slow for each second pair of calls."""
        return lambda inputs: form(seconds * (1 + next(calls) // 2 % 2))(inputs)

    for _ in range(5):
        name, _ = choose(float32=clocked(0.02), bfloat16=clocked(0.008), float16=clocked(0.012))
        assert name == "bfloat16"


def confirm(name: str, *ended: str, **runs: Run) -> str | None:
    made = {name: lambda run=run: run for name, run in runs.items()}
    return forms.confirm(name, made, PROBES, ANSWERS, Trials(ended=frozenset(ended)))


def test_a_form_that_was_chosen_before_is_not_timed_but_asked_about_the_probes() -> None:
    sentence = confirm("bfloat16", float32=broken, bfloat16=form(FAST))
    assert sentence == (
        "chose bfloat16: an earlier start on this processor measured that it is the fastest; 4 of 4 probe answers agree"
    )
    assert confirm("float32", float32=form(FAST))


def test_a_form_that_was_chosen_before_and_cannot_be_chosen_again_is_not() -> None:
    assert confirm("int8", float32=form(FAST)) is None  # there is none
    assert confirm("bfloat16", float32=form(FAST), bfloat16=form(FAST, wrong=1)) is None
    assert confirm("bfloat16", float32=form(FAST), bfloat16=lambda inputs: np.full((4, 4), np.nan, np.float32)) is None
    assert confirm("bfloat16", float32=form(FAST), bfloat16=broken) is None
    assert confirm("bfloat16", "bfloat16", float32=form(FAST), bfloat16=form(FAST)) is None


def broken(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    raise RuntimeError("no such operator")
