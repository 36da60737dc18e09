"""Search spaces: one YAML file -> what a tuning job's request needs.

    strategy: Bayesian                  # or Random, Hyperband, Grid
    objective: validation_accuracy      # an accuracy is maximised, a loss minimised
    max-jobs: 12
    parallel-jobs: 2
    early-stopping: true
    hyperparameters:
      lr: {min: 0.001, max: 0.1, scale: log}
      batch-size: [32, 64, 128]
      epochs: 10                        # the same in every trial

Only `hyperparameters` has to be there. A script of the user's own, whose hyperparameters and figures have any names:

    source: .                           # its folder, as seen from the file
    program: train_model.py
    metrics: {accuracy: "accuracy=([0-9.]+)"}
    objective: accuracy
    direction: maximize                 # or minimize; needed where the objective's name does not tell (rmse)
"""

import difflib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byoc_vision.contract import hyperparameters, metrics
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.hyperparameters import checked, each_checked
from byoc_vision.requests.operations import Request
from byoc_vision.requests.request_file import read_yaml
from byoc_vision.requests.script import Script, script, text, texts

STRATEGIES = ("Bayesian", "Random", "Hyperband", "Grid")
_SCALES = {
    "auto": "Auto",
    "linear": "Linear",
    "log": "Logarithmic",
    "logarithmic": "Logarithmic",
    "reverse-logarithmic": "ReverseLogarithmic",
}
_FIELDS = ("strategy", "objective", "max-jobs", "parallel-jobs", "early-stopping", "hyperparameters")
_SCRIPT_FIELDS = ("source", "program", "metrics", "direction")
_DIRECTIONS = {"maximize": "Maximize", "minimize": "Minimize"}
#: How figures end of which the lowest, and of which the highest is the best.
_FALLING = ("loss", "error", "err")
_RISING = ("acc", "accuracy", "f1", "score", "auc", "precision", "recall", "top1", "top5", "acc1", "acc5")


@dataclass(frozen=True)
class Space:
    """A checked search space: the ranges as the request has them, the settings for `requests.tuning_job`, the rest."""

    ranges: Request
    settings: dict[str, Any]
    fixed: dict[str, str]
    script: Script | None = None


def load(
    source: str | Path | Mapping[str, Any], max_jobs: int | None = None, parallel_jobs: int | None = None
) -> Space:
    """Check a search space: a YAML file, or what one would hold.

    `max_jobs` and `parallel_jobs`, where given, replace its own. Raises `UserError`.
    """
    if isinstance(source, Mapping):
        return _space(source, Path(), max_jobs, parallel_jobs)
    file = Path(source)
    try:
        return _space(read_yaml(file), file.parent, max_jobs, parallel_jobs)
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(f"{file} ") else f"{file}: {error}") from None


