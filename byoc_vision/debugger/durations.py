"""How long a job took, its phases and steps, and what that cost."""

from typing import Any

from byoc_vision.contract.job import PHASES
from byoc_vision.debugger.courses import bands
from byoc_vision.debugger.job import Job, finite
from byoc_vision.debugger.rules.timing import spread


def cost(job: Job, spent: dict[str, Any], price: float | None) -> dict[str, float]:
    """Return `price` an hour, `hours` of all machines, and the `total`; nothing where the price or time is unknown."""
    seconds = run_time(spent, job.metrics)
    if price is None or seconds is None:
        return {}
    hours = seconds / 3600 * hosts(job.profile.run)
    return {"price": price, "hours": hours, "total": price * hours}


def run_time(spent: dict[str, Any], figures: dict[str, Any]) -> float | None:
    """Return the job's seconds: from its container's start, as far as that is known."""
    if "phases" in spent:
        return float(sum(seconds for _, seconds in spent["phases"]))
    return float(figures["seconds"]) if finite(figures.get("seconds")) else None


def hosts(run: dict[str, Any]) -> int:
    """Return how many machines the job had, one where it does not say."""
    count = run.get("hosts")
    return int(count) if isinstance(count, int) and count > 0 else 1


def time(job: Job, now: float | None = None) -> dict[str, Any]:
    """Return the seconds of each phase, of each part of the steps, and the course of a step's time."""
    run, steps = job.profile.run, job.profile.steps
    content: dict[str, Any] = {}
    if spent := phases(run, now):
        content["phases"] = [part for phase in spent for part in _parts(phase, _extraction(run))]
        content["bottleneck"] = bottleneck(job, spent)
    started, first = run.get("started"), run.get("first_step")
    if finite(started) and finite(first):
        content["start_up"] = round(float(first) - float(started), 3)  # type: ignore[arg-type]
    if steps is None:
        return content
    for mode in ("train", "eval"):
        chosen = steps.mode == mode
        if chosen.any():
            content[mode] = {
                "steps": int(chosen.sum()),
                "seconds": {name: float(f"{steps.parts[name][chosen].sum():.5g}") for name in PHASES},
                "step": spread(steps.duration[chosen]),
                "course": {
                    name: bands(steps.step[chosen], 1000 * steps.parts[name][chosen]).get("mean", []) for name in PHASES
                }
                | {"step": bands(steps.step[chosen], steps.step[chosen]).get("mean", [])},
            }
    return content


def phases(run: dict[str, Any], now: float | None) -> list[tuple[str, float]]:
    """Return each phase from the container's start with its seconds; they add up to the job's time.

    The last one, the report, ends `now`, and is left out where that is not known.
    """
    try:
        begins = [("start and imports", float(run["started"])), *((str(name), float(at)) for name, at in run["phases"])]
    except (KeyError, TypeError, ValueError):
        return []
    ends = [at for _, at in begins[1:]] + ([now] if now else [])
    spent = [(name, end - begin) for (name, begin), end in zip(begins, ends, strict=False)]
    usable = all(finite(seconds) and seconds >= 0 for _, seconds in spent) and any(seconds for _, seconds in spent)
    return spent if usable else []


def _extraction(run: dict[str, Any]) -> tuple[int, float] | None:
    """Return how many pictures' features were computed, and the share of decoding in that; None where none were."""
    work = run.get("extraction")
    if not isinstance(work, dict) or not all(finite(work.get(name)) for name in ("pictures", "decoding", "network")):
        return None
    whole = work["decoding"] + work["network"]
    return (int(work["pictures"]), work["decoding"] / whole) if work["pictures"] > 0 and whole > 0 else None


def _parts(phase: tuple[str, float], extracted: tuple[int, float] | None) -> list[tuple[str, float]]:
    """Return a phase, divided where more is known of it."""
    name, seconds = phase
    if name != "features" or extracted is None:
        return [phase]
    return [("features: decoding", seconds * extracted[1]), ("features: network", seconds * (1 - extracted[1]))]


def bottleneck(job: Job, spent: list[tuple[str, float]]) -> str:
    """Return a sentence about the phase that took the longest."""
    name, seconds = max(spent, key=lambda phase: phase[1])
    share = (
        f"{name[:1].upper()}{name[1:]} took the longest, {100 * seconds / sum(s for _, s in spent):.0f} % of the time"
    )
    pictures = job.metrics.get("pictures")
    counts = [pictures.get(split, 0) for split in ("train", "validation")] if isinstance(pictures, dict) else []
    run = job.profile.run
    extracted, cores, gpus, machines = _extraction(run), f"{run.get('cores')} cores", run.get("gpus"), hosts(run)
    if name == "features" and extracted:
        count, decoding = extracted
        where = ("a GPU" if gpus else cores) + " of each host" * (machines > 1)
        most = _most("decoding", decoding)
        return (
            f"{share}: {count:,} pictures, {count / seconds:,.0f} a second on {where}, and of that time {most}. "
            "Further jobs that are given these features take them from there."
        )
    if name == "training" and job.history and all(map(finite, counts)) and any(counts):
        rate = len(job.history) * sum(counts) / seconds
        where = cores if not gpus else f"{len(gpus)} GPUs" if isinstance(gpus, list) and len(gpus) > 1 else "a GPU"
        where = f"{machines} hosts with {where} each" if machines > 1 else where
        return f"{share}: {len(job.history)} epochs, {rate:,.0f} pictures a second on {where}{_of_a_step(job)}."
    return f"{share}."


def _most(waiting: str, share: float) -> str:
    return f"{waiting} {100 * share:.0f} %" if share > 0.5 else f"the network {100 - 100 * share:.0f} %"


def _of_a_step(job: Job) -> str:
    """Return what took most of the training steps, or nothing where they were not timed."""
    steps = job.profile.steps
    if steps is None or not (whole := steps.duration[steps.mode == "train"].sum()) > 0:
        return ""
    waited = steps.parts["data"][steps.mode == "train"].sum() / whole
    return f", and of the steps' time {_most('the wait for data', waited)}"
