"""The training image's entry: runs the SageMaker job, and says in one sentence why it failed.

`sagemaker-training` calls `main` in the container's first process (SAGEMAKER_TRAINING_MODULE), so that the SIGTERM of a
stopped job or a spot interruption reaches the run itself. A job that names a program runs that; any other trains this
project's classifier.
"""

import logging
from pathlib import Path

from sagemaker_training.errors import ClientError

from byoc_vision.contract.errors import UserError, described
from train import progress
from train.script import request
from train.stopping import Stopped, StopSignal

ROOT = Path("/opt/ml")

#: Longest failure message that DescribeTrainingJob's FailureReason shows whole.
FAILURE_LENGTH = 1024

log = logging.getLogger(__name__)


def main() -> None:
    """Run the job described under /opt/ml; raise `ClientError`, whose text becomes the failure file, when it fails."""
    progress.bars = False
    stop = StopSignal()
    stop.listen()
    asked = request.settings(ROOT)
    if ignored := request.ignored(asked):
        log.warning("these settings have no effect in this image: %s", ", ".join(ignored))
    try:
        if program := request.program(asked):
            _run_program(program, asked, stop)
        else:
            _train(stop)
    except UserError as error:
        raise ClientError(str(error)[:FAILURE_LENGTH]) from error
    except Exception as error:
        log.exception("the run broke off")
        reason = described(error, None)
        raise ClientError(f"training broke off, see the log for where ({reason})"[:FAILURE_LENGTH]) from error


def _train(stop: StopSignal) -> None:
    # Importing torch takes seconds, in which a first process that has no handler would not hear SIGTERM at all.
    from train import job

    try:
        job.run(ROOT, stop)
    except Stopped:
        print(f"stopped; the same job continues from {ROOT / 'checkpoints'}")


def _run_program(program: str, asked: dict[str, object], stop: StopSignal) -> None:
    from train.script.job import Script

    try:
        Script(ROOT, program, asked, stop)()
    except Stopped:
        print("stopped")
