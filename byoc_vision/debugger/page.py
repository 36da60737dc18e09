"""The report as one page: no script, no network, all it needs within it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from byoc_vision.contract.hyperparameters import PRESET, Settings, as_text
from byoc_vision.debugger import sections, usage
from byoc_vision.debugger.durations import run_time
from byoc_vision.debugger.markup import Facts, document, seconds, section, table
from byoc_vision.debugger.quality import TOP
from byoc_vision.debugger.sections import Thumbnail

#: Findings of a rule that are listed.
LISTED = 8

#: Unreadable pictures that are named.
UNREAD = 20


def page(facts: Facts, thumbnail: Thumbnail) -> str:
    """Return the HTML of a report; `thumbnail` finds a picture's small copy."""
    content = "".join(
        [
            _head(facts),
            _rules(facts),
            sections.curves(facts),
            sections.classes(facts),
            sections.probabilities(facts),
            sections.pictures(facts, thumbnail),
            sections.data(facts),
            sections.copies(facts, thumbnail),
            usage.time(facts),
            usage.utilisation(facts),
            _settings(facts),
            _missing(facts),
        ]
    )
    return document(_title(facts), content)


def _head(facts: Facts) -> str:
    rules = facts["rules"]
    issues = sum(map(_is_issue, rules))
    unsure = sum(rule["RuleEvaluationStatus"] == "Error" for rule in rules)
    said = {0: "No issue found"}.get(issues, f"{issues} rule{'s' * (issues > 1)} found an issue")
    said += f"; {unsure} could not be judged." if unsure else "."
    figures = facts["figures"]
    history, best = facts["history"], facts["best_epoch"]
    shown: list[tuple[str, str]] = []
    if "test_accuracy" in figures:
        quality = facts["quality"]
        sure = f" ({100 * quality['low']:.1f}–{100 * quality['high']:.1f})" if quality else ""
        shown.append((f"{100 * figures['test_accuracy']:.1f} %", f"test accuracy{sure}"))
    if facts["quality"]:
        if "top_accuracy" in facts["quality"]:
            shown.append((f"{100 * facts['quality']['top_accuracy']:.1f} %", f"top-{TOP} accuracy"))
        shown.append((f"{facts['quality']['macro_f1']:.3f}", "macro F1"))
    if best and "validation_accuracy" in history[best - 1]:
        shown.append((f"{100 * history[best - 1]['validation_accuracy']:.1f} %", "validation accuracy"))
    if best and "validation_loss" in history[best - 1]:
        shown.append((f"{history[best - 1]['validation_loss']:.3g}", "validation loss"))
    if history:
        shown.append((f"{best} of {len(history)}" if best else str(len(history)), "epoch kept" if best else "epochs"))
    if (spent := run_time(facts["time"], figures)) is not None:
        shown.append((seconds(spent), "run time"))
    if price := facts["cost"]:
        shown.append((f"{price['total']:.2g}", f"cost of the run time, at {price['price']:g} an hour"))
    items = "".join(f"<li><b>{escape(value)}</b><span>{name}</span></li>" for value, name in shown)
    said += f" Judged by byoc-vision {escape(facts['version'])}."
    return (
        f'<header><h1>{escape(_title(facts))}</h1><p class="soft">{escape(identity_line(facts["identity"]))}</p>'
        f'<ul class="figures">{items}</ul><p style="margin-top:16px">{said}</p></header>'
    )


def _title(facts: Facts) -> str:
    return str(facts["identity"].get("job", "Training report"))


def identity_line(known: Facts) -> str:
    """Return a job's `facts.identity` but for its name in one line."""
    parts = [str(known["arch"])] if "arch" in known else []
    if "pictures" in known:
        digest = f" (digest {known['digest'][:8]})" if "digest" in known else ""
        parts.append(f"{known['pictures']:,} pictures of {known.get('classes', 0):,} classes{digest}")
    if "started" in known:
        parts.append(datetime.fromtimestamp(known["started"], UTC).strftime("%Y-%m-%d %H:%M UTC"))
    if "machine" in known:
        parts.append(known["machine"])
    if "version" in known:
        parts.append(f"trained by byoc-vision {known['version']}")
    return " · ".join(parts)


def _rules(facts: Facts) -> str:
    issues = [rule for rule in facts["rules"] if _is_issue(rule)]
    others = [rule for rule in facts["rules"] if not _is_issue(rule)]
    lead = "Each rule looks in what was recorded for one thing that goes wrong in training, and says what helps."
    return section("Rules", "".join(map(_issue, issues)), _others(others), lead=lead)


