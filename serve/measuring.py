"""Find the numeric form that a model is computed in fastest: in a process of its own, while workers answer requests.

`python -m serve.measuring FOLDER GPU [FORM]...` is that process; GPU is a number or "cpu", and each FORM is one that
has ended such a process before. It prints lines of JSON:

    ["trying", FORM]              the form is made and run; where no other line follows, it has ended the process
    ["tried", FORM]               it has not
    ["chose", FORM, SENTENCE]     the form is the fastest that answers as training did

It has the lowest rank wherever the kernel chooses: for the processor, and for whom to end where memory is short.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from byoc_vision.contract.errors import UserError
from serve import packages, records
from serve.memory import LOADING, may_be_killed
from serve.records import Kept, Trials

if TYPE_CHECKING:
    from serve.backend import Model

#: What is measured in one thread, as priority for the processor a tenth of that of a worker.
_NICE = 10

_PR_SET_PDEATHSIG = 1

COMMAND = (sys.executable, "-P", "-m", "serve.measuring")


def settle(model: "Model", folder: Path, gpu: int | None, has_room: Callable[[], bool]) -> None:
    """Let the model of `folder` go on in its fastest form, which one worker finds for all; see `Model.settle`."""
    shared = os.environ.get(records.SHARED_VARIABLE)
    measured = partial(fastest, folder, gpu)
    if shared:  # there is a container around this process
        file = records.shared(folder, Path(shared))
        model.settle(lambda reference: records.once(file, partial(measured, reference)), has_room)
    else:
        model.settle(measured, has_room)


def fastest(folder: Path, gpu: int | None, reference: str) -> tuple[str, str]:
    """Return the fastest form of the model in `folder`, and a sentence with the reason; it takes some seconds.

    It is the `reference` where the measuring does not come to an end.
    """
    ended: list[str] = []
    while True:
        form, trying, status = _measured([str(folder), "cpu" if gpu is None else str(gpu), *ended])
        if form:
            return form
        # What memory was short for is no fault of the form.
        if trying in (None, reference, *ended) or status == -signal.SIGKILL:
            why = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            return reference, f"chose {reference}: the process that measured other forms has ended ({why})"
        ended.append(str(trying))


def _measured(arguments: list[str]) -> tuple[tuple[str, str] | None, str | None, int]:
    """Return what one process has chosen, else the form that it was trying at its end; and its exit status."""
    chosen, trying = None, None
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout
        for line in process.stdout:
            event, form, *rest = json.loads(line)
            trying = form if event == "trying" else None
            if event == "chose":
                chosen = form, rest[0]
    return chosen, trying, process.returncode


def main(folder: str, gpu: str, *ended: str) -> int:
    """Measure; return the exit status."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICE)
    may_be_killed(LOADING)
    packages.inherit()
    # Whatever a library prints is no line of ours.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as lines:
        os.dup2(2, 1)
        from serve import backend

        try:
            network = backend.read(Path(folder), None if gpu == "cpu" else int(gpu), backend.precision())
            kept = Kept.under(backend.circumstances(Path(folder), network))
            chosen = backend.choose(network, backend.precision(), kept, Trials(lines, frozenset(ended)))
        except UserError as error:
            print(f"the numeric forms cannot be measured: {error}", file=sys.stderr)
            return 1
        lines.write(json.dumps(["chose", *chosen]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
