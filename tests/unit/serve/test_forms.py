"""Which numeric form is chosen, what is said about it, and that all workers choose the same."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

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


SLOW, MIDDLE, FAST = 0.03, 0.01, 0.0


def choose(**runs: Run) -> tuple[str, str]:
    return forms.choose({name: lambda run=run: run for name, run in runs.items()}, PROBES, ANSWERS)


def test_the_fastest_form_that_agrees_is_chosen() -> None:
    name, sentence = choose(float32=form(SLOW), bfloat16=form(FAST), float16=form(MIDDLE))
    assert name == "bfloat16"
    assert sentence.startswith("chose bfloat16: ")
    assert " for float32; 4 of 4 probe answers agree" in sentence


def test_a_form_that_answers_otherwise_is_refused() -> None:
    name, sentence = choose(float32=form(SLOW), bfloat16=form(FAST, wrong=1), float16=form(MIDDLE))
    assert name == "float16"
    assert "; bfloat16 would take " in sentence
    assert sentence.endswith("but only 3 of 4 probe answers agree")


def test_the_reference_is_chosen_where_nothing_is_faster() -> None:
    name, sentence = choose(float32=form(FAST), bfloat16=form(MIDDLE))
    assert name == "float32"
    assert sentence.startswith("chose float32: ") and sentence.endswith(" ms a picture")


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
