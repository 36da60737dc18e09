"""What the report says, as plain data: `report.json` is this, and the page is drawn from it."""

import math
import re
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision import __version__
from byoc_vision.contract.hyperparameters import kebab, shown
from byoc_vision.contract.job import PHASES, WRONG_SHOWN
from byoc_vision.debugger import quality
from byoc_vision.debugger.evaluate import Verdict
from byoc_vision.debugger.job import Job, finite
from byoc_vision.debugger.rules.base import LOSS
from byoc_vision.debugger.rules.timing import spread
from byoc_vision.debugger.trial import Mode, Trial

#: Points of a curve: more than a screen has pixels for only make the file larger.
POINTS = 240

#: What of run.json is shown elsewhere than under the machine.
_MOMENTS = ("job", "started", "first_step", "phases", "extraction", "instance", "hosts")

#: Unix seconds below which they are a date: in the year 5138.
_DATES = 1e11

#: What a job notes where it had none: of data loaders, of GPUs.
_NOTHING: tuple[object, ...] = (None, [])

Bands = dict[str, list[float | None]]


def facts(
    job: Job, trial: Trial, verdicts: list[Verdict], missing: list[str], now: float | None, price: float | None = None
) -> dict[str, Any]:
    """Return all the report says about a job, which is not over yet where the time `now` (unix seconds) is given.

    `price` is that of an hour of one of its machines.
    """
    run = job.profile.run
    spent = time(job, now)
    return {
        "format_version": 1,
        "version": __version__,
        "identity": identity(job),
        "cost": cost(job, spent, price),
        "rules": [verdict.as_dict() for verdict in verdicts],
        "figures": {name: value for name, value in job.metrics.items() if finite(value)},
        "history": job.history,
        "best_epoch": job.best_epoch,
        "step_losses": step_losses(trial),
        "curves": {name: curve for name, values in job.curves.items() if (curve := bands(*values.T))},
        "classes": quality.classes(job.predictions),
        "untested": untested(job),
        "quality": quality.overall(job.predictions) | _top(job),
        "confusion": confusion(job),
        "wrong": wrong(job),
        "data": data(job),
        "kinds": kinds(job),
        "left_out": _lines(job.metrics.get("left_out")),
        "copies": asdict(job.copies),
        "time": spent,
        "utilisation": utilisation(job),
        "pictures": _text(job.metrics.get("pictures")),
        "unreadable": _text(job.metrics.get("unreadable")),
        "settings": {kebab(name): value for name, value in _text(job.model.get("settings")).items()},
        "versions": _text(job.model.get("versions")),
        "machine": _text(
            {name: value for name, value in run.items() if name not in _MOMENTS and value not in _NOTHING}
        ),
        "missing": missing,
    }


def identity(job: Job) -> dict[str, Any]:
    """Return what tells this job from others, as far as it is known: job, arch, classes, pictures, date and machine."""
    run, settings, pictures = job.profile.run, job.model.get("settings"), job.metrics.get("pictures")
    counts = [count for count in pictures.values() if finite(count)] if isinstance(pictures, dict) else []
    started: Any = run.get("started")
    known = {
        "job": str(run.get("job") or ""),
        "arch": settings.get("arch") if isinstance(settings, dict) else None,
        "version": _text(job.model.get("versions")).get("byoc-vision"),
        "classes": len(job.labels),
        "pictures": sum(counts),
        "digest": str(job.metrics.get("data_digest", "")),
        "started": started if finite(started) and 0 < started < _DATES else None,
        "machine": _machine(run),
    }
    return {name: value for name, value in known.items() if value}


def cost(job: Job, spent: dict[str, Any], price: float | None) -> dict[str, float]:
    """Return `price` an hour, `hours` of all machines, and the `total`; nothing where the price or time is unknown."""
    seconds = run_time(spent, job.metrics)
    if price is None or seconds is None:
        return {}
    hours = seconds / 3600 * _hosts(job.profile.run)
    return {"price": price, "hours": hours, "total": price * hours}


def run_time(spent: dict[str, Any], figures: dict[str, Any]) -> float | None:
    """Return the job's seconds: from its container's start, as far as that is known."""
    if "phases" in spent:
        return float(sum(seconds for _, seconds in spent["phases"]))
    return float(figures["seconds"]) if finite(figures.get("seconds")) else None


def _hosts(run: dict[str, Any]) -> int:
    hosts = run.get("hosts")
    return int(hosts) if isinstance(hosts, int) and hosts > 0 else 1


def data(job: Job) -> dict[str, dict[str, int]]:
    """Return class -> split -> how many pictures, as far as the job has told."""
    pictures = job.metrics.get("pictures_of_classes")
    rows = pictures.items() if isinstance(pictures, dict) else ()
    return {
        str(label): {str(split): int(count) for split, count in counts.items() if finite(count)}
        for label, counts in rows
        if isinstance(counts, dict)
    }


def kinds(job: Job) -> dict[str, dict[str, int]]:
    """Return format, mode and size -> how many pictures have it, as far as the job has told (`train.results`)."""
    noted = job.metrics.get("kinds_of_pictures")
    known = noted if isinstance(noted, dict) else {}
    return {
        name: {str(kind): int(count) for kind, count in known[name].items() if finite(count)}
        for name in ("formats", "modes", "shorter_sides")
        if isinstance(known.get(name), dict)
    }


def _lines(content: object) -> list[str]:
    return [str(line) for line in content] if isinstance(content, list) else []