def _space(content: Mapping[str, Any], folder: Path, max_jobs: int | None, parallel_jobs: int | None) -> Space:
    for name in content:
        _one_of("field", name, (*_FIELDS, *_SCRIPT_FIELDS))
    own = _script(content, folder)
    wanted = content.get("hyperparameters")
    if not isinstance(wanted, dict):
        raise UserError("hyperparameters is missing; give each a value, a list of values or {min: …, max: …}")
    if others := [name for name in wanted if not isinstance(name, str)]:  # as YAML reads 1 and on
        raise UserError(
            f"a hyperparameter is named {others[0]!r}, which YAML does not read as text; write it in quotes"
        )
    strategy = _one_of("strategy", content.get("strategy", "Bayesian"), STRATEGIES)
    objectives = tuple(own.metrics) if own and own.metrics else metrics.OBJECTIVES
    objective = _one_of("objective", content.get("objective", "validation_accuracy"), objectives)
    direction = _one_of("direction", content.get("direction") or _direction(objective), tuple(_DIRECTIONS))
    ranges: Request = {
        "ContinuousParameterRanges": [],
        "IntegerParameterRanges": [],
        "CategoricalParameterRanges": [],
    }
    for name, values in wanted.items():
        if isinstance(values, dict):
            kind, parameter = _interval(name, values, own)
            ranges[kind].append(parameter)
        elif isinstance(values, list):
            ranges["CategoricalParameterRanges"].append({"Name": name, "Values": _choices(name, values, own)})
    count = sum(map(len, ranges.values()))
    choices = ranges["CategoricalParameterRanges"]
    if not count:
        raise UserError("nothing is searched; give a hyperparameter a list of values or {min: …, max: …}")
    if strategy == "Grid" and len(choices) != count:
        raise UserError("the strategy Grid tries lists only; give every range as a list of values, or take Random")
    there_are = combinations(ranges)
    most = int(min(10, there_are))
    jobs = there_are if strategy == "Grid" else _count("max-jobs", content.get("max-jobs", most), max_jobs)
    if jobs > there_are:
        raise UserError(
            f"max-jobs is {jobs} and there are {there_are} combinations of what is searched, of which the service "
            "tries none twice; lower max-jobs, or give more values"
        )
    settings = {
        "strategy": strategy,
        "objective": objective,
        "direction": _DIRECTIONS[direction],
        # The service wants to be told the grid's own size, and no other.
        "max_jobs": jobs,
        "parallel_jobs": _count("parallel-jobs", content.get("parallel-jobs", min(2, jobs)), parallel_jobs),
        "early_stopping": content.get("early-stopping", False),
    }
    if max_jobs and not parallel_jobs:  # the file's is meant for the file's
        settings["parallel_jobs"] = min(settings["parallel_jobs"], max_jobs)
    if settings["parallel_jobs"] > settings["max_jobs"]:
        raise UserError(
            f"parallel-jobs is {settings['parallel_jobs']} and above max-jobs, {settings['max_jobs']}; lower it"
        )
    if not isinstance(settings["early_stopping"], bool):
        raise UserError(f"early-stopping is {settings['early_stopping']!r}; give true or false")
    if strategy == "Hyperband":
        if settings["early_stopping"]:
            raise UserError("the strategy Hyperband stops trials itself; set early-stopping to false")
        if isinstance(wanted.get("epochs"), dict | list):
            raise UserError("the strategy Hyperband deals out the epochs; give epochs one value, its greatest")
        settings["resource"] = (1, _epochs(wanted, own))
    alone = {name: value for name, value in wanted.items() if not isinstance(value, dict | list)}
    fixed = texts(alone) if own else each_checked(alone)
    return Space({kind: parameters for kind, parameters in ranges.items() if parameters}, settings, fixed, own)


def combinations(ranges: Request) -> float:
    """Return how many trials ParameterRanges give, no two of them alike; infinity where a range has no steps."""
    if any(range_["MinValue"] != range_["MaxValue"] for range_ in ranges.get("ContinuousParameterRanges", [])):
        return math.inf
    lists = (len(choice["Values"]) for choice in ranges.get("CategoricalParameterRanges", []))
    whole = ranges.get("IntegerParameterRanges", [])
    return math.prod(lists) * math.prod(int(range_["MaxValue"]) - int(range_["MinValue"]) + 1 for range_ in whole)


def check(ranges: Request, fixed: Mapping[str, str]) -> None:
    """Raise `UserError` for values that a trial of this project's training could be given and would refuse.

    That is any of its own, beside the `fixed` ones, or several that do not go together.
    """
    for range_ in (
        parameter for kind in ("Continuous", "Integer") for parameter in ranges.get(f"{kind}ParameterRanges", [])
    ):
        for end in ("MinValue", "MaxValue"):
            _alone(range_["Name"], range_[end], None)
    for choice in ranges.get("CategoricalParameterRanges", []):
        for value in choice["Values"]:
            _alone(choice["Name"], value, None)
    texts = [choice for choice in ranges.get("CategoricalParameterRanges", []) if _is_text(choice["Name"])]
    names = [choice["Name"] for choice in texts]
    for values in itertools.product(*(choice["Values"] for choice in texts)):
        trial = dict(zip(names, values, strict=True))
        try:
            checked({**fixed, **trial})
        except UserError as error:
            chosen = ", ".join(f"{name}={value}" for name, value in trial.items())
            raise UserError(f"a trial with {chosen} would be refused: {error}" if trial else str(error)) from None


