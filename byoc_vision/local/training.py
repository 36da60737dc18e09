"""Training jobs: what the service says of them. `run_training` sees one through."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from byoc_vision.contract.job import FACTS, report_folder
from byoc_vision.local import channels, containers, hosts, jobs, process
from byoc_vision.local.files import locate
from byoc_vision.local.store import InvalidError, Record, Request, Store, now, refuse

KIND = "training-job"

#: How the scratch folder of an attempt is called, in the record's.
SCRATCH = "attempt-"

#: How often a job is taken up again whose process or machine broke down.
_RESTARTS = 3

#: The longest run of a job that does not say, in seconds.
_DAY = 24 * 60 * 60


def create(store: Store, request: Request, **status: Any) -> Request:
    """CreateTrainingJob: begin the job and return at once."""
    check(store, request)
    record, lock = store.create(KIND, request["TrainingJobName"], request, TrainingJobStatus="InProgress", **status)
    enter(record, "Starting", "Starting the training job")
    process.start(record, lock)
    return {"TrainingJobArn": record.arn}


def check(store: Store, request: Request) -> None:
    """Raise `ServiceError` where there cannot be such a job."""
    resources, algorithm = request["ResourceConfig"], request["AlgorithmSpecification"]
    refuse(resources, "InstanceGroups")
    refuse(request, "RemoteDebugConfig", "MlflowConfig", "ModelPackageConfig", "ServerlessJobConfig")
    refuse(algorithm, "AlgorithmName")
    if "InstanceType" not in resources or resources.get("InstanceCount", 0) < 1:
        raise InvalidError("ResourceConfig needs an InstanceType, and an InstanceCount of 1 or more.")
    if not algorithm.get("TrainingImage"):
        raise InvalidError("AlgorithmSpecification needs a TrainingImage.")
    limits = request.get("StoppingCondition", {})
    longest = limits.get("MaxRuntimeInSeconds", _DAY)
    if request.get("EnableManagedSpotTraining") and limits.get("MaxWaitTimeInSeconds", 0) < longest:
        reason = "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
        raise InvalidError(f"{reason}, {longest}.")
    if "MaxWaitTimeInSeconds" in limits and not request.get("EnableManagedSpotTraining"):
        reason = "It is only supported when EnableManagedSpotTraining is set to true"
        raise InvalidError(f"Invalid MaxWaitTimeInSeconds. {reason}.")
    check_metrics(algorithm)
    names = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    if len(set(names)) < len(names):
        raise InvalidError("Two channels of InputDataConfig have one ChannelName.")
    for channel in request.get("InputDataConfig", []):
        channels.check(store, channel, algorithm.get("TrainingInputMode", "File"))
    if not (place := request.get("CheckpointConfig", {}).get("LocalPath", "/")).startswith("/"):
        raise InvalidError(f"The LocalPath of CheckpointConfig, {place!r}, must begin with a slash.")
    for uri in _outputs(request):
        locate(store, uri)
    containers.require(algorithm["TrainingImage"])


def _outputs(request: Request) -> Iterator[str]:
    """Yield the URIs below which a job writes."""
    yield request["OutputDataConfig"]["S3OutputPath"]
    if "CheckpointConfig" in request:
        yield request["CheckpointConfig"]["S3Uri"]
    configs = [request.get(f"{kind}Config", {}) for kind in ("DebugHook", "Profiler", "TensorBoardOutput")]
    for kind in ("DebugRule", "ProfilerRule"):
        rules = request.get(f"{kind}Configurations", [])
        if len({rule["RuleConfigurationName"] for rule in rules}) < len(rules):
            raise InvalidError(f"Two of the {kind}Configurations have one RuleConfigurationName.")
        configs += rules
    yield from (config["S3OutputPath"] for config in configs if "S3OutputPath" in config)


def enter(record: Record, state: str, message: str, **fields: Any) -> None:
    """Put the job into the secondary state, as far as its description goes."""
    transitions = record.status.get("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1].setdefault("EndTime", now())
    transitions.append({"Status": state, "StartTime": now(), "StatusMessage": message})
    if fields.get("TrainingJobStatus", "InProgress") != "InProgress":
        transitions[-1]["EndTime"] = now()
    record.update(SecondaryStatus=state, SecondaryStatusTransitions=transitions, **fields)


def describe(record: Record) -> Request:
    """Return DescribeTrainingJob's answer."""
    status = _settled(record)
    answer = completed(record.request) | {"TrainingJobArn": record.arn} | status
    answer["FinalMetricDataList"] = list(final_metrics(record).values())
    report = _report(record)
    for field in ("DebugRule", "ProfilerRule"):
        rules = answer.get(f"{field}Configurations", [])
        answer[f"{field}EvaluationStatuses"] = [_evaluated(rule, report, status) for rule in rules]
    return answer


def completed(request: Request) -> Request:
    """Return what a job was asked with, with the defaults that the service tells of it."""
    answer = {
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": False,
        "EnableManagedSpotTraining": False,
        **request,
    }
    answer["OutputDataConfig"] = {"KmsKeyId": "", "CompressionType": "GZIP"} | request["OutputDataConfig"]
    return answer


def restart(record: Record) -> bool:
    """Begin the interrupted job again, from its checkpoint where it has one; return whether it is to be."""
    restarts = record.status.get("Restarts", 0)
    most = record.request.get("RetryStrategy", {}).get("MaximumRetryAttempts", _RESTARTS)
    lock = record.take()
    if lock is None or restarts >= most or record.stopping:
        if lock:
            lock.release()
        return False
    if "CheckpointConfig" not in record.request:  # what it said of its first epochs it will say again
        (record.folder / "metrics.jsonl").unlink(missing_ok=True)
    record.update(Restarts=restarts + 1, Interrupted=None, FailureReason=None, TrainingEndTime=None)
    enter(record, "Restarting", "Starting again after an interruption", TrainingJobStatus="InProgress")
    process.start(record, lock)
    return True