def untested(job: Job) -> list[str]:
    """Return the classes without a test picture, of a job that has tested others."""
    tested = {row.label for row in job.predictions}
    return [label for label in job.labels if label not in tested] if tested else []


def _top(job: Job) -> dict[str, float]:
    if job.probabilities is None or job.probabilities.shape[1] < quality.MANY:
        return {}
    truth = [row.label for row in job.predictions]
    return {"top_accuracy": quality.top_accuracy(job.probabilities, job.labels, truth)}


def _machine(run: dict[str, Any]) -> str:
    gpus, cores = run.get("gpus"), run.get("cores")
    named = [f"{count} × {name}" for name, count in Counter(map(str, gpus)).items()] if isinstance(gpus, list) else []
    kind, hosts = str(run.get("instance") or ""), _hosts(run)
    if kind and not kind.startswith("local"):  # that is this machine, of which the rest says more
        named = [kind, *named]
    if hosts > 1:
        named = [f"{hosts} hosts", *named]
    return ", ".join([*named, f"{cores} cores"] if finite(cores) else named)


def _text(content: object) -> dict[str, str]:
    """Return what the job wrote as text: it may hold anything, and is only shown, settings as they are typed."""
    items = content.items() if isinstance(content, dict) else ()
    return {str(name): ", ".join(map(str, value)) if isinstance(value, list) else shown(value) for name, value in items}


def bands(x: NDArray[Any], y: NDArray[Any], points: int = POINTS) -> Bands:
    """Return at most `points` points of a curve, each with the mean, the least and the largest value around it."""
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if not len(x):
        return {}
    parts = [part for part in np.array_split(np.arange(len(x)), min(points, len(x))) if len(part)]
    return {
        "x": [_round(x[part].mean()) for part in parts],
        "mean": [_round(y[part].mean()) for part in parts],
        "least": [_round(y[part].min()) for part in parts],
        "most": [_round(y[part].max()) for part in parts],
    }


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def step_losses(trial: Trial) -> Bands:
    """Return the loss of every training step that was recorded, or of every step where modes were not told apart."""
    names = {name for names in set(trial.steps.values()) for name in names if re.search(LOSS, name)}
    for name in sorted(names):
        numbers = {step: trial.mode_step(step) for step, saved in trial.steps.items() if name in saved}
        points = [(number, step) for step, (mode, number) in numbers.items() if mode is Mode.TRAIN]
        points = sorted(points) or [(step, step) for step in sorted(numbers)]
        values = [(number, value) for number, step in points if (value := trial.value(name, step)) is not None]
        losses = [loss.item() if loss.size == 1 else loss.mean() for _, loss in values]
        if losses:
            return bands(np.array([number for number, _ in values], dtype=float), np.array(losses, dtype=float))
    return {}


def confusion(job: Job) -> dict[str, Any]:
    """Return the classes in order, and [label, predicted, count] for all pairs that occur, by number of the class."""
    labels = job.labels if job.predictions else []
    place = {label: i for i, label in enumerate(labels)}
    pairs = Counter((place[row.label], place[row.predicted]) for row in job.predictions)
    return {"labels": labels, "pairs": [[i, j, count] for (i, j), count in pairs.most_common()]}


def wrong(job: Job) -> list[dict[str, Any]]:
    """Return the test pictures that were predicted wrongly, the surest first."""
    rows = sorted((row for row in job.predictions if row.label != row.predicted), key=lambda row: -row.probability)
    return [vars(row) for row in rows[:WRONG_SHOWN]]


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
                "seconds": {name: _round(steps.parts[name][chosen].sum()) for name in PHASES},
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
    extracted, cores, gpus, hosts = _extraction(run), f"{run.get('cores')} cores", run.get("gpus"), _hosts(run)
    if name == "features" and extracted:
        count, decoding = extracted
        where = ("a GPU" if gpus else cores) + " of each host" * (hosts > 1)
        most = _most("decoding", decoding)
        return (
            f"{share}: {count:,} pictures, {count / seconds:,.0f} a second on {where}, and of that time {most}. "
            "Further jobs that are given these features take them from there."
        )
    if name == "training" and job.history and all(map(finite, counts)) and any(counts):
        rate = len(job.history) * sum(counts) / seconds
        where = cores if not gpus else f"{len(gpus)} GPUs" if isinstance(gpus, list) and len(gpus) > 1 else "a GPU"
        where = f"{hosts} hosts with {where} each" if hosts > 1 else where
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


def utilisation(job: Job) -> dict[str, Any]:
    """Return the course of each resource's utilisation in per cent over the minutes since the first sample."""
    system = job.profile.system
    if system is None:
        return {}
    minutes = (system.time - system.time.min()) / 60
    curves = {
        "CPU, mean of cores": system.cpu.mean(axis=1) if system.cpu.size else system.cpu[:, 0:0].sum(axis=1) + math.nan
    }
    if system.cpu.shape[1] > 1:
        curves["CPU, busiest core"] = system.cpu.max(axis=1)
    curves |= {"waiting for I/O": system.iowait, "memory": system.memory}
    for k in range(system.gpu.shape[1]):
        curves[f"GPU {k}"] = system.gpu[:, k]
    for k in range(system.gpu_memory.shape[1]):
        curves[f"GPU {k} memory"] = system.gpu_memory[:, k]
    content = {name: bands(minutes, values) for name, values in curves.items()}
    return {name: course for name, course in content.items() if course}
