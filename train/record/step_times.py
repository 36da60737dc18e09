"""Times the parts of every step."""

import time
from itertools import pairwise
from pathlib import Path

import torch

from byoc_vision.contract.job import PHASES, STEP_COLUMNS
from train.record.smdebug_files import Step, writing

#: Steps that are kept until they are written: events of a GPU take room there.
KEPT = 1000

Mark = float | torch.cuda.Event


class StepClock:
    """Appends steps to `file` (CSV): `begin` in unix seconds, the duration of each part in seconds.

    A step begins with the wait for its data. The program runs ahead of a GPU, so there it is the GPU's own clock that
    tells: `data` is how long the GPU waited.
    """

    def __init__(self, file: Path, device: str) -> None:
        self._file, self._gpu = file, device == "cuda"
        self._marks: list[Mark] = []
        self._steps: list[tuple[Step, list[Mark]]] = []
        self._origin, self._unix = self._now(), time.time()
        if not file.exists():
            with writing(file):
                file.write_text(",".join(STEP_COLUMNS) + "\n")

    def begin(self) -> None:
        """A step begins."""
        self._marks = [self._now()]

    def mark(self) -> None:
        """A part of the step is done."""
        self._marks.append(self._now())

    def end(self, step: Step) -> None:
        """The step is done, of which an evaluation has two parts and training four."""
        self._steps.append((step, self._marks))
        if len(self._steps) == KEPT:
            self.flush()

    def flush(self) -> None:
        """Write the steps that have ended."""
        if self._gpu:
            torch.cuda.synchronize()
        with writing(self._file), self._file.open("a") as file:
            for step, marks in self._steps:
                begin = self._unix + _seconds(self._origin, marks[0])
                parts = [f"{_seconds(a, b):.6f}" for a, b in pairwise(marks)]
                parts += [""] * (len(PHASES) - len(parts))
                file.write(f"{step.number},{step.epoch},{step.mode},{begin:.6f},{','.join(parts)}\n")
        self._steps = []

    def _now(self) -> Mark:
        if not self._gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()  # type: ignore[no-untyped-call]
        return event


def _seconds(begin: Mark, end: Mark) -> float:
    if isinstance(begin, torch.cuda.Event):
        return float(begin.elapsed_time(end)) / 1000  # type: ignore[no-untyped-call]
    return float(end - begin)  # type: ignore[operator]
