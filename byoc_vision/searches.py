"""A tuning job as a whole: its trials, and the page that shows them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from byoc_vision.contract.hyperparameters import unquote
from byoc_vision.engine import Engine
from byoc_vision.refusals import unless_missing

if TYPE_CHECKING:
    from byoc_vision.debugger.trials import Search


def trials(engine: Engine, name: str) -> list[dict[str, Any]]:
    """Return the service's summaries of a tuning job's trials, oldest first."""
    summaries: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = engine.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending", MaxResults=100, **more
        )
        summaries += page["TrainingJobSummaries"]
        if not page.get("NextToken"):
            return summaries
        more = {"NextToken": page["NextToken"]}


def read(engine: Engine, name: str) -> "Search | None":
    """Return the tuning job of that name with its trials; None where there is none."""
    from byoc_vision.debugger.trials import Search, Trial  # imports NumPy, a tenth of a second

    described = unless_missing(engine.sagemaker.describe_hyper_parameter_tuning_job, HyperParameterTuningJobName=name)
    if described is None:
        return None
    goal = described["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    status, summaries = described["HyperParameterTuningJobStatus"], trials(engine, name)
    return Search(
        name,
        status,
        goal["MetricName"],
        goal["Type"] == "Maximize",
        tuple(Trial(**_trial(summary)) for summary in summaries),
    )


def _trial(summary: dict[str, Any]) -> dict[str, Any]:
    metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
    begun, ended = summary.get("TrainingStartTime"), summary.get("TrainingEndTime")
    return {
        "name": summary["TrainingJobName"],
        "status": summary["TrainingJobStatus"],
        "value": float(metric["Value"]) if metric else None,
        "settings": {key: str(unquote(value)) for key, value in summary["TunedHyperParameters"].items()},
        "spent": (ended - begun).total_seconds() if begun and ended else None,
    }


def make(search: "Search", folder: Path) -> dict[str, Any]:
    """Write the page of a tuning job and its facts into `folder`; return the facts."""
    from byoc_vision.debugger import report
    from byoc_vision.debugger import trials as page

    content = page.facts(search)
    folder.mkdir(parents=True, exist_ok=True)
    report.write(folder, content, page.page(search))
    return content
