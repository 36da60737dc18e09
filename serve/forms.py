"""Choose the numeric form (float32, bfloat16, …) that a machine runs fastest and that gives the same answers.

Which one that is differs by processor, so it is measured, once for all workers, see `serve.measuring`.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.errors import UserError
from serve.records import Trials

#: Run a network: normalised float32 [N, 3, height, width] -> float32 logits [N, classes].
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

#: Forms by name, each made when it is called for. The first is the reference, which the others must agree with.
Forms = Mapping[str, Callable[[], Run]]

#: Rounds in which every form is timed: at least and at most, and how many must pass in which none has become faster.
FEWEST, MOST, STEADY = 3, 20, 3

#: Seconds after which no further round of timing begins, once there have been the fewest.
SECONDS = 3.0

#: How much less than the highest logit, as a share of the largest of all, that of the reference's stored answer may be:
#: graphics cards and other processors round otherwise (TF32 keeps 10 bits), which decides near ties.
TIE = 0.01


def choose(
    forms: Forms,
    probes: NDArray[np.float32],
    answers: NDArray[np.int64],
    batch: int = 1,
    trials: Trials | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[str, str]:
    """Return the name of the fastest form that answers as training did, and a sentence with the time of each.

    `answers` [N] are the most probable classes of the `probes` [N, 3, height, width] as training stored them. The time
    is that of a picture in batches of `batch`, in seconds of the `clock`. Forms that have ended another process are not
    tried. The reference is taken to answer as it did, see `judge`.
    """
    reference = next(iter(forms))
    runs, refused = _made(forms, probes[:batch], trials or Trials())
    milliseconds = _measured(runs, probes[:batch], clock)
    others = sorted(runs.keys() - {reference}, key=lambda name: milliseconds[name])
    compared = [*others, reference]
    for name in sorted(runs, key=lambda name: milliseconds[name]):
        compared.remove(name)
        if name == reference:
            agreed = ""
            break
        agreeing = _agreeing(runs[name](probes), answers)
        agreed = _agreed(agreeing, len(probes))
        if agreeing == len(probes):
            break
        refused.append(f"{name} would take {milliseconds[name]:.1f} ms, but only{agreed[1:]}")
    against = ", ".join(f"{milliseconds[other]:.1f} ms for {other}" for other in compared)
    chosen = (
        f"chose {name}: {milliseconds[name]:.1f} ms a picture" + (f" against {against}" if against else "") + agreed
    )
    return name, "; ".join([chosen, *refused])


def confirm(
    name: str, forms: Forms, probes: NDArray[np.float32], answers: NDArray[np.int64], trials: Trials
) -> str | None:
    """Return a sentence about a form that was chosen before; None where it cannot be chosen again."""
    if name not in forms or name in trials.ended:
        return None
    chosen = f"chose {name}: an earlier start on this processor measured that it is the fastest"
    if name == next(iter(forms)):
        return chosen
    try:
        with trials.of(name):
            agreeing = _agreeing(forms[name]()(probes), answers)
    except Exception:  # as in `_made`; measuring the forms will say why
        return None
    return chosen + _agreed(agreeing, len(probes)) if agreeing == len(probes) else None


def _agreed(agreeing: int, probes: int) -> str:
    return f"; {agreeing} of {probes} probe answers agree"


def agrees(run: Run, probes: NDArray[np.float32], answers: NDArray[np.int64]) -> bool:
    """Tell whether a form gives all `probes` the `answers` of training."""
    return _agreeing(run(probes), answers) == len(answers)


def judge(reference: Run, probes: NDArray[np.float32], answers: NDArray[np.int64]) -> None:
    """Raise `UserError` where the reference's answers to `probes` are not those that training stored, but for ties."""
    logits = reference(probes)
    check_finite(logits)
    wrong = len(answers) - _agreeing(logits, answers, TIE)
    if wrong:
        raise UserError(
            f"the network gives {wrong} of {len(answers)} probe pictures another class than it gave them in training, "
            "so the model's files are damaged or do not belong together; train it again"
        )


def check_finite(values: NDArray[np.float32]) -> None:
    """Raise `UserError` where a network's answers are not all finite."""
    if not np.isfinite(values).all():
        raise UserError("the model answers NaN: its weights are damaged or its training diverged; train it again")


def _agreeing(logits: NDArray[np.float32], answers: NDArray[np.int64], tie: float = 0.0) -> int:
    """Return how many rows of `logits` are finite and have their highest at the answer, or as near as `tie` to that."""
    finite = np.isfinite(logits).all(axis=1)
    logits, answers = logits[finite], answers[finite]
    behind = logits.max(axis=1) - logits[np.arange(len(answers)), answers]
    near = behind < tie * np.abs(logits).max(initial=0)
    return int(np.count_nonzero(near | (logits.argmax(axis=1) == answers)))


def _made(forms: Forms, inputs: NDArray[np.float32], trials: Trials) -> tuple[dict[str, Run], list[str]]:
    """Return the forms that can be made and run, and of the others why not; the reference must be one of the first."""
    reference, *others = forms
    runs, failures = {}, []
    with trials.of(reference):
        runs[reference] = forms[reference]()
        runs[reference](inputs)
    for name in others:
        if name in trials.ended:
            failures.append(f"{name} ended the process that tried it")
            continue
        try:
            with trials.of(name):
                run = forms[name]()
                run(inputs)
        # Compilers meet a network they do not know with every exception there is.
        except Exception as error:
            failures.append(f"{name} cannot be made ({' '.join(str(error).split())[-200:]})")
        else:
            runs[name] = run
    return runs, failures


def _measured(runs: Mapping[str, Run], inputs: NDArray[np.float32], clock: Callable[[], float]) -> dict[str, float]:
    """Return each form's best time in milliseconds a picture; they take turns, so that all meet the same conditions.

    Libraries compile at a first, second or third call, and workers, which answer meanwhile, only ever slow one down. So
    it goes on until no best time falls any more, and none is judged by fewer than `FEWEST` calls.
    """
    best = dict.fromkeys(runs, float("inf"))
    timed, unchanged, begun = list(runs), 0, clock()
    for turn in range(1, MOST + 1):
        before = dict(best)
        for name in timed:
            started = clock()
            runs[name](inputs)
            best[name] = min(best[name], clock() - started)
        unchanged = 0 if any(best[name] < 0.95 * before[name] for name in runs) else unchanged + 1
        if turn < FEWEST:
            continue
        if unchanged == STEADY or clock() - begun > SECONDS:
            break
        # What takes twice as long as another would not win by being timed again.
        timed = [name for name in runs if best[name] <= 2 * min(best.values())]
    return {name: 1000 * seconds / len(inputs) for name, seconds in best.items()}
