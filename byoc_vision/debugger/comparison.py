"""The page of several training jobs side by side: figures, what was set differently, curves, and classes."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from byoc_vision.debugger import charts
from byoc_vision.debugger.charts import Line
from byoc_vision.debugger.durations import run_time
from byoc_vision.debugger.markup import document, pair, seconds, section, table
from byoc_vision.debugger.page import identity_line

#: Classes whose accuracy differs most between the jobs.
CLASSES = 20

#: The colours of the style sheet.
_COLOURS = 8


def facts(jobs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the page says as plain data: of each of the `jobs` (name -> what its report says) the same rows."""
    return {
        "format_version": 1,
        "jobs": {name: _figures(content) for name, content in jobs.items()},
        "settings": differing({name: content["settings"] for name, content in jobs.items()}),
        "rules": [],
    }


def page(jobs: Mapping[str, dict[str, Any]]) -> str:
    """Return the HTML of the page; `jobs` are as in `facts`."""
    parts = [_head(jobs), _table(jobs), _settings(jobs), _curves(jobs), _classes(jobs)]
    return document("Jobs side by side", "".join(parts))


def differing(settings: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return setting -> job -> value for those that are not the same in all jobs; a job without one has a dash."""
    names = {name: None for values in settings.values() for name in values}
    rows = {name: {job: values.get(name, "–") for job, values in settings.items()} for name in names}
    return {name: row for name, row in rows.items() if len(set(row.values())) > 1}


def _head(jobs: Mapping[str, dict[str, Any]]) -> str:
    """Say which jobs they are: further down each is a letter and a colour."""
    items = "".join(
        f"<li>{_letter(number)} <b>{escape(name)}</b> "
        f'<span class="soft small">{escape(identity_line(content["identity"]))}</span></li>'
        for number, (name, content) in enumerate(jobs.items())
    )
    return f'<header><h1>{len(jobs)} training jobs side by side</h1><ul class="jobs">{items}</ul></header>'


def _letter(number: int) -> str:
    return f'<i class="swatch c{number % _COLOURS}"></i>{_name(number)}'


def _name(number: int) -> str:
    """Return A to Z, then A1 and so on."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number > 25 else "")


def _figures(content: dict[str, Any]) -> dict[str, Any]:
    quality, history, best = content["quality"], content["history"], content["best_epoch"]
    kept = history[best - 1] if best else {}
    figures = {
        "test accuracy": content["figures"].get("test_accuracy"),
        "low": quality.get("low"),
        "high": quality.get("high"),
        "top-5 accuracy": quality.get("top_accuracy"),
        "macro F1": quality.get("macro_f1"),
        "validation accuracy": kept.get("validation_accuracy"),
        "validation loss": kept.get("validation_loss"),
        "run time": run_time(content["time"], content["figures"]),
        "data": content["identity"].get("digest"),
    }
    return {name: value for name, value in figures.items() if value is not None}


def _table(jobs: Mapping[str, dict[str, Any]]) -> str:
    by_job = {name: _figures(content) for name, content in jobs.items()}

    def cell(figures: dict[str, Any], name: str) -> str:
        value = figures.get(name)
        if value is None:
            return "–"
        if name == "run time":
            return seconds(value)
        if name == "data":
            return escape(str(value)[:8])
        if "accuracy" not in name:
            return f"{value:.4g}"
        sure = ""
        if name == "test accuracy" and "low" in figures:
            sure = f" ({100 * figures['low']:.1f}–{100 * figures['high']:.1f})"
        return f"{100 * value:.1f} %{sure}"

    names = list(dict.fromkeys(name for figures in by_job.values() for name in figures if name not in ("low", "high")))
    rows = [[escape(name), *(cell(figures, name) for figures in by_job.values())] for name in names]
    lead = (
        "Where the ranges of two test accuracies overlap, one job may be better by luck. Figures on different data "
        "(see the digests) do not compare."
    )
    return section("Figures", _by_job(rows), lead=lead)


def _by_job(rows: Sequence[Sequence[str]]) -> str:
    """Return a table with a column for each job, after the first."""
    if not rows:
        return ""
    head = ["", *map(_letter, range(len(rows[0]) - 1))]
    return f'<div class="scroll narrow">{table(head, rows, range(1, len(head)))}</div>'


def _settings(jobs: Mapping[str, dict[str, Any]]) -> str:
    settings = differing({name: content["settings"] for name, content in jobs.items()})
    rows = [[escape(name), *map(escape, values.values())] for name, values in settings.items()]
    return section("What was set differently", _by_job(rows) or "<p>Nothing.</p>")


def _curves(jobs: Mapping[str, dict[str, Any]]) -> str:
    def chart(what: str) -> str:
        lines = []
        for number, content in enumerate(jobs.values()):
            known = [(epoch, row[what]) for epoch, row in enumerate(content["history"], 1) if what in row]
            lines.append(Line(_name(number), [at for at, _ in known], [value for _, value in known], number % _COLOURS))
        return charts.lines(lines, f"{what} by epoch", "epoch")

    curves = ("Validation loss", chart("validation_loss")), ("Validation accuracy", chart("validation_accuracy"))
    return section("Curves", pair(*curves))


def _classes(jobs: Mapping[str, dict[str, Any]]) -> str:
    known = [{row["label"]: row["accuracy"] for row in content["classes"]} for content in jobs.values()]
    shared = set.intersection(*map(set, known)) if known else set()
    apart = {
        label: max(accuracies[label] for accuracies in known) - min(accuracies[label] for accuracies in known)
        for label in shared
    }
    chosen = sorted((label for label in apart if apart[label] > 0), key=lambda label: (-apart[label], label))[:CLASSES]
    rows = [[escape(label), *(f"{100 * accuracies[label]:.1f} %" for accuracies in known)] for label in chosen]
    lead = "The accuracy of the classes that the jobs differ on most."
    return section("Classes", _by_job(rows), lead=lead)
