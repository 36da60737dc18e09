"""What the report says, as plain data: `report.json` is this, and the page is drawn from it."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from byoc_vision import __version__
from byoc_vision.contract.hyperparameters import kebab, shown
from byoc_vision.contract.job import WRONG_SHOWN
from byoc_vision.debugger import durations, quality
from byoc_vision.debugger.courses import bands, step_losses, utilisation
from byoc_vision.debugger.evaluate import Verdict
from byoc_vision.debugger.job import Job, finite
from byoc_vision.debugger.trial import Trial

#: What of run.json is shown elsewhere than under the machine.
_MOMENTS = ("job", "started", "first_step", "phases", "extraction", "instance", "hosts")

#: Unix seconds below which they are a date: in the year 5138.
_DATES = 1e11

#: What a job notes where it had none: of data loaders, of GPUs.
_NOTHING: tuple[object, ...] = (None, [])


def facts(
    job: Job, trial: Trial, verdicts: list[Verdict], missing: list[str], now: float | None, price: float | None = None
) -> dict[str, Any]:
    """Return all the report says about a job, which is not over yet where the time `now` (unix seconds) is given.

    `price` is that of an hour of one of its machines.
    """
    run = job.profile.run
    spent = durations.time(job, now)
    return {
        "format_version": 1,
        "version": __version__,
        "identity": identity(job),
        "cost": durations.cost(job, spent, price),
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
    kind, hosts = str(run.get("instance") or ""), durations.hosts(run)
    if kind and not kind.startswith("local"):  # that is this machine, of which the rest says more
        named = [kind, *named]
    if hosts > 1:
        named = [f"{hosts} hosts", *named]
    return ", ".join([*named, f"{cores} cores"] if finite(cores) else named)


def _text(content: object) -> dict[str, str]:
    """Return what the job wrote as text: it may hold anything, and is only shown, settings as they are typed."""
    items = content.items() if isinstance(content, dict) else ()
    return {str(name): ", ".join(map(str, value)) if isinstance(value, list) else shown(value) for name, value in items}


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
