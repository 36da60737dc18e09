"""The page of a tuning job: all trials, how far the search came, and what each hyperparameter did."""

import json
import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from statistics import median
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from byoc_vision.debugger import charts
from byoc_vision.debugger.charts import Line
from byoc_vision.debugger.markup import document, named, pair, seconds, section, table

#: Trials that the table shows before the reader asks for all.
FIRST_TRIALS = 20

#: Hyperparameters that parallel coordinates have room for.
AXES = 6

#: Reasons for which trials failed, the most frequent first, that are shown.
REASONS = 5

#: Characters of a fraction that is shown whole.
LONGEST = 8

#: How many times the highest of a hyperparameter's values is the lowest where its axis is logarithmic.
LOGARITHMIC = 20


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial: `value` is the objective's, None where it left none; `spent` are seconds, None while it runs.

    reason: why it failed.
    """

    name: str
    status: str
    value: float | None
    settings: dict[str, str]
    spent: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Search:
    """A tuning job: what it looks for, and its trials, oldest first.

    importance: each hyperparameter's share of what makes a trial good, the greatest first, as far as that is known.
    curves: the objective after each epoch of some trials, by their names.
    option: what `byoc train` needs besides to train as it did, such as --local.
    """

    name: str
    status: str
    objective: str
    maximize: bool
    trials: tuple[Trial, ...]
    importance: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    option: str = ""

    def with_more(self, importance: Mapping[str, float], curves: Mapping[str, Sequence[float]]) -> Self:
        """Return the same with what takes more than the service's summaries."""
        return replace(self, importance=importance, curves=curves)

    @property
    def judged(self) -> list[Trial]:
        """The trials that have a value, the best first."""
        judged = [trial for trial in self.trials if trial.value is not None and math.isfinite(trial.value)]
        return sorted(judged, key=lambda trial: trial.value or 0.0, reverse=self.maximize)

    @property
    def hyperparameters(self) -> list[str]:
        """The names of what is searched."""
        return sorted({name for trial in self.trials for name in trial.settings})


def facts(search: Search, price: float | None = None) -> dict[str, Any]:
    """Return what the page says as plain data; `price` is that of an hour of a trial's machine."""
    judged = search.judged
    hours = sum(trial.spent or 0 for trial in search.trials) / 3600
    return {
        "format_version": 1,
        "identity": {"job": search.name},
        "status": search.status,
        "objective": {"name": search.objective, "maximize": search.maximize},
        "trials": [asdict(trial) | {"value": trial.value if trial in judged else None} for trial in search.trials],
        "best": asdict(judged[0]) if judged else None,
        "cost": {} if price is None else {"price": price, "hours": hours, "total": price * hours},
        "importance": dict(search.importance),
        "curves": {name: list(curve) for name, curve in search.curves.items()},
        "correlation": {name: correlation(search, name) for name in search.hyperparameters},
        "rules": [],
    }


def page(search: Search, cost: Mapping[str, float] = {}) -> str:
    """Return the HTML of the page; `cost` is that of the `facts`."""
    whole = section(
        "The search",
        pair(
            ("The objective", _progress(search)),
            ("The best trials while they ran", _curves(search)),
            ("All trials at once", _parallel(search)),
            ("What mattered", _importance(search)),
        ),
        lead="How far the search has come. Where the best has not changed for long, more trials will hardly help.",
    )
    parts = [_head(search, cost), _best(search), whole, _hyperparameters(search), _all(search)]
    return document(search.name, "".join(parts))


