"""Make the report of a training job (again), or of a tuning job's trials: it is made here, of what the job has left.

    byoc report JOB --open
    byoc report JOB OTHER-JOB
    byoc report out/ --rules VanishingGradient,Overfit
    byoc report s3://bucket/byoc-vision/JOB/output/ --data DIR

JOB is a training or tuning job, or what a training job has left: a folder that holds its output, or an S3 URI of a
folder or an archive. Several training jobs are shown side by side. A folder that smdebug wrote, in whatever job, is
enough. Other rules, or other parameters, come from a JSON file of rule configurations as CreateTrainingJob takes them.
"""

import argparse
import sys

from byoc_vision.cli.launcher import browse, opened, parser, path, price


def options() -> argparse.ArgumentParser:
    new = parser("report", __doc__, sends=False)
    new.add_argument(
        "job",
        nargs="+",
        metavar="JOB|DIR|URI",
        help="a training or tuning job, or what a training job has left: a folder or an S3 URI",
    )
    new.add_argument("--rules", metavar="NAMES|FILE", help="names with commas, or a JSON file (default: all)")
    new.add_argument("--data", type=path, metavar="DIR", help="the pictures, of which the report then shows some")
    new.add_argument("--price-per-hour", type=price, metavar="X", help="of one machine, for what the job cost")
    new.add_argument("--open", action="store_true", help="show it in the browser")
    new.add_argument("--out", type=path, metavar="DIR", help="for the report (default: DIR's output, else ./report)")
    return new


def main(arguments: list[str] | None = None) -> int:
    args = options().parse_args(arguments)

    from byoc_vision.contract.errors import UserError

    session = opened(args)
    if len(args.job) > 1:
        if args.rules or args.data or args.price_per_hour is not None:
            raise UserError("--rules, --data and --price-per-hour are for the report of one job; name one")
        report = session.compare(args.job, out=args.out)
    else:
        (job,), hour = args.job, args.price_per_hour
        report = session.report(job, rules=args.rules, data=args.data, out=args.out, price_per_hour=hour)
    for rule in report.issues:
        print(f"{rule['RuleConfigurationName']}: {rule['StatusDetails']}")
    if args.data is None and report.content.get("wrong"):
        print("the pictures are left out of the report; --data DIR shows some", file=sys.stderr)
    print(f"wrote {report.page}")
    if args.open:
        browse(report.page.resolve().as_uri())
    return 0
