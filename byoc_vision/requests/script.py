"""A script of the user's own in a training job: its code is the channel `code`, its program a hyperparameter.

So one request serves AWS and this machine, and an isolated network. Names and values of hyperparameters are the
script's; of them the service's own description is all that they are checked against.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import expanded
from byoc_vision.contract.program import check
from byoc_vision.requests.operations import Request

CHANNEL = "code"


@dataclass(frozen=True)
class Script:
    """The folder, the program's file in it, and the figures in the lines that it prints: name -> regular expression."""

    source: Path
    program: str
    metrics: Mapping[str, str]

    def of(self, job: Request) -> Request:
        """Return the training job `job` so that it runs the script."""
        algorithm = job["AlgorithmSpecification"]
        if self.metrics:
            definitions = [{"Name": name, "Regex": regex} for name, regex in self.metrics.items()]
            algorithm = algorithm | {"MetricDefinitions": definitions}
        values = {"sagemaker_program": self.program} | job["HyperParameters"]
        return job | {"AlgorithmSpecification": algorithm, "HyperParameters": values}


def script(source: str | Path | None, program: str | None, metrics: Mapping[str, Any] | None) -> Script | None:
    """Return the script that these describe; None where they describe none. Raises `UserError`."""
    if source is None and program is None:
        if metrics:
            raise UserError("metrics are read from a script's own lines; name its source and program, too")
        return None
    if source is None or program is None:
        raise UserError("a script takes both, source and program: its folder, and the file in it that is run")
    folder = expanded(source)
    if not folder.is_dir():
        raise UserError(f"the source {folder} is no folder; name the folder that the program is in")
    for name, regex in (metrics or {}).items():
        _check_metric(name, regex)
    return Script(folder, check(str(program), folder), dict(metrics or {}))


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return a script's hyperparameters as a request has them."""
    return {name: text(value) for name, value in sorted(values.items())}


def text(value: Any) -> str:
    """Return a value of a script's hyperparameter as a request has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_metric(name: str, regex: Any) -> None:
    try:
        groups = re.compile(regex).groups
    except (re.error, TypeError):
        groups = 0
    if groups < 1:
        raise UserError(
            f"the metric {name} is {regex!r}; give a regular expression with brackets around the figure: loss=([0-9.]+)"
        )
