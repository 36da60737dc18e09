"""Waits for jobs, showing their log; an interrupted wait leaves the job alone."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from byoc_vision.contract.errors import UserError
from launch.engine import Engine, LogKind
from launch.errors import not_found

#: Lines of a failed job's log that are shown again.
_LAST_LINES = 15


@dataclass(frozen=True)
class Kind:
    """How the service calls a kind of job."""

    name: str
    operation: str  # describe_…, stop_…
    field: str  # …Name, …Status
    log: LogKind | None

    def describe(self, engine: Engine, job: str) -> dict[str, Any]:
        """Return what the service tells of the job."""
        return dict(getattr(engine.sagemaker, f"describe_{self.operation}")(**{f"{self.field}Name": job}))

    def stop(self, engine: Engine, job: str) -> None:
        """Ask for the job's end."""
        getattr(engine.sagemaker, f"stop_{self.operation}")(**{f"{self.field}Name": job})


TRAINING = Kind("training job", "training_job", "TrainingJob", "training")
TUNING = Kind("tuning job", "hyper_parameter_tuning_job", "HyperParameterTuningJob", None)
TRANSFORM = Kind("transform job", "transform_job", "TransformJob", "transform")


def find(engine: Engine, job: str) -> Kind:
    """Return the kind of the job with that name."""
    for kind in (TRAINING, TUNING, TRANSFORM):
        try:
            kind.describe(engine, job)
        except Exception as error:
            if not not_found(error):
                raise
        else:
            return kind
    raise UserError(f"there is no job {job!r} in {engine.region}; check the name and the region")


def pauses() -> Iterator[float]:
    """Yield seconds to pause between looks: a tenth of the time so far, and 10 at most, so as not to be throttled."""
    seconds = 0.5
    while True:
        yield seconds
        seconds = min(10.0, seconds * 1.1)


def until_done(
    engine: Engine, kind: Kind, job: str, look: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Follow the job to its end, calling `look` with each description; return the last one.

    Raises `UserError` with the reason when the job failed, after its last log lines. Whoever stops waiting before that
    is told how to go on.
    """
    logs = engine.logs(kind.log, job) if kind.log else list
    shown: list[str] = []
    state = ""
    try:
        for pause in pauses():
            description = kind.describe(engine, job)
            status = description[f"{kind.field}Status"]
            if (now := description.get("SecondaryStatus", status)) != state:
                state = now
                print(f"{job}: {state}", file=sys.stderr)
            for line in logs():
                print(line, flush=True)
                shown = [*shown[1 - _LAST_LINES :], line]
            look(description)
            if status in ("Completed", "Failed", "Stopped"):
                break
            time.sleep(pause)
    except BaseException:  # Ctrl-C, or a network that is gone: neither ends the job
        print(f"\n{still_running(engine, kind, job)}", file=sys.stderr)
        raise
    if status == "Completed":
        return description
    if status == "Stopped":
        raise UserError(f"the {kind.name} {job} was stopped")
    if shown:
        print("\nThe last lines of its log:", *shown, sep="\n  ", file=sys.stderr)
    reason = " ".join(description.get("FailureReason", "the service gives no reason").split())
    raise UserError(f"the {kind.name} {job} failed: {reason}")


def still_running(engine: Engine, kind: Kind, job: str) -> str:
    """Return how to watch and to stop a job that is not waited for."""
    command = f"python -m launch.watch {job}{' ' if engine.option else ''}{engine.option}"
    return f"The {kind.name} goes on. To watch it: {command}   To stop it: {command} --stop"
