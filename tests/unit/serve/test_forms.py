"""Which numeric form is chosen, what is said about it, and that all workers choose the same."""

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from byoc_vision.contract.errors import UserError
from serve import forms
from serve.forms import Run

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
    assert len(calls) <= 2 + forms.MOST  # made and judged besides
    monkeypatch.setattr(forms, "SECONDS", 0.0)
    calls.clear()
    choose(float32=faster_every_time, bfloat16=form(SLOW))
    assert len(calls) == 2 + forms.FEWEST


def test_a_network_that_answers_otherwise_than_in_training_is_refused() -> None:
    with pytest.raises(UserError, match="2 of 4 probe pictures another class"):
        choose(float32=form(FAST, wrong=2), bfloat16=form(MIDDLE))
    with pytest.raises(UserError, match="1 of 4 probe pictures another class"):
        choose(float32=form(MIDDLE, wrong=1), bfloat16=form(FAST, wrong=1))


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


def test_one_worker_decides_for_all(tmp_path: Path) -> None:
    decisions = []

    def decide() -> tuple[str, str]:
        time.sleep(0.05)
        decisions.append(None)
        return "bfloat16", f"decision {len(decisions)}"

    results: list[tuple[str, str]] = []
    workers = [
        threading.Thread(target=lambda: results.append(forms.once(tmp_path / "record", decide))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [("bfloat16", "decision 1")] * 4


def test_the_next_worker_decides_when_the_first_fails(tmp_path: Path) -> None:
    def fail() -> tuple[str, str]:
        raise MemoryError

    with pytest.raises(MemoryError):
        forms.once(tmp_path / "record", fail)
    assert forms.once(tmp_path / "record", lambda: ("float32", "why")) == ("float32", "why")


def test_another_model_in_the_same_folder_has_a_record_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forms.record(tmp_path) is None  # outside a container
    (tmp_path / "forms").mkdir()
    monkeypatch.setenv("SERVE_FORMS", str(tmp_path / "forms"))
    model = tmp_path / "model"
    model.mkdir()
    first = forms.record(model)
    assert first == forms.record(model)
    model.rmdir()
    time.sleep(0.01)
    model.mkdir()
    assert forms.record(model) != first
