"""The trials of a tuning job as they run, and the best of them."""

import sys
from pathlib import Path
from typing import Any

from byoc_vision import hyperparameter_sources
from byoc_vision.cli.launcher import command, still_running, waiting
from byoc_vision.cli.screen import draw, draws
from byoc_vision.contract.hyperparameters import unquote
from byoc_vision.jobs import TuningJob
from byoc_vision.searches import script_options


def follow(job: TuningJob, local: bool, best: Path | None) -> None:
    """Show the tuning job's trials until its end, then its best hyperparameters, and save these to the file `best`."""
    table = _Table()
    with waiting(still_running(job, local)):
        job.wait(look=lambda _: table.show(job.trials))
    values = job.best
    print("the best hyperparameters:")
    for name, value in values.items():
        print(f"  {name}={value}")
    if best:
        hyperparameter_sources.save(values, best)
    said = f"saved to {best}; train" if best else "train"
    option = "--local" if local else ""
    program = " ".join(filter(None, (script_options(job.describe()), option)))
    print(f"{said} with them: {command(f'train --hyperparameters {best or job.name} --data … {program}')}")
    print(f"all trials on one page: {command(f'open {job.name} {option}')}")


class _Table:
    """The trials' table: a line whenever a trial's state changes, or on a terminal the trials drawn over themselves.

    There a trial stays as it is when it has ended, and all before it.
    """

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._ended = 0

    def show(self, trials: list[dict[str, Any]]) -> None:
        """Show the trials as they are now."""
        rows = [_row(number, trial) for number, trial in enumerate(trials, 1)]
        if draws(sys.stdout):
            before = self._ended
            while self._ended < len(trials) and _has_ended(trials[self._ended]):
                self._ended += 1
            draw(rows[before : self._ended], rows[self._ended :])
            return
        for row in rows:
            if row not in self._shown:
                print(row, flush=True)
        self._shown = rows


def _has_ended(trial: dict[str, Any]) -> bool:
    ended = trial["TrainingJobStatus"] in ("Completed", "Failed", "Stopped")
    return ended and trial.get("ObjectiveStatus") != "Pending"


def _row(number: int, trial: dict[str, Any]) -> str:
    metric = trial.get("FinalHyperParameterTuningJobObjectiveMetric")
    value = f"{metric['MetricName']}={metric['Value']:.5g}" if metric else ""
    values = " ".join(f"{name}={unquote(value)}" for name, value in sorted(trial["TunedHyperParameters"].items()))
    return f"{number:>4}  {trial['TrainingJobStatus']:<11} {value:<32} {values}"