def _is_issue(rule: dict[str, Any]) -> bool:
    """Return whether a rule found something; ProfilerReport only repeats what other rules found."""
    return bool(rule["RuleEvaluationStatus"] == "IssuesFound" and rule["Rule"] != "ProfilerReport")


def _issue(rule: dict[str, Any]) -> str:
    more = ""
    if rule["FindingsCount"] > 1:
        rows = [
            [
                "" if finding["step"] is None else f"{finding['step']:,}",
                escape(finding["tensor"]),
                escape(finding["detail"]),
                _shown(finding["threshold"]),
            ]
            for finding in rule["Findings"][:LISTED]
        ]
        listed = table(["step", "where", "found", "threshold"], rows, (0, 3))
        left = rule["FindingsCount"] - len(rows)
        rest = f'<p class="small soft">and {left:,} more</p>' if left > 0 else ""
        more = f"<details><summary>Evidence</summary>{listed}{rest}</details>"
    advice = f"<p>{escape(rule['Advice'])}</p>" if rule["Advice"] else ""
    title = _rule_name(rule)
    return f'<article class="issue"><h3>{title}</h3><p>{escape(rule["StatusDetails"])}</p>{advice}{more}</article>'


def _rule_name(rule: dict[str, Any]) -> str:
    name, kind = rule["RuleConfigurationName"], rule["Rule"]
    return escape(name if name == kind else f"{name} ({kind})")


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _others(rules: list[dict[str, Any]]) -> str:
    if not rules:
        return ""
    rows = []
    for rule in sorted(rules, key=lambda rule: (rule["RuleEvaluationStatus"] != "Error", not rule["Judged"])):
        if rule["RuleEvaluationStatus"] == "Error":
            state = '<span class="state unsure">not judged</span>'
        elif not rule["Applicable"]:
            state = '<span class="state none">does not apply</span>'
        elif rule["RuleEvaluationStatus"] == "IssuesFound":
            state = '<span class="state bad">issues</span>'
        elif not rule["Judged"]:
            state = '<span class="state none">too short</span>'
        elif "Statistics" in rule:
            state = '<span class="state none">statistics</span>'
        else:
            state = '<span class="state good">no issue</span>'
        details = escape(_details(rule))
        rows.append(
            f'<tr><td class="name">{_rule_name(rule)}</td><td>{state}</td><td class="details soft">{details}</td></tr>'
        )
    head = "<thead><tr><th>rule</th><th>verdict</th><th></th></tr></thead>"
    shown = f'<table class="verdicts">{head}<tbody>{"".join(rows)}</tbody></table>'
    return f"<details><summary>The other {len(rows)} rules</summary>{shown}</details>"


def _details(rule: dict[str, Any]) -> str:
    """Return what a rule's state does not say already."""
    if rule["RuleEvaluationStatus"] == "IssuesFound":
        return "See " + ", ".join(finding["tensor"].partition(",")[0] for finding in rule["Findings"]) + "."
    details = str(rule["StatusDetails"])
    for said in ("Does not apply: ", "Nothing found.", "Statistics for the report; it never fires."):
        details = details.removeprefix(said)
    return details


def _list(facts: dict[str, str], usual: Mapping[str, str] | None = None) -> str:
    """Return names and values; those that differ from what is `usual` are marked."""
    usual = facts if usual is None else usual
    items = []
    for name, value in facts.items():
        mark = "" if usual.get(name, value) in (value, PRESET) else " class=own"
        items.append(f"<div{mark}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>")
    return f'<dl class="facts">{"".join(items)}</dl>'


def _settings(facts: Facts) -> str:
    parts = []
    for title, key in (("Settings", "settings"), ("Machine", "machine"), ("Versions", "versions")):
        if facts[key]:
            listed = _list(facts[key], as_text(Settings()) if key == "settings" else None)
            parts.append(f'<h3 style="margin-top:18px">{title}</h3>{listed}')
    lead = "All that the job was trained with, by the names that --set takes. Bold: not the default."
    return section("Settings and versions", *parts, lead=lead if facts["settings"] else "")


def _missing(facts: Facts) -> str:
    unread = [f"{name}: {reason}" for name, reason in facts["unreadable"].items()]
    more = [f"and {len(unread) - UNREAD:,} more pictures that could not be read"] if len(unread) > UNREAD else []
    said = [*facts["missing"], *unread[:UNREAD], *more]
    items = "".join(f"<li>{escape(str(line))}</li>" for line in said)
    return section("What was missing", f'<ul class="plain soft">{items}</ul>' if items else "")
