"""Judges a job by its output folder and writes `report.json` and `report.html` there.

usage: python -m debugger OUT [--model DIR] [--pictures DIR] [--tensors DIR|s3://…] [--rules FILE.json|NAME,NAME…]
                          [--to DIR]
"""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from debugger import job as jobs
from debugger.evaluate import Configuration, Material, RulesError, configurations, evaluate
from debugger.facts import facts
from debugger.page import page
from debugger.thumbnails import thumbnail
from debugger.trial import FinishedTrial, RecordingError, recorded


def main(arguments: list[str] | None = None) -> int:
    """Write the report; return 0, or 2 after one sentence where the command line or the output cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m debugger", description="Write report.json and report.html.")
    parser.add_argument("out", type=Path, help="the job's output folder (output/data)")
    parser.add_argument("--model", type=Path, help="the folder of the model artifact, for settings and versions")
    parser.add_argument("--pictures", type=Path, help="the folder that the files in predictions.csv are in")
    parser.add_argument("--tensors", help="what smdebug recorded: a folder or s3://… (default: OUT/debugger)")
    parser.add_argument("--rules", help="names with commas, or a JSON file of rule configurations (default: all)")
    parser.add_argument("--to", type=Path, help="the folder for the report (default: OUT)")
    given = parser.parse_args(arguments)
    try:
        if not given.out.is_dir():
            raise NotADirectoryError(f"{given.out} is not a folder; name a job's output folder")
        chosen = configurations(given.rules)
        write(given.out, given.model, given.pictures, given.tensors, chosen, given.to)
    except (RulesError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {(given.to or given.out) / 'report.html'}")
    return 0


def write(
    out: Path,
    model: Path | None = None,
    pictures: Path | None = None,
    tensors: str | None = None,
    chosen: list[Configuration] | None = None,
    to: Path | None = None,
) -> None:
    """Write `report.json` and `report.html` of the job whose output folder is `out`, whatever it lacks, there or `to`.

    Raises `OSError` when they cannot be written.
    """
    job = jobs.read(out, model)
    missing = list(job.missing)
    if pictures is None and job.predictions:
        missing.append("The pictures were not given, so that none is shown.")
    with ExitStack() as stack:
        reason = ""
        try:
            trial = stack.enter_context(recorded(tensors or str(out / "debugger")))
        except RecordingError as error:
            reason, trial = str(error), FinishedTrial(None)
        missing += [reason] if reason else trial.notes
        labels, predicted = [row.label for row in job.predictions], [row.predicted for row in job.predictions]
        material = Material(trial, reason, job.profile, labels, predicted, job.fine_tuned)
        verdicts = evaluate(configurations(None) if chosen is None else chosen, material)
        content = facts(job, trial, verdicts, missing)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    html = page(content, lambda name: thumbnail(pictures, name) if pictures else None)
    for name, body in (("report.json", text), ("report.html", html)):
        partial = (to or out) / f".{name}.partial"
        partial.write_text(body, encoding="utf-8", errors="replace")
        partial.replace((to or out) / name)


if __name__ == "__main__":
    sys.exit(main())
