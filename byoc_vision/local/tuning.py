"""Tuning jobs: what the service says of them. `run_tuning` sees one through.

What is known of a trial is known of its training job; a tuning job's description is put together from those.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from byoc_vision.local import jobs, process, training
from byoc_vision.local.store import InvalidError, Record, Request, ServiceError, Store, cut, page, refuse
from byoc_vision.requests import search_space

KIND = "hyper-parameter-tuning-job"

#: The names of the trials' hyperparameters that are searched, by kind of range.
_RANGES = ("IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges")

#: The hyperparameter that tells a trial what is searched for.
_OBJECTIVE = "_tuning_objective_metric"

#: What a definition has of its own where there are several, and the job's configuration where there is one.
_OWN = ("TuningObjective", "HyperParameterRanges")


def create(store: Store, request: Request) -> Request:
    """CreateHyperParameterTuningJob: begin the job and return at once."""
    refuse(request, "Autotune")
    config = request["HyperParameterTuningJobConfig"]
    if config["Strategy"] != "Hyperband" and "StrategyConfig" in config:
        raise InvalidError("Only the Hyperband strategy has a StrategyConfig; leave it out.")
    if config["Strategy"] == "Hyperband" and config.get("TrainingJobEarlyStoppingType") == "Auto":
        raise InvalidError("Hyperband stops trials itself; its TrainingJobEarlyStoppingType must be Off.")
    criteria = config.get("TuningJobCompletionCriteria", {})
    if criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence") == "Enabled":
        refuse(criteria, "ConvergenceDetected")
    checked = _checked(request)
    for definition in checked:
        _check(store, definition, config["Strategy"])
    combinations = sum(search_space.combinations(definition["HyperParameterRanges"]) for definition in checked)
    most = config["ResourceLimits"].get("MaxNumberOfTrainingJobs", 0)
    if config["Strategy"] != "Grid" and most > combinations:
        # As the service does: https://github.com/aws/amazon-sagemaker-operator-for-k8s/issues/123
        reason = f"The ranges have {combinations} combinations, fewer than MaxNumberOfTrainingJobs, {most}; lower it."
        raise InvalidError(reason)
    status = {"HyperParameterTuningJobStatus": "InProgress"}
    for parent in parents(store, request):
        if describe(parent)["HyperParameterTuningJobStatus"] in ("InProgress", "Stopping"):
            raise InvalidError(f"The parent tuning job {parent.name} has not ended.")
        if _names(definitions(parent.request)) != _names(checked):
            reason = "The set of tunable plus static HyperParameter names is not the same across current and parent"
            raise InvalidError(f"{reason} tuning jobs: {', '.join(sorted(_names(definitions(parent.request))))}.")
    record, lock = store.create(KIND, request["HyperParameterTuningJobName"], _with_objective(request), **status)
    process.start(record, lock)
    return {"HyperParameterTuningJobArn": record.arn}


def definitions(request: Request) -> list[Request]:
    """Return the definitions of a tuning job's training jobs, each with its HyperParameterRanges and TuningObjective.

    Where there is only one, without a name, the service has these two in the job's configuration.
    """
    if several := request.get("TrainingJobDefinitions"):
        return list(several)
    config = request["HyperParameterTuningJobConfig"]
    own = {"HyperParameterRanges": config["ParameterRanges"]}
    own["TuningObjective"] = config["HyperParameterTuningJobObjective"]
    return [request["TrainingJobDefinition"] | own]


def _checked(request: Request) -> list[Request]:
    """Return the definitions; raise `ServiceError` where they do not go together."""
    config, several = request["HyperParameterTuningJobConfig"], request.get("TrainingJobDefinitions")
    if several:
        refuse(request, "WarmStartConfig")
        if "TrainingJobDefinition" in request or "ParameterRanges" in config:
            reason = "With TrainingJobDefinitions, ranges and objectives belong into these, and nowhere else."
            raise InvalidError(reason)
        if any(field not in definition for definition in several for field in ("DefinitionName", *_OWN)):
            reason = "Each of the TrainingJobDefinitions needs DefinitionName, TuningObjective, HyperParameterRanges."
            raise InvalidError(reason)
        if len({definition["DefinitionName"] for definition in several}) < len(several):
            raise InvalidError("Two of the TrainingJobDefinitions have one DefinitionName.")
        if len({definition["TuningObjective"]["Type"] for definition in several}) > 1:
            reason = "All TrainingJobDefinitions must be minimized, or all maximized: the best trial is one of all."
            raise InvalidError(reason)
        return list(several)
    if "TrainingJobDefinition" not in request or "HyperParameterTuningJobObjective" not in config:
        raise InvalidError("A tuning job needs a TrainingJobDefinition and an objective.")
    if "ParameterRanges" not in config:
        raise InvalidError("HyperParameterTuningJobConfig needs ParameterRanges.")
    refuse(request["TrainingJobDefinition"], *_OWN)
    return definitions(request)


def _check(store: Store, definition: Request, strategy: str) -> None:
    """Raise `ServiceError` where the trials of a definition could not be made."""
    refuse(definition["HyperParameterRanges"], "AutoParameters")
    if "ResourceConfig" not in trial(definition):
        raise InvalidError("The TrainingJobDefinition needs a ResourceConfig.")
    training.check(store, trial(definition))
    metric = definition["TuningObjective"]["MetricName"]
    if metric not in [
        metric_definition["Name"]
        for metric_definition in definition["AlgorithmSpecification"].get("MetricDefinitions", [])
    ]:
        raise InvalidError(f"The objective {metric} has no MetricDefinition. Provide it in the metric definitions.")
    _check_ranges(definition["HyperParameterRanges"], strategy)
    searched = _searched(definition)
    if len(set(searched)) < len(searched):
        raise InvalidError("Two ranges of ParameterRanges are of one hyperparameter; give one of them.")
    if both := next((name for name in searched if name in definition.get("StaticHyperParameters", {})), None):
        raise InvalidError(f"The hyperparameter {both} has a range, and a static value; give one of them.")


def _with_objective(request: Request) -> Request:
    """Return the request with the objective among the hyperparameters of its trials.

    The service hands it to them, and the SDK counts on finding it.
    """
    config = request["HyperParameterTuningJobConfig"]

    def told(definition: Request) -> Request:
        objective = definition.get("TuningObjective") or config["HyperParameterTuningJobObjective"]
        static = definition.get("StaticHyperParameters", {}) | {_OBJECTIVE: objective["MetricName"]}
        return definition | {"StaticHyperParameters": static}

    return _mapped(request, told)


def _mapped(request: Request, function: Callable[[Request], Request]) -> Request:
    """Return the request with the function's value in the place of each definition."""
    if "TrainingJobDefinitions" in request:
        return request | {
            "TrainingJobDefinitions": [function(definition) for definition in request["TrainingJobDefinitions"]]
        }
    return request | {"TrainingJobDefinition": function(request["TrainingJobDefinition"])}