def _is_text(name: str) -> bool:
    """Whether the hyperparameter is no number: such values may exclude each other."""
    return hyperparameters.TYPES[name.replace("-", "_")] in (str, bool)


def _direction(objective: str) -> str:
    """Return which values of a figure are the better ones, by its name."""
    name = objective.lower()
    if name.endswith(_FALLING):
        return "minimize"
    if name.endswith(_RISING):
        return "maximize"
    raise UserError(f"nothing tells whether a high or a low {objective} is good; add direction: maximize or minimize")


def _script(content: Mapping[str, Any], folder: Path) -> Script | None:
    source, listed = content.get("source"), content.get("metrics")
    if not isinstance(listed, dict | None):
        raise UserError(f"metrics is {listed!r}; give each figure a regular expression, as name: expression")
    own = script(None if source is None else folder / str(source), content.get("program"), listed)
    if own is None and "direction" in content:
        raise UserError("direction is for the objective of a script; remove it, or name source and program")
    return own


def _epochs(values: Mapping[str, Any], own: Script | None) -> int:
    epochs = values.get("epochs", None if own else hyperparameters.Settings().epochs)
    if own and not (isinstance(epochs, int) and epochs > 0):
        raise UserError("the strategy Hyperband deals out the epochs; give the script's epochs one value, its greatest")
    return int(epochs if own else checked({"epochs": epochs})["epochs"])


def _interval(name: str, values: Mapping[str, Any], own: Script | None) -> tuple[str, Request]:
    if not {"min", "max"} <= values.keys() <= {"min", "max", "scale"}:
        raise UserError(f"{name} is {dict(values)}; write {{min: …, max: …}}, perhaps with scale: log, or a list")
    low, high = (_alone(name, values[end], own) for end in ("min", "max"))
    kind = _kind(name, low, high) if own else hyperparameters.TYPES[name.replace("-", "_")]
    if kind not in (int, float):
        raise UserError(f"{name} has no range; give it a list of values")
    if float(low) >= float(high):
        raise UserError(f"{name} has a min of {low} that is not below its max of {high}; swap or correct them")
    scale = _SCALES[_one_of(f"scale of {name},", values.get("scale", "auto"), tuple(_SCALES))]
    if scale == "Logarithmic" and float(low) <= 0:
        raise UserError(f"{name} has the scale log and a min of {low}, which has no logarithm; give a min above 0")
    if scale == "ReverseLogarithmic" and not 0 <= float(low) < float(high) < 1:
        raise UserError(f"{name} has the scale reverse-logarithmic, which is for values from 0 to below 1; take linear")
    parameter = {"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scale}
    return "ContinuousParameterRanges" if kind is float else "IntegerParameterRanges", parameter


def _kind(name: str, low: str, high: str) -> type:
    """Return the kind of number that both ends of a script's range are: whole ones only where both are written so."""
    for kind in (int, float):
        try:
            kind(low), kind(high)
        except ValueError:
            continue
        return kind
    raise UserError(f"{name} ranges from {low} to {high}; give numbers, or a list of values")


def _choices(name: str, values: list[Any], own: Script | None) -> list[str]:
    texts = [_alone(name, value, own) for value in values]
    if not texts or len(set(texts)) < len(texts):
        raise UserError(f"{name} has {'the same value twice' if texts else 'no values'}; list each value once")
    return texts


def _alone(name: str, value: Any, own: Script | None) -> str:
    if own:
        return text(value)
    return each_checked({name: value})[name]


def _one_of(what: str, value: Any, names: tuple[str, ...]) -> str:
    if value not in names:
        near = difflib.get_close_matches(str(value), names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(names)}"
        raise UserError(f"there is no {what} {value!r}; {hint}")
    return str(value)


def _count(what: str, written: Any, option: int | None) -> int:
    count = option or written
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UserError(f"{what} is {count!r}; give a whole number from 1 up")
    return count
