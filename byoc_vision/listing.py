"""The jobs that there are, with what they have reached."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from byoc_vision.engine import Engine

#: Training jobs that are looked at, the newest first: an account may have others, by the thousand.
_LOOKED_AT = 200

#: What the images' names hold.
_OURS = "byoc-vision"


@dataclass(frozen=True)
class Listed:
    """A training job or, of the kind "tuning", a tuning job: its state, and its last figures by name."""

    name: str
    kind: str
    status: str
    created: datetime
    figures: dict[str, float] = field(default_factory=dict)


def jobs(engine: Engine, most: int) -> list[Listed]:
    """Return the newest jobs that run images of this project, the newest first; the trials of a tuning job are not
    listed apart from it.
    """
    searches = list(islice(_searches(engine), most))
    names = tuple(f"{search.name}-" for search in searches)
    listed_jobs = [*searches, *islice(_trainings(engine, names), most)]
    return sorted(listed_jobs, key=lambda job: job.created, reverse=True)[:most]


def _searches(engine: Engine) -> Iterator[Listed]:
    for summary in _newest(engine, "list_hyper_parameter_tuning_jobs", "HyperParameterTuningJobSummaries"):
        name = summary["HyperParameterTuningJobName"]
        described = engine.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        if not _is_ours(described.get("TrainingJobDefinition", {})):
            continue
        best = described.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric")
        figures = {best["MetricName"]: float(best["Value"])} if best else {}
        figures["trials"] = sum(described.get("TrainingJobStatusCounters", {}).values())
        yield Listed(name, "tuning", summary["HyperParameterTuningJobStatus"], summary["CreationTime"], figures)


def _trainings(engine: Engine, searches: tuple[str, ...]) -> Iterator[Listed]:
    for summary in _newest(engine, "list_training_jobs", "TrainingJobSummaries"):
        name = summary["TrainingJobName"]
        if name.startswith(searches):  # a trial, for which the service need not be asked
            continue
        described = engine.sagemaker.describe_training_job(TrainingJobName=name)
        if _is_ours(described) and not described.get("TuningJobArn"):
            figures = {
                metric["MetricName"]: float(metric["Value"]) for metric in described.get("FinalMetricDataList", [])
            }
            yield Listed(name, "training", summary["TrainingJobStatus"], summary["CreationTime"], figures)


def _is_ours(described: dict[str, Any]) -> bool:
    return _OURS in described.get("AlgorithmSpecification", {}).get("TrainingImage", "")


def _newest(engine: Engine, operation: str, key: str) -> Iterator[dict[str, Any]]:
    order = {"SortBy": "CreationTime", "SortOrder": "Descending", "PaginationConfig": {"PageSize": 100}}
    pages = engine.sagemaker.get_paginator(operation).paginate(**order)
    return islice((summary for page in pages for summary in page[key]), _LOOKED_AT)
