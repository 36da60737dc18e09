"""Runs a rule over what a test records."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.debugger.finished_trial import FinishedTrial
from byoc_vision.debugger.rules.base import TensorRule
from byoc_vision.debugger.trial import Mode
from tests.unit.debugger.jobs import Recorder

#: A step: its tensors and mode.
Step = tuple[dict[str, Any], Mode]
Judge = Callable[..., TensorRule]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Return a function that records steps with smdebug's writer, runs a rule over them and returns the rule."""
    count = 0

    def run(
        rule: type[TensorRule],
        steps: Sequence[Step],
        /,
        reduced: bool = False,
        collections: dict[str, Sequence[str]] | None = None,
        every: int = 1,
        **parameters: Any,
    ) -> TensorRule:
        nonlocal count
        count += 1
        folder = tmp_path / f"debugger{count}"
        recorder = Recorder(folder, collections=collections)
        for i, (tensors, mode) in enumerate(steps):
            recorder.save(tensors, mode, None if every == 1 else i * every, reduced)
        made = rule(FinishedTrial(folder), **parameters)
        for step in made.trial.steps:
            made.invoke_at_step(step)
        return made

    return run


def fired(rule: TensorRule) -> list[int]:
    """Return the steps at which a rule fired, each once."""
    return sorted({finding.step for finding in rule.findings if finding.step is not None})
