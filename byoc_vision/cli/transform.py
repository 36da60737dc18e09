"""Predict many pictures without an endpoint: build CreateModel and CreateTransformJob, send them, fetch the answers.

byoc transform --model JOB --data DIR_OR_S3_URI --output answers.jsonl
"""

import argparse
import json
import sys
from pathlib import Path

from byoc_vision.cli.launcher import line, opened, parser, positive, result, show, still_running, waiting
from byoc_vision.engine import SERVING


def options() -> argparse.ArgumentParser:
    new = parser("transform", __doc__)
    new.add_argument("--model", required=True, metavar="JOB|URI|FILE", help="as in byoc deploy")
    new.add_argument("--data", required=True, metavar="SOURCE", help="S3 URI or folder of pictures")
    new.add_argument(
        "--output", type=result, default="answers.jsonl", metavar="FILE", help="JSON lines (default: %(default)s)"
    )
    new.add_argument("--instance-type", default="ml.m5.xlarge", metavar="TYPE", help="default: %(default)s")
    new.add_argument("--source", metavar="DIR", help="as in byoc deploy")
    new.add_argument("--image", choices=SERVING, help="as in byoc deploy")
    new.add_argument("--instance-count", type=positive, default=1, metavar="N", help="default: 1")
    return new


def main(arguments: list[str] | None = None) -> int:
    args = options().parse_args(arguments)

    from byoc_vision.contract.errors import UserError
    from byoc_vision.endpoint import FailedError

    job = opened(args).transform(
        args.model,
        args.data,
        instance_type=args.instance_type,
        instance_count=args.instance_count,
        image=args.image,
        source=args.source,
        dry_run=args.dry_run,
    )
    if args.dry_run:
        return show(job.request)
    if args.no_wait:
        print("the model stays, since the job needs it", file=sys.stderr)
        print(job.name, still_running(job, args.local), sep="\n")
        return 0
    failure = None
    try:
        with waiting(still_running(job, args.local), shown=True):
            job.wait(line)
    except FailedError as error:
        failure = error
    finally:  # the job has its own copy at its end, or none is needed
        job.delete_model()
    said = list(job.predictions())
    answers, refused = (
        [prediction for prediction in said if not prediction.error],
        [prediction for prediction in said if prediction.error],
    )
    if answers or not failure:
        rows = [
            json.dumps({"picture": prediction.picture} | prediction.answer, ensure_ascii=False)
            for prediction in answers
        ]
        _write("".join(f"{row}\n" for row in rows), args.output)
        print(f"{len(answers)} answers in {args.output}")
    for prediction in refused:
        print(f"{prediction.picture}: {prediction.error}", file=sys.stderr)
    if refused:
        raise UserError(f"{len(refused)} of {len(said)} files have no answer; the lines above say why")
    if failure:
        raise failure
    return 0


def _write(text: str, output: Path) -> None:
    from byoc_vision.contract.files import write_text

    if output.is_symlink() or (output.exists() and not output.is_file()):  # /dev/stdout, which is not to be replaced
        output.write_text(text, encoding="utf-8")
    else:
        write_text(output, text)
