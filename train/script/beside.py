"""Records a job from beside it, where the image's entry point was replaced: its profile and, at the end, its report.

SDK v3's `ModelTrainer` with `SourceCode` starts the container with a driver of its own. `docker/byoc_container.py`
starts this module with that, in a process of its own, which ends when its standard input does.
"""

import os
import sys
import time
from pathlib import Path

from byoc_vision.contract import job as contract
from train.record.utilisation import Profiler, gpu_names
from train.script import report

ROOT = Path("/opt/ml")


def main() -> None:
    """Record until standard input ends."""
    output, begun = ROOT / "output" / "data", time.time()
    with Profiler(output / contract.PROFILE, gpu_names(), resumes=False) as profile:
        profile.note(program=os.environ.get("SM_ENTRY_SCRIPT", "a script"), **contract.named(os.environ))
        sys.stdin.read()
    report.write(output, report.tensors(report.hook(ROOT), Path(os.environ[contract.NOTED])), begun)


if __name__ == "__main__":
    main()
