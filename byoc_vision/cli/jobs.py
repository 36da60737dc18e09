"""List the training and tuning jobs that there are, the newest first, each with its state and figures.

byoc jobs
byoc jobs --local
"""

import argparse
import sys

from byoc_vision.cli.launcher import opened, parser, positive

#: The figures of a training job that say most, as far as there are any.
_SHOWN = ("test_accuracy", "validation_accuracy", "validation_loss")


def options() -> argparse.ArgumentParser:
    new = parser("jobs", __doc__, sends=False)
    new.add_argument("--max", type=positive, default=20, metavar="N", help="default: %(default)s")
    return new


def main(arguments: list[str] | None = None) -> int:
    args = options().parse_args(arguments)

    session = opened(args)
    jobs = session.jobs(args.max)
    if not jobs:
        print(f"there is no job of this project {session.engine.where}", file=sys.stderr)
        return 0
    width = max(len(job.name) for job in jobs)
    for job in jobs:
        chosen = _SHOWN if any(name in job.figures for name in _SHOWN) and job.kind == "training" else job.figures
        figures = "  ".join(f"{name}={job.figures[name]:.5g}" for name in chosen if name in job.figures)
        when = job.created.astimezone().strftime("%Y-%m-%d %H:%M")
        print(f"{job.name:<{width}}  {job.kind:<8}  {job.status:<10}  {when}  {figures}".rstrip())
    return 0