def metrics(record: Record) -> Iterator[Request]:
    """Yield what the job's log lines said, oldest first: MetricName, Value, Timestamp and, of an epoch's, Epoch."""
    file = record.folder / "metrics.jsonl"
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):  # else it is being written
                yield json.loads(line)


def final_metrics(record: Record) -> dict[str, Request]:
    """Return each metric's last entry, without Epoch, which the service has not."""
    fields = ("MetricName", "Value", "Timestamp")
    return {entry["MetricName"]: {field: entry[field] for field in fields} for entry in metrics(record)}


def parse(definitions: Iterable[Request], line: str) -> Iterator[tuple[str, float]]:
    """Yield the metrics, by MetricDefinitions, that a log line holds."""
    for definition in definitions:
        if match := re.search(definition["Regex"], line):
            try:
                yield definition["Name"], float(match[1])
            except (IndexError, ValueError):
                continue


def check_metrics(algorithm: Request) -> None:
    """Raise `ServiceError` where a metric could not be looked for."""
    for definition in algorithm.get("MetricDefinitions", []):
        try:
            re.compile(definition["Regex"])
        except (re.error, OverflowError, RecursionError) as error:
            reason = f"The Regex of the metric {definition['Name']} is no regular expression: {error}."
            raise InvalidError(reason) from None


def results(record: Record) -> Path:
    """Return the folder of model.tar.gz and output.tar.gz."""
    return locate(record.store, results_uri(record))


def results_uri(record: Record) -> str:
    """Return the same as the request's URIs have it."""
    return f"{folder_uri(record)}/output"


def folder_uri(record: Record) -> str:
    """Return the URI of the folder of all that the job leaves."""
    return f"{record.request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{record.name}"


def clear(record: Record) -> None:
    """Remove the containers and the scratch folders that the job's attempts have left."""
    hosts.clear(record)
    clear_scratch(record)


def clear_scratch(record: Record) -> None:
    """Remove the scratch folders of the job's attempts, of which no container is left."""
    for scratch in record.folder.glob(f"{SCRATCH}*"):
        containers.give_to_caller(record.request["AlgorithmSpecification"]["TrainingImage"], scratch)
        shutil.rmtree(scratch, ignore_errors=True)  # without Docker, what is root's stays; the next attempt has its own


def _settled(record: Record) -> Request:
    """Return the status as the service tells it, of a job that is seen to where its process has broken down."""
    _settle(record)
    status = record.status
    if status["TrainingJobStatus"] == "InProgress" and record.stopping:
        status |= {"TrainingJobStatus": "Stopping", "SecondaryStatus": "Stopping"}
    if record.request.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds"):  # there is nothing here to keep
        state = "InUse" if status["TrainingJobStatus"] in ("InProgress", "Stopping") else "Terminated"
        status["WarmPoolStatus"] = {"Status": state, "ResourceRetainedBillableTimeInSeconds": 0}
    return status


def _settle(record: Record) -> None:
    """See to a job whose process has broken down: one on spot, or with a RetryStrategy, goes on; another has failed."""
    if record.status["TrainingJobStatus"] != "InProgress" or (lock := record.take()) is None:
        return
    with lock:
        if record.status["TrainingJobStatus"] != "InProgress":  # it ended in between
            return
        clear(record)
        ended: Request = {"FailureReason": None if record.stopping else process.KILLED, "Interrupted": True}
        state = "Stopped" if record.stopping else "Failed"
        enter(record, state, "The job was interrupted", TrainingJobStatus=state, TrainingEndTime=now(), **ended)
    if record.request.get("EnableManagedSpotTraining") or "RetryStrategy" in record.request:
        restart(record)


def _report(record: Record) -> dict[str, Request] | None:
    """Return rule -> status and details from the report that the job has left, if any."""
    file = report_folder(results(record) / "data") / FACTS
    try:
        rules = json.loads(file.read_text(encoding="utf-8"))["rules"]
        return {rule["RuleConfigurationName"]: rule for rule in rules}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _evaluated(rule: Request, report: dict[str, Request] | None, status: Request) -> Request:
    name = rule["RuleConfigurationName"]
    # A configuration has a name of its own; the rule that it invokes is a parameter.
    invoked = rule.get("RuleParameters", {}).get("rule_to_invoke", name)
    answer = {"RuleConfigurationName": name, "LastModifiedTime": status["LastModifiedTime"]}
    if status["TrainingJobStatus"] in ("InProgress", "Stopping"):
        return answer | {"RuleEvaluationStatus": "InProgress"}
    if report is None:
        return answer | {"RuleEvaluationStatus": "Error", "StatusDetails": "The job has left no report."}
    if invoked not in report:
        return answer | {"RuleEvaluationStatus": "Error", "StatusDetails": "The job's report has no such rule."}
    evaluation = report[invoked]
    details = str(evaluation.get("StatusDetails", ""))[:1024]
    return answer | {"RuleEvaluationStatus": evaluation["RuleEvaluationStatus"], "StatusDetails": details}


def _tell(record: Record) -> Request:
    return {"TrainingJobName": record.name, "TrainingJobArn": record.arn} | _settled(record)


OPERATIONS = jobs.operations(
    KIND, "TrainingJob", create, describe, _tell, no_filters=("WarmPoolStatusEquals", "TrainingPlanArnEquals")
)
