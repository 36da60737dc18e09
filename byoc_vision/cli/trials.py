"""The trials of a tuning job as they run, and the best of them."""

import sys
from pathlib import Path
from typing import Any

from byoc_vision import hyperparameter_sources
from byoc_vision.cli.launcher import command, still_running, waiting
from byoc_vision.contract.hyperparameters import unquote
from byoc_vision.jobs import TuningJob


def follow(job: TuningJob, local: bool, best: str | None) -> None:
    """Show the tuning job's trials until its end, then its best hyperparameters, and save these to the file `best`."""
    table = _Table()
    with waiting(still_running(job, local)):
        job.wait(look=lambda _: table.show(job.trials))
    values = job.best
    print("the best hyperparameters:")
    for name, value in values.items():
        print(f"  {name}={value}")
    if best:
        hyperparameter_sources.save(values, Path(best))
    said = f"saved to {best}; train" if best else "train"
    print(f"{said} with them: {command(f'train --hyperparameters {best or job.name} --data …')}")
    option = "--local" if local else ""
    print(f"all trials on one page: {command(f'open {job.name} {option}')}")


class _Table:
    """The trials' table: on a terminal drawn over itself, elsewhere a line whenever a trial's state changes."""

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def show(self, trials: list[dict[str, Any]]) -> None:
        """Show the trials as they are now."""
        rows = [_row(number, trial) for number, trial in enumerate(trials, 1)]
        if sys.stdout.isatty():
            if self._drawn:
                print(f"\033[{len(self._drawn)}F\033[J", end="")
            print(*rows, sep="\n", end="\n" if rows else "", flush=True)
        else:
            for row in rows:
                if row not in self._drawn:
                    print(row, flush=True)
        self._drawn = rows


def _row(number: int, trial: dict[str, Any]) -> str:
    metric = trial.get("FinalHyperParameterTuningJobObjectiveMetric")
    value = f"{metric['MetricName']}={metric['Value']:.5g}" if metric else ""
    values = " ".join(f"{name}={unquote(value)}" for name, value in sorted(trial["TunedHyperParameters"].items()))
    return f"{number:>4}  {trial['TrainingJobStatus']:<11} {value:<32} {values}"