def describe(record: Record) -> Request:
    """Return DescribeHyperParameterTuningJob's answer; a job whose process broke down is taken up again."""
    if record.status["HyperParameterTuningJobStatus"] == "InProgress" and (lock := record.take()):
        if record.status["HyperParameterTuningJobStatus"] == "InProgress":
            process.start(record, lock)
        else:
            lock.release()
    status = record.status
    if record.stopping and status["HyperParameterTuningJobStatus"] == "InProgress":
        status["HyperParameterTuningJobStatus"] = "Stopping"
    trials = summaries(record)
    counted = [summary["TrainingJobStatus"] for summary in trials]
    objectives = [summary["ObjectiveStatus"] for summary in trials]
    answer = record.request | {"HyperParameterTuningJobArn": record.arn} | status
    # The SDK reads the trials' resources in this field, whichever it has sent them in.
    answer = _mapped(
        answer,
        lambda definition: training.completed(definition | {"ResourceConfig": trial(definition)["ResourceConfig"]}),
    )
    answer["TrainingJobStatusCounters"] = {
        "Completed": counted.count("Completed"),
        "InProgress": counted.count("InProgress") + counted.count("Stopping"),
        "RetryableError": 0,
        "NonRetryableError": counted.count("Failed"),
        "Stopped": counted.count("Stopped"),
    }
    answer["ObjectiveStatusCounters"] = {
        status: objectives.count(status) for status in ("Succeeded", "Pending", "Failed")
    }
    if (chosen := best(record, trials)) is not None:
        answer["BestTrainingJob"] = chosen
    if record.request.get("WarmStartConfig", {}).get("WarmStartType") == "IdenticalDataAndAlgorithm":
        others = [summary | {"TuningJobName": other.name} for other in _left(record) for summary in summaries(other)]
        if (overall := best(record, trials + others)) is not None:
            answer["OverallBestTrainingJob"] = overall
    return answer


