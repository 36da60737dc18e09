"""Judges a job by its output folder and writes `report.json` and `report.html` there.

usage: python -m byoc_vision.debugger OUT [--model DIR] [--pictures DIR] [--tensors DIR|s3://…]
                                      [--rules FILE.json|NAME,NAME…] [--price-per-hour X] [--to DIR]
"""

import argparse
import sys
from pathlib import Path

from byoc_vision.contract.job import REPORT
from byoc_vision.debugger import report
from byoc_vision.debugger.evaluate import RulesError


def main(arguments: list[str] | None = None) -> int:
    """Write the report; return 0, or 2 after one sentence where the command line or the output cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m byoc_vision.debugger", description="Write report.json and report.html."
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the job's output folder (output/data)")
    parser.add_argument("--model", type=Path, help="the folder of the model artifact, for settings and versions")
    parser.add_argument("--pictures", type=Path, help="the folder that the files in predictions.csv are in")
    parser.add_argument("--tensors", help="what smdebug recorded: a folder or s3://… (default: OUT/debugger)")
    parser.add_argument("--rules", help="names with commas, or a JSON file of rule configurations (default: all)")
    parser.add_argument("--price-per-hour", dest="price", type=float, help="of one machine, for what the job cost")
    parser.add_argument("--within-job", action="store_true", help="the job is not over: this report is its last part")
    parser.add_argument("--to", type=Path, help="the folder for the report (default: OUT)")
    args = parser.parse_args(arguments)
    try:
        if not args.output.is_dir():
            raise NotADirectoryError(f"{args.output} is not a folder; name a job's output folder")
        report.make(**vars(args))
    except (RulesError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {(args.to or args.output) / REPORT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
