"""Makes the report on a job: `report.json`, which holds all it says, and `report.html`, the page drawn from that."""

import json
import time
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from byoc_vision.contract.files import write_text
from byoc_vision.contract.job import DEBUGGER, FACTS, REPORT
from byoc_vision.debugger import job as jobs
from byoc_vision.debugger.evaluate import Material, configurations, evaluate
from byoc_vision.debugger.facts import facts, wrong
from byoc_vision.debugger.finished_trial import FinishedTrial, RecordingError, recorded
from byoc_vision.debugger.page import page
from byoc_vision.debugger.sections import Shown
from byoc_vision.debugger.thumbnails import overlay, thumbnail


def make(
    output: Path,
    *,
    model: Path | None = None,
    tensors: Path | str | None = None,
    pictures: Path | None = None,
    rules: Path | str | None = None,
    to: Path | None = None,
    within_job: bool = False,
    price: float | None = None,
) -> dict[str, Any]:
    """Judge the job whose output folder is `output`, whatever it lacks; write the report there or `to`, and return it.

    model: the folder of the model artifact, for settings and versions.
    tensors: what smdebug recorded: a folder or `s3://…`; without it `debugger` in the output folder.
    pictures: the folder that the files in predictions.csv are in, of which the report then shows some.
    rules: names with commas, or a JSON file of rule configurations; without it those of `rules.DEFAULT`.
    within_job: the report is the job's own last part, whose time counts as the job's.
    price: of an hour of one of the job's machines; with it the report says what the job cost.

    Returns what `report.json` holds. Raises `RulesError` (a `UserError`) for rules that cannot be used, and `OSError`
    when the files cannot be written.
    """
    chosen = configurations(None if rules is None else str(rules))
    job = jobs.read(output, model)
    missing = list(job.missing)
    if pictures is None and job.predictions:
        missing.append("The pictures were not given, so that none is shown.")
    with ExitStack() as stack:
        reason = ""
        try:
            trial = stack.enter_context(recorded(str(tensors or output / DEBUGGER)))
        except RecordingError as error:
            reason, trial = str(error), FinishedTrial(None)
        missing += [reason] if reason else trial.notes
        labels, predicted = [row.label for row in job.predictions], [row.predicted for row in job.predictions]
        material = Material(trial, reason, job.profile, labels, predicted, job.fine_tuned)
        verdicts, shown = evaluate(chosen, material), _shown(job, pictures)
        # What takes time is done by now: it is a part of the job's.
        content = facts(job, trial, verdicts, missing, time.time() if within_job else None, price)
    write(to or output, content, page(content, lambda name: shown.get(name, (None, None))))
    return content


def _shown(job: jobs.Job, pictures: Path | None) -> dict[str, Shown]:
    """Return the small copies of the pictures that the page shows, by their names."""
    if pictures is None:
        return {}
    heats, names = job.heat_maps, (row["file"] for row in [*wrong(job), *chain(*job.copies.groups)])
    return {
        name: (thumbnail(pictures, name), overlay(pictures, name, heats[name]) if name in heats else None)
        for name in names
    }


def write(folder: Path, content: dict[str, Any], html: str) -> None:
    """Write what a report says and its page into `folder`; raises `OSError` when that fails."""
    write_text(folder / FACTS, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
    write_text(folder / REPORT, html)
