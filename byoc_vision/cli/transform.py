"""Predict many pictures without an endpoint: build CreateModel and CreateTransformJob, send them, fetch the answers.

byoc transform --model JOB --data DIR_OR_S3_URI --output answers.jsonl
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from byoc_vision.cli.launcher import line, parser, positive, show, still_running, tell, waiting
from byoc_vision.engine import SERVING

if TYPE_CHECKING:
    from byoc_vision.prediction import Prediction


def options() -> argparse.ArgumentParser:
    """Return the command's options."""
    new = parser("transform", __doc__)
    new.add_argument("--model", required=True, metavar="JOB|URI|FILE", help="as in byoc deploy")
    new.add_argument("--data", required=True, metavar="SOURCE", help="S3 URI or folder of pictures")
    new.add_argument("--output", default="answers.jsonl", metavar="FILE", help="JSON lines (default: %(default)s)")
    new.add_argument("--instance-type", default="ml.m5.xlarge", metavar="TYPE", help="default: %(default)s")
    new.add_argument("--image", choices=SERVING, help="as in byoc deploy")
    new.add_argument("--instance-count", type=positive, default=1, metavar="N", help="default: 1")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    given = options().parse_args(arguments)

    from byoc_vision.contract.errors import UserError
    from byoc_vision.endpoint import FailedError
    from byoc_vision.session import Session

    tell()
    job = Session(given.local, request_files=given.request).transform(
        given.model,
        given.data,
        instance_type=given.instance_type,
        instance_count=given.instance_count,
        image=given.image,
        dry_run=given.dry_run,
    )
    if given.dry_run:
        return show(job.request)
    if given.no_wait:
        print("the model stays, since the job needs it", file=sys.stderr)
        print(job.name, still_running(job, given.local), sep="\n")
        return 0
    failure = None
    try:
        with waiting(still_running(job, given.local)):
            job.wait(line)
    except FailedError as error:
        failure = error
    finally:  # the job has its own copy at its end, or none is needed
        job.delete_model()
    answers = list(job.predictions())
    refused = [said for said in answers if said.error]
    if failure and not refused:
        raise failure
    _write([said for said in answers if not said.error], Path(given.output))
    print(f"{len(answers) - len(refused)} answers in {given.output}")
    for said in refused:
        print(f"{said.picture}: {said.error}", file=sys.stderr)
    if refused:
        raise UserError(f"{len(refused)} of {len(answers)} files have no answer, as the lines above say")
    return 0


def _write(answers: "list[Prediction]", output: Path) -> None:
    """Write the answers as JSON lines, all or none: a disk may be full."""
    fresh = output.with_name(f".{output.name}")
    try:
        with fresh.open("w", encoding="utf-8") as lines:
            for said in answers:
                print(json.dumps({"picture": said.picture} | said.answer, ensure_ascii=False), file=lines)
        os.replace(fresh, output)
    finally:
        fresh.unlink(missing_ok=True)
