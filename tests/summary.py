"""Sum up what tests/run.sh ran: FOLDER/checks has a line "STATUS NAME" for each, FOLDER/NAME.xml pytest's report.

    python tests/summary.py FOLDER

prints every failure and then `N passed, N failed, N skipped`; it exits 1 where something failed or nothing ran.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree


def main(folder: Path) -> int:
    """Print the sum; return the exit status."""
    passed = failed = skipped = 0
    for line in (folder / "checks").read_text(encoding="utf-8").splitlines():
        status, name = line.split(maxsplit=1)
        # What reports no tests, be it a linter or a run that broke off, counts as one.
        report = folder / f"{name}.xml"
        failed_before = failed
        if report.exists():
            for case in ElementTree.parse(report).iter("testcase"):
                outcomes = {child.tag for child in case}
                if outcomes & {"failure", "error"}:
                    failed += 1
                    print(f"FAILED {name}: {case.get('classname')}.{case.get('name')}")
                elif "skipped" in outcomes:
                    skipped += 1
                else:
                    passed += 1
        elif status == "0":
            passed += 1
        if status != "0" and failed == failed_before:
            failed += 1
            print(f"FAILED {name}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
