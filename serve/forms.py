"""Choose the numeric form (float32, bfloat16, …) that a machine runs fastest and that gives the same answers.

Which one that is differs by processor, so it is measured when the model is loaded, once for all workers.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Run a network: normalised float32 [N, 3, height, width] -> float32 logits [N, classes].
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

#: Forms by name, each made when it is called for. The first is the reference, which the others must agree with.
Forms = Mapping[str, Callable[[], Run]]

#: How often each form is timed. The best time counts: other workers start meanwhile, and only ever slow one down.
ROUNDS = 5


def choose(forms: Forms, probes: NDArray[np.float32], batch: int = 1) -> tuple[str, str]:
    """Return the name of the fastest form that agrees with the first, and a sentence saying why it was chosen.

    A form agrees when its most probable class is the reference's for each of the `probes` [N, 3, height, width]; the
    time is that of a picture in batches of `batch`.
    """
    runs = {name: make() for name, make in forms.items()}
    milliseconds = _measure(runs, probes[:batch])
    reference = next(iter(runs))
    expected = runs[reference](probes).argmax(axis=1)
    refused = ""
    for name in sorted(runs, key=lambda name: milliseconds[name]):
        agreeing = np.count_nonzero(runs[name](probes).argmax(axis=1) == expected)
        told = f"{agreeing} of {len(probes)} probe answers agree"
        if agreeing == len(probes):
            break
        refused += f"; {name} would take {milliseconds[name]:.1f} ms, but only {told}"
    sentence = f"chose {name}: {milliseconds[name]:.1f} ms a picture"
    if name != reference:
        sentence += f" against {milliseconds[reference]:.1f} ms for {reference}; {told}"
    return name, sentence + refused


def _measure(runs: Mapping[str, Run], inputs: NDArray[np.float32]) -> dict[str, float]:
    """Return each form's best time in milliseconds a picture; they take turns, so that all meet the same conditions."""
    seconds = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run(inputs)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.perf_counter()
            run(inputs)
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return {name: 1000 * best / len(inputs) for name, best in seconds.items()}


def once(record: Path | None, decide: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """Return what `decide` returns, called in one of the processes that share the file `record`.

    The others wait for it; when it dies, the next one decides. Without a record every process decides for itself.
    """
    if record is None:
        return decide()
    with record.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        if not text:
            text = json.dumps(decide())
            file.write(text)
    name, sentence = json.loads(text)
    return name, sentence


def record(folder: Path) -> Path | None:
    """Return the file in which the workers of the model in `folder` share what they chose; None outside a container."""
    shared = os.environ.get("SERVE_FORMS")
    if not shared:
        return None
    # With its time, for a multi-model endpoint may put another model at the same place.
    return Path(shared) / f"{str(folder.resolve()).replace('/', '-')}-{folder.stat().st_mtime_ns}"
