"""Make the report of a training job (again), or of a tuning job's trials: it is made here, of what the job has left.

    byoc report JOB
    byoc report out/ --rules VanishingGradient,Overfit
    byoc report s3://bucket/byoc-vision/JOB/output/ --data DIR

JOB is a training or tuning job, or what a training job has left: a folder that holds its output, or an S3 URI of a
folder or an archive. A folder that smdebug wrote, in whatever job, is enough. Other rules, or other parameters, come
from a JSON file of rule configurations as CreateTrainingJob takes them.
"""

import argparse
import sys

from byoc_vision.cli.launcher import opened, parser, path


def options() -> argparse.ArgumentParser:
    """Return the command's options."""
    new = parser("report", __doc__, sends=False)
    new.add_argument(
        "job",
        metavar="JOB|DIR|URI",
        help="a training or tuning job, or what a training job has left: a folder or an S3 URI",
    )
    new.add_argument("--rules", metavar="NAMES|FILE", help="names with commas, or a JSON file (default: all)")
    new.add_argument("--data", type=path, metavar="DIR", help="the pictures, of which the report then shows some")
    new.add_argument("--out", type=path, metavar="DIR", help="for the report (default: DIR's output, else ./report)")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    given = options().parse_args(arguments)

    report = opened(given).report(given.job, rules=given.rules, data=given.data, out=given.out)
    if given.data is None and "trials" not in report.content:
        print("the pictures are left out of the report; --data DIR shows some", file=sys.stderr)
    for rule in report.issues:
        print(f"{rule['RuleConfigurationName']}: {rule['StatusDetails']}")
    if given.data is None and report.content.get("wrong"):
        print("the pictures are left out of the report; --data DIR shows some", file=sys.stderr)
    print(f"wrote {report.page}")
    return 0