def parents(store: Store, request: Request) -> list[Record]:
    """Return the tuning jobs whose trials the request's job begins with."""
    named = request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
    return [store.find(KIND, parent["HyperParameterTuningJobName"]) for parent in named]


def _left(record: Record) -> Iterator[Record]:
    """Yield the job's parents that were not deleted since."""
    for named in record.request["WarmStartConfig"]["ParentHyperParameterTuningJobs"]:
        with suppress(ServiceError):
            yield record.store.find(KIND, named["HyperParameterTuningJobName"])


def trial(definition: Request) -> Request:
    """Return the request of a training job that a tuning job's definition describes, yet without name and values."""
    request = dict(definition)
    for field in ("DefinitionName", "RetryStrategy", *_OWN):
        request.pop(field, None)
    resources = request.pop("HyperParameterTuningResourceConfig", None)
    if resources:
        first = resources.get("InstanceConfigs", [{}])[0]
        fields = ("InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId")
        merged = first | resources
        request["ResourceConfig"] = {field: merged[field] for field in fields if field in merged}
    request["HyperParameters"] = request.pop("StaticHyperParameters", {})
    return request


def summaries(record: Record) -> list[Request]:
    """Return the summaries of a tuning job's trials, oldest first."""
    trials = [
        summary
        for summary, status in record.store.told(training.KIND, lambda summary: (summary, summary.status))
        if status.get("TuningJobArn") == record.arn
    ]
    return sorted((_summary(record, trial) for trial in trials), key=lambda summary: str(summary["CreationTime"]))


def best(record: Record, trials: list[Request]) -> Request | None:
    """Return the summary of the best trial of those that ran to their end, as only they have a final figure."""
    succeeded = [summary for summary in trials if summary["ObjectiveStatus"] == "Succeeded"]
    done = [summary for summary in succeeded if summary["TrainingJobStatus"] == "Completed"]
    sign = 1 if maximises(record) else -1
    return max(done, key=lambda summary: sign * float(_value(summary)), default=None)


def maximises(record: Record) -> bool:
    """Return whether a greater objective is a better one."""
    return bool(definitions(record.request)[0]["TuningObjective"]["Type"] == "Maximize")


def _summary(record: Record, trial: Record) -> Request:
    job = training.describe(trial)
    name = job.get("DefinitionName")
    (definition,) = [
        candidate for candidate in definitions(record.request) if candidate.get("DefinitionName") == name or not name
    ]
    objective = definition["TuningObjective"]
    summary = {"TunedHyperParameters": {name: job["HyperParameters"][name] for name in _searched(definition)}} | {
        field: job[field]
        for field in (
            *("TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "CreationTime"),
            *("TrainingStartTime", "TrainingEndTime", "FailureReason"),
        )
        if field in job
    }
    if name:
        summary["TrainingJobDefinitionName"] = name
    value = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}.get(
        objective["MetricName"]
    )
    ended = job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped")
    summary["ObjectiveStatus"] = "Pending" if not ended else "Failed" if not _usable(value) else "Succeeded"
    if _usable(value):
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = objective | {"Value": value}
    return summary


