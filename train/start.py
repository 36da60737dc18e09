"""The training image's command `train`: SageMaker's toolkit, which wants files that a plain `docker run` need not have.

A job is its hyperparameters.json and the folders of its channels; the rest follows from these.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

#: Programs for each core that make a machine busy. What only downloaded or built images before is less.
_BUSY = 1.5


def complete(root: Path) -> None:
    """Write the configuration that a job below `root` lacks, and remove what an earlier job has left as its failure.

    The toolkit would keep an old failure, whatever becomes of this job. Raises `OSError`.
    """
    (root / "output" / "failure").unlink(missing_ok=True)
    data, config = root / "input" / "data", root / "input" / "config"
    channels = sorted(folder.name for folder in data.iterdir() if folder.is_dir()) if data.is_dir() else []
    config.mkdir(parents=True, exist_ok=True)
    for name, content in {
        "hyperparameters.json": {},
        "inputdataconfig.json": {channel: {"TrainingInputMode": "File"} for channel in channels},
        "resourceconfig.json": {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"},
    }.items():
        if not (config / name).exists():
            (config / name).write_text(json.dumps(content), encoding="utf-8")


def share_cores() -> None:
    """On a machine that is busy with other work already, let threads that wait for each other sleep soon.

    Torch's threads spin for milliseconds at the end of each operation, since on a machine of their own the others are
    about to end. Where some of these wait for a core, the spinning ones hold it: a step may take six times as long.
    """
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > _BUSY * cores and "GOMP_SPINCOUNT" not in os.environ:
        os.environ["GOMP_SPINCOUNT"] = "1000"
        print(
            f"this machine is busy with other work (load {load:.1f} on {cores} cores), so the job takes longer; its "
            "threads sleep while they wait for each other",
            flush=True,
        )


def _unless_full(write: Callable[[str], None]) -> Callable[[str], None]:
    """Return the toolkit's writer of the failure file as it must be: where it raises, the toolkit ends with 0."""

    def written(reason: str) -> None:
        try:
            write(reason)
        except OSError as error:
            print(f"the reason of the failure cannot be kept ({error})", file=sys.stderr)

    return written


def main() -> None:
    """Run the job described under /opt/ml."""
    # Importing takes most of a second, in which a first process that has no handler would not hear SIGTERM at all.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))  # there is nothing yet that could be saved
    from train.sagemaker import ROOT

    share_cores()
    try:
        complete(ROOT)
    except OSError as error:
        sys.exit(
            f"train: {error.filename} cannot be written ({error.strerror}); give the container a folder that can be"
        )
    from sagemaker_training import files
    from sagemaker_training.cli.train import main as toolkit

    files.write_failure_file = _unless_full(files.write_failure_file)
    try:
        toolkit()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        # Python's own end would take apart all that torch has made: a third of a second that no report knows of.
        os._exit(end.code if isinstance(end.code, int) else 1)


if __name__ == "__main__":
    main()
