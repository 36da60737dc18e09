"""Show a job's report in the browser: the one that it has left on this machine, or else one that is made now.

byoc open JOB
byoc open JOB --local
"""

import argparse
from pathlib import Path

from byoc_vision.cli.launcher import browse, left_report, opened, parser


def options() -> argparse.ArgumentParser:
    new = parser("open", __doc__, sends=False)
    new.add_argument("job", metavar="JOB|DIR|URI", help="as in byoc report")
    return new


def main(arguments: list[str] | None = None) -> int:
    args = options().parse_args(arguments)

    from byoc_vision.jobs import TrainingJob

    session = opened(args)
    page: Path | None = None
    if args.local and not Path(args.job).exists() and "/" not in args.job:
        job = session.job(args.job)
        page = left_report(job) if isinstance(job, TrainingJob) else None
    page = (page or session.report(args.job).page).resolve()
    print(page)
    browse(page.as_uri())
    return 0
