"""A tuning job as a whole: its trials, and the page that shows them."""

import json
import shlex
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byoc_vision import archives, importance
from byoc_vision.contract.errors import UserError, one_line
from byoc_vision.contract.hyperparameters import unquote
from byoc_vision.contract.job import METRICS
from byoc_vision.engine import Engine
from byoc_vision.refusals import code_of, unless_missing

if TYPE_CHECKING:
    from byoc_vision.debugger.trials import Search

#: Trials, the best first, whose curves are fetched and drawn: more are neither told apart nor soon here.
_CURVES = 20

#: Outputs that are fetched at a time.
_THREADS = 8


def trials(engine: Engine, name: str) -> list[dict[str, Any]]:
    """Return the service's summaries of a tuning job's trials, oldest first."""
    pages = engine.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name,
        SortBy="CreationTime",
        SortOrder="Ascending",
        PaginationConfig={"PageSize": 100},
    )
    return [summary for page in pages for summary in page["TrainingJobSummaries"]]


def script_options(described: dict[str, Any]) -> str:
    """Return the options by which `byoc train` runs the script that a tuning job's trials run; nothing without one."""
    static = described.get("TrainingJobDefinition", {}).get("StaticHyperParameters", {})
    program = str(unquote(static.get("sagemaker_program", "")))
    return f"--source … --program {shlex.quote(program)}" if program else ""


def read(engine: Engine, name: str) -> "Search | None":
    """Return the tuning job of that name with its trials; None where there is none."""
    from byoc_vision.debugger.trials import Search, Trial  # imports NumPy, a tenth of a second

    described = unless_missing(engine.sagemaker.describe_hyper_parameter_tuning_job, HyperParameterTuningJobName=name)
    if described is None:
        return None
    goal = described["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    status, summaries = described["HyperParameterTuningJobStatus"], trials(engine, name)
    shown = tuple(Trial(**_trial(summary)) for summary in summaries)
    option = f"{script_options(described)} {engine.option}".strip()
    search = Search(name, status, goal["MetricName"], goal["Type"] == "Maximize", shown, option=option)
    output = described.get("TrainingJobDefinition", {}).get("OutputDataConfig", {}).get("S3OutputPath", "")
    best = [trial.name for trial in search.judged[:_CURVES]] if output else []
    with ThreadPoolExecutor(_THREADS) as pool:
        curves = list(pool.map(lambda trial: _curve(engine, f"{output.rstrip('/')}/{trial}", search.objective), best))
    known = {trial: curve for trial, curve in zip(best, curves, strict=True) if curve}
    return search.with_more(importance.of(search), known)


def _trial(summary: dict[str, Any]) -> dict[str, Any]:
    metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
    begun, ended = summary.get("TrainingStartTime"), summary.get("TrainingEndTime")
    return {
        "name": summary["TrainingJobName"],
        "status": summary["TrainingJobStatus"],
        "value": float(metric["Value"]) if metric else None,
        "settings": {key: str(unquote(value)) for key, value in summary["TunedHyperParameters"].items()},
        "spent": (ended - begun).total_seconds() if begun and ended else None,
        "reason": one_line(summary.get("FailureReason", ""), None),
    }


def _curve(engine: Engine, uri: str, objective: str) -> Sequence[float]:
    """Return the objective after each epoch of the trial that has left its results at `uri`; nothing if it has not."""
    from byoc_vision.debugger.job import finite

    with tempfile.TemporaryDirectory() as scratch:
        try:
            (archive,) = engine.fetch(f"{uri}/output/output.tar.gz", Path(scratch))
            archives.unpack(archive, Path(scratch))
            history = json.loads((Path(scratch) / METRICS).read_text(encoding="utf-8"))["history"]
            values = [epoch[objective] for epoch in history]
        except (UserError, OSError, ValueError, KeyError, TypeError):
            return []
        except Exception as error:  # what the account forbids is no reason to have no page
            if not code_of(error):
                raise
            return []
    return values if all(map(finite, values)) else []


def make(search: "Search", folder: Path, price: float | None = None) -> dict[str, Any]:
    """Write the page of a tuning job and its facts into `folder`; return the facts."""
    from byoc_vision.debugger import report
    from byoc_vision.debugger import trials as page

    content = page.facts(search, price)
    folder.mkdir(parents=True, exist_ok=True)
    report.write(folder, content, page.page(search, content["cost"]))
    return content