def numbers(search: Search, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the values [N] of a hyperparameter in the judged trials and their objectives [N]; None for words."""
    known = [trial for trial in search.judged if name in trial.settings]
    try:
        values = np.array([float(trial.settings[name]) for trial in known])
    except ValueError:
        return None
    if not len(values) or not np.isfinite(values).all():
        return None
    return values, np.array([trial.value for trial in known], dtype=float)


def correlation(search: Search, name: str) -> float | None:
    """Return Spearman's rank correlation of a hyperparameter with the objective; None where it has none."""
    known = numbers(search, name)
    if known is None or len(known[0]) < 3:
        return None
    ranks, others = _ranks(known[0]), _ranks(known[1])
    if np.ptp(ranks) == 0 or np.ptp(others) == 0:
        return None
    return float(np.corrcoef(ranks, others)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value; equal ones share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    mean = np.cumsum(count) - (count - 1) / 2
    return np.asarray(mean[place], dtype=float)


def _head(search: Search, cost: Mapping[str, float]) -> str:
    judged, failed = search.judged, sum(trial.status == "Failed" for trial in search.trials)
    shown = [(f"{judged[0].value:.5g}", f"best {search.objective}")] if judged else []
    shown.append((f"{len(search.trials):,}", "trials"))
    if failed:
        shown.append((f"{failed:,}", "failed"))
    spent = [trial.spent for trial in search.trials if trial.spent is not None]
    if spent:
        shown.append((seconds(median(spent)), "a trial, median"))
        shown.append((seconds(sum(spent)), "all trials"))
    if cost:
        shown.append((f"{cost['total']:.2g}", f"cost of that time, at {cost['price']:g} an hour"))
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>" for value, name in shown)
    said = f"Tuning job, {search.status}; {'maximizes' if search.maximize else 'minimizes'} {search.objective}"
    return (
        f'<header><h1>{escape(search.name)}</h1><p class="soft">{escape(said)}</p>'
        f'<ul class="figures">{items}</ul></header>'
    )


def _best(search: Search) -> str:
    if not search.judged:
        return section("The best trial", "<p>No trial has left a value.</p>")
    best = search.judged[0]
    settings = escape(json.dumps(best.settings, indent=2, ensure_ascii=False))
    lead = "What was searched and found. The line below trains with it, and with what was the same in every trial."
    line = f"byoc train --hyperparameters {escape(shlex.quote(search.name))} --data … {escape(search.option)}".rstrip()
    return section("The best trial", f"<p>{escape(best.name)}</p><pre>{settings}</pre><pre>{line}</pre>", lead=lead)


def _progress(search: Search) -> str:
    judged = set(search.judged)
    points = [(number, float(trial.value or 0)) for number, trial in enumerate(search.trials, 1) if trial in judged]
    if not points:
        return ""
    x, y = zip(*points, strict=True)
    best = (np.maximum if search.maximize else np.minimum).accumulate(y)
    lines = [Line("a trial", x, y, 0, joined=False), Line("the best so far", x, best.tolist(), 1)]
    return charts.lines(lines, f"{search.objective} by trial", "trial")


def _curves(search: Search) -> str:
    best = search.judged[0].name if search.judged else ""
    lines = [
        Line(name, range(1, len(curve) + 1), curve, 0, faint=True)
        for name, curve in search.curves.items()
        if name != best
    ]
    if curve := search.curves.get(best):
        lines.append(Line("the best", range(1, len(curve) + 1), curve, 1))
    drawn = charts.lines(lines, f"{search.objective} by epoch", "epoch", legend=False)
    hint = f'<p class="small soft">A line is one of the {len(lines)} best trials. The best is marked.</p>'
    return hint + drawn if drawn else ""


def _importance(search: Search) -> str:
    if not search.importance:
        return ""
    hint = (
        '<p class="small soft">The share of each hyperparameter in what tells the best trials (a tenth, at least '
        "five) from all (PED-ANOVA). What mattered little can be left as it is.</p>"
    )
    return hint + charts.bars([(name, share, f"{100 * share:.0f} %") for name, share in search.importance.items()])


def _hyperparameters(search: Search) -> str:
    shown, words = [], []
    for name in search.hyperparameters:
        known = numbers(search, name)
        if known is None or len(set(known[0].tolist())) < 3:
            words.append(_by_value(search, name))
            continue
        values, objectives = known
        wide = is_wide(values)
        x = np.log10(values) if wide else values
        line = Line(name, x.tolist(), objectives.tolist(), 0, joined=False)
        order = correlation(search, name)
        title = f"{name}, rank correlation {order:+.2f}" if order is not None else name
        label = f"log10 of {name}" if wide else name
        shown.append((title, charts.lines([line], f"{search.objective} by {name}", label, legend=False)))
    lead = (
        "A point is a trial. A rank correlation near +1 or -1 says that the objective rises or falls with the value; "
        "near 0, that it does neither."
    )
    return section("Each hyperparameter and the objective", pair(*shown), *words, lead=lead)


def is_wide(values: NDArray[np.float64]) -> bool:
    """Return whether values are so far apart that their orders of magnitude count."""
    return bool(values.min() > 0 and values.max() >= LOGARITHMIC * values.min())


def _by_value(search: Search, name: str) -> str:
    values: dict[str, list[float]] = {}
    for trial in search.judged:
        values.setdefault(trial.settings.get(name, "–"), []).append(float(trial.value or 0))
    rows = [
        [named(value), f"{len(scores)}", f"{scores[0]:.5g}", f"{median(scores):.5g}"]
        for value, scores in values.items()
    ]
    return f'<h3 style="margin-top:24px">{escape(name)}</h3>' + table(
        ["value", "trials", "best", "median"], rows, (1, 2, 3)
    )


def _parallel(search: Search) -> str:
    names = [name for name in search.hyperparameters if numbers(search, name) is not None]
    whole = [trial for trial in search.judged if all(name in trial.settings for name in names)]
    if len(names) < 2 or len(whole) < 2:
        return ""
    most = sorted(
        names, key=lambda name: search.importance.get(name, abs(correlation(search, name) or 0)), reverse=True
    )
    columns: list[tuple[str, list[float], bool]] = []
    for name in [name for name in names if name in most[:AXES]]:
        values = np.array([float(trial.settings[name]) for trial in whole])
        columns.append((name, values.tolist(), is_wide(values)))
    columns.append((search.objective, [float(trial.value or 0) for trial in whole], False))
    shown = f"the {AXES} hyperparameters that mattered most" if len(names) > AXES else "its hyperparameters"
    hint = f'<p class="small soft">A line is a trial, from {shown} to its objective. The best is marked.</p>'
    return hint + charts.parallel(columns, "hyperparameters and objective of all trials")


def _short(whole: str, short: str) -> str:
    """Return the markup of a part of a text that is shown whole when pointed at."""
    return f'<span class="whole" title="{escape(whole)}">{escape(short)}</span>'


def _value(value: str) -> str:
    """Return the markup of a setting's value, a long fraction rounded."""
    try:
        return _short(value, f"{float(value):.4g}") if len(value) > LONGEST and "." in value else named(value)
    except ValueError:
        return named(value)


def _all(search: Search) -> str:
    rank = {trial: place for place, trial in enumerate(search.judged, 1)}
    names = search.hyperparameters
    rows = [
        [
            str(rank.get(trial, "")),
            _short(trial.name, trial.name.removeprefix(f"{search.name}-")),
            f'<span class="state none">{escape(trial.status)}</span>',
            "" if trial.value is None else f"{trial.value:.5g}",
            "" if trial.spent is None else seconds(trial.spent),
            *(_value(trial.settings.get(name, "")) for name in names),
        ]
        for trial in sorted(search.trials, key=lambda trial: rank.get(trial, len(rank) + 1))
    ]
    head = ["", "trial", "status", escape(search.objective), "time", *map(escape, names)]
    places = (0, 3, 4, *range(5, 5 + len(names)))
    shown = f'<div class="scroll">{table(head, rows[:FIRST_TRIALS], places)}</div>'
    if left := rows[FIRST_TRIALS:]:
        rest = table(head, left, places)
        shown += f'<details><summary>The other {len(left)} trials</summary><div class="scroll">{rest}</div></details>'
    reasons = Counter(trial.reason for trial in search.trials if trial.reason).most_common(REASONS)
    failed = [f'<p class="small note">{count:,} failed: {escape(reason)}</p>' for reason, count in reasons]
    return section("Trials", *failed, shown, lead="The best first.")