def _searched(definition: Request) -> list[str]:
    """Return the names of the hyperparameters that have a range."""
    ranges = definition["HyperParameterRanges"]
    return [parameter["Name"] for kind in _RANGES for parameter in ranges.get(kind, [])]


def _names(several: list[Request]) -> set[str]:
    """Return the names of all hyperparameters that the trials of the definitions are given by their user."""
    static = {name for definition in several for name in definition.get("StaticHyperParameters", {})}
    return static.union(*map(_searched, several)) - {_OBJECTIVE}


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _value(summary: Request) -> Any:
    return summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]


def _check_ranges(ranges: Request, strategy: str) -> None:
    if strategy == "Grid" and (ranges.get("IntegerParameterRanges") or ranges.get("ContinuousParameterRanges")):
        raise InvalidError("The Grid strategy takes CategoricalParameterRanges only.")
    for choice in ranges.get("CategoricalParameterRanges", []):
        if len(set(choice["Values"])) < len(choice["Values"]):
            raise InvalidError(f"{choice['Name']} has one of its Values twice.")
    if not any(ranges.get(kind) for kind in _RANGES):
        raise InvalidError("ParameterRanges holds nothing to search.")
    whole = ranges.get("IntegerParameterRanges", [])
    for parameter in (*whole, *ranges.get("ContinuousParameterRanges", [])):
        low, high = (_end(parameter, field, parameter in whole) for field in ("MinValue", "MaxValue"))
        scaling = parameter.get("ScalingType", "Auto")
        if low > high:
            raise InvalidError(f"{parameter['Name']} has a MinValue above its MaxValue.")
        if scaling == "Logarithmic" and low <= 0:
            raise InvalidError(f"{parameter['Name']} is Logarithmic; its MinValue must be above 0.")
        if scaling == "ReverseLogarithmic" and not 0 <= low <= high < 1:
            raise InvalidError(f"{parameter['Name']} is ReverseLogarithmic; it must lie in [0, 1).")


def _end(parameter: Request, field: str, whole: bool) -> float:
    """Return an end of a range."""
    try:
        if math.isfinite(number := int(parameter[field]) if whole else float(parameter[field])):
            return number
    except (ValueError, OverflowError):
        pass
    kind = "a whole number" if whole else "a number"
    raise InvalidError(f"{field} of {parameter['Name']} is {parameter[field]!r}, which is not {kind}.")


def _tell(record: Record) -> Request:
    answer = describe(record)
    config = answer["HyperParameterTuningJobConfig"]
    return answer | {"Strategy": config["Strategy"], "ResourceLimits": config["ResourceLimits"]}


def _list_trials(store: Store, request: Request) -> Request:
    record = store.find(KIND, request["HyperParameterTuningJobName"])
    trials = summaries(record)
    if request.get("SortBy") == "FinalObjectiveMetricValue":
        trials = [summary for summary in trials if "FinalHyperParameterTuningJobObjectiveMetric" in summary]
        trials.sort(key=lambda summary: float(_value(summary)), reverse=request.get("SortOrder") == "Descending")
        if "StatusEquals" in request:
            trials = [summary for summary in trials if summary["TrainingJobStatus"] == request["StatusEquals"]]
        return cut(trials, request, "TrainingJobSummaries")
    request = {"SortOrder": "Ascending"} | request
    return page(trials, request, "TrainingJobSummaries", "TrainingJobStatus", "TrainingJobName")


OPERATIONS = jobs.operations(KIND, "HyperParameterTuningJob", create, describe, _tell)
OPERATIONS["ListTrainingJobsForHyperParameterTuningJob"] = _list_trials
