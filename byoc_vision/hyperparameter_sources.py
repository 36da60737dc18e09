"""Where a job's hyperparameters come from: single values, a file, or the best trial of a tuning job."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import write_text
from byoc_vision.contract.hyperparameters import checked, unquote
from byoc_vision.engine import Engine
from byoc_vision.refusals import unless_missing
from byoc_vision.requests.request_file import read_yaml
from byoc_vision.requests.script import texts

_log = logging.getLogger(__name__)

#: Makes what a request has of values by name: `checked`, or for a script's own `requests.script.texts`.
Check = Callable[[Mapping[str, Any]], dict[str, str]]

#: What a job leaves besides the model and its figures. Trials leave it out.
FOR_KEEPS = ("export", "report")


def collect(
    engine: Engine, source: str | None, assignments: Iterable[str] = (), check: Check = checked
) -> dict[str, str]:
    """Return the hyperparameters of `source` (a file or a tuning job) and of `assignments` (NAME=VALUE), checked.

    The assignments have the last word.
    """
    values: dict[str, Any] = {}
    if source is not None:
        values = _read(Path(source)) if Path(source).exists() or Path(source).suffix else best_of(engine, source, check)
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{text!r} sets nothing; write NAME=VALUE, for example lr=0.01")
        values[name.strip()] = value
    return check(values)


def best_of(engine: Engine, tuning_job: str, check: Check | None = None) -> dict[str, str]:
    """Return all hyperparameters, tuned and static, of the tuning job's best trial so far.

    Not what trials do without and a model that is kept does not. None where no account answers, which is told.
    """
    if not engine.known:
        _log.info(
            "the best trial of %s is known to the account only; its hyperparameters are left out here", tuning_job
        )
        return {}
    describe = engine.sagemaker.describe_hyper_parameter_tuning_job
    job = unless_missing(describe, HyperParameterTuningJobName=tuning_job)
    if job is None:
        raise UserError(f"{tuning_job!r} is neither a file nor a tuning job {engine.where}; check the name")
    best = job.get("BestTrainingJob") or {}
    if not best.get("TunedHyperParameters"):
        raise UserError(f"the tuning job {tuning_job} has no best trial yet; wait for one to complete")
    static = job["TrainingJobDefinition"].get("StaticHyperParameters", {})
    check = check or (texts if "sagemaker_program" in static else checked)
    own = {name: value for name, value in static.items() if not name.startswith(("_tuning_", "sagemaker_"))}
    if check is checked:
        for name in FOR_KEEPS:
            own.pop(name, None)
    return check({name: unquote(value) for name, value in (own | best["TunedHyperParameters"]).items()})


def save(values: Mapping[str, str], file: Path) -> None:
    """Write hyperparameters as JSON, for `Session.train`."""
    write_text(file, json.dumps(dict(values), indent=2) + "\n")


def _read(file: Path) -> dict[str, Any]:
    # YAML's own reading of `true` and `1` is undone here: all values are texts to the service.
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in read_yaml(file).items()}
