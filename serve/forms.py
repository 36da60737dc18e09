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

#: How often a form is timed. The best time counts: other workers start meanwhile, and only ever slow one down.
ROUNDS = 3


def choose(forms: Forms, probes: NDArray[np.float32], answers: NDArray[np.int64], batch: int = 1) -> tuple[str, str]:
    """Return the name of the fastest form that agrees with the reference, and a sentence saying why it was chosen.

    A form agrees when its most probable class for each of the `probes` [N, 3, height, width] is the one in `answers`
    [N], which are the reference's. The time is that of a picture in batches of `batch`.
    """
    runs, refused = _made(forms)
    milliseconds = _measured(runs, probes[:batch])
    reference = next(iter(forms))
    for name in sorted(runs, key=lambda name: milliseconds[name]):
        chosen = f"chose {name}: {milliseconds[name]:.1f} ms a picture"
        if name == reference:
            break
        agreeing = np.count_nonzero(runs[name](probes).argmax(axis=1) == answers)
        told = f"{agreeing} of {len(probes)} probe answers agree"
        if agreeing == len(probes):
            chosen += f" against {milliseconds[reference]:.1f} ms for {reference}; {told}"
            break
        refused.append(f"{name} would take {milliseconds[name]:.1f} ms, but only {told}")
    return name, "; ".join([chosen, *refused])


def _made(forms: Forms) -> tuple[dict[str, Run], list[str]]:
    """Return the forms that can be made, and of the others why not; the reference can be, or the model is unusable."""
    reference, *others = forms
    runs, failures = {reference: forms[reference]()}, []
    for name in others:
        try:
            runs[name] = forms[name]()
        # Compilers meet a network they do not know with every exception there is.
        except Exception as error:
            failures.append(f"{name} cannot be made ({' '.join(str(error).split())[-200:]})")
    return runs, failures


def _measured(runs: Mapping[str, Run], inputs: NDArray[np.float32]) -> dict[str, float]:
    """Return each form's best time in milliseconds a picture; they take turns, so that all meet the same conditions."""
    for run in runs.values():  # the first time, a form does more than run
        run(inputs)
    seconds = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        # What takes twice as long as another would not win by being timed again.
        fastest = min(seconds.values())
        for name in [name for name in runs if seconds[name] <= 2 * fastest]:
            started = time.perf_counter()
            runs[name](inputs)
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
