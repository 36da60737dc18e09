"""Predict many pictures without an endpoint: build CreateModel and CreateTransformJob, send them, fetch the answers.

byoc transform --model JOB --data DIR_OR_S3_URI --output answers.jsonl
"""

import argparse
import json
import sys
from pathlib import Path

from byoc_vision.cli.launcher import line, parser, positive, show, still_running, tell, waiting
from byoc_vision.engine import SERVING


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
    try:
        with waiting(still_running(job, given.local)):
            job.wait(line)
    finally:  # the job has its own copy at its end, or none is needed
        job.delete_model()
    with Path(given.output).open("w", encoding="utf-8") as lines:
        answers = list(job.predictions())
        for said in answers:
            print(json.dumps({"picture": said.picture} | said.answer, ensure_ascii=False), file=lines)
    print(f"{len(answers)} answers in {given.output}")
    return 0
