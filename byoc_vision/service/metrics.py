"""CloudWatch, to read: the metrics that training jobs reported, as the SDK's analytics ask for them."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from statistics import fmean
from typing import Any

from byoc_vision.local import training
from byoc_vision.local.store import Record, Request, ServiceError, Store
from byoc_vision.service.logs import page
from byoc_vision.service.message import Call, Reply, checked, json_reply

#: The namespace of all that is here, and the dimension that names a job.
_NAMESPACE, _JOB = "/aws/sagemaker/TrainingJobs", "TrainingJobName"

_STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Average": fmean,
    "Minimum": min,
    "Maximum": max,
    "Sum": sum,
    "SampleCount": len,
}


class Metrics:
    """The metrics of a store's training jobs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._operations = {
            "GetMetricStatistics": self._statistics,
            "GetMetricData": self._data,
            "ListMetrics": self._list,
        }

    def __call__(self, call: Call) -> Reply:
        """Answer a request."""
        operation = call.headers.get("x-amz-target", "").rpartition(".")[2]
        if operation not in self._operations:
            known = ", ".join(self._operations)
            raise ServiceError("UnknownOperationException", f"CloudWatch on this machine has only {known}, as JSON.")
        request = checked("cloudwatch", operation, call, "InvalidParameterValue")
        return json_reply(self._operations[operation](request))

    def _statistics(self, request: Request) -> Request:
        wanted = request.get("Statistics", [])
        points = [
            {"Timestamp": at, "Unit": "None"} | {name: _STATISTICS[name](values) for name in wanted}
            for at, values in self._periods(request, request)
        ]
        return {"Label": request["MetricName"], "Datapoints": points}

    def _data(self, request: Request) -> Request:
        results = []
        for query in request["MetricDataQueries"]:
            if "MetricStat" not in query or query["MetricStat"]["Stat"] not in _STATISTICS:
                reason = f"The local engine has no expressions, only a MetricStat with {', '.join(_STATISTICS)}."
                raise ServiceError("InvalidParameterValue", reason)
            stat = query["MetricStat"]
            points = list(self._periods(stat["Metric"] | {"Period": stat["Period"]}, request))
            if request.get("ScanBy") != "TimestampAscending":
                points.reverse()
            results.append(
                {
                    "Id": query["Id"],
                    "Label": query.get("Label", stat["Metric"].get("MetricName", "")),
                    "Timestamps": [at for at, _ in points],
                    "Values": [_STATISTICS[stat["Stat"]](values) for _, values in points],
                    "StatusCode": "Complete",
                }
            )
        return {"MetricDataResults": results, "Messages": []}

    def _list(self, request: Request) -> Request:
        filters = {dimension["Name"]: dimension.get("Value") for dimension in request.get("Dimensions", [])}
        if request.get("Namespace", _NAMESPACE) != _NAMESPACE or filters.keys() - {_JOB}:
            return {"Metrics": []}
        metrics = [
            {"Namespace": _NAMESPACE, "MetricName": name, "Dimensions": [{"Name": _JOB, "Value": record.name}]}
            for record in self._store.all(training.KIND)
            if filters.get(_JOB) in (None, record.name)
            for name in sorted({entry["MetricName"] for entry in training.metrics(record)})
            if request.get("MetricName", name) == name
        ]
        return page(metrics, {"nextToken": request.get("NextToken", "0")}, "Metrics", 500, "NextToken")

    def _periods(self, metric: Request, times: Request) -> Iterator[tuple[int, list[float]]]:
        """Yield each period's begin, in seconds, and the metric's values in it, oldest first."""
        begin, end, period = _seconds(times["StartTime"]), _seconds(times["EndTime"]), metric["Period"]
        values = defaultdict(list)
        for record in self._records(metric):
            for entry in training.metrics(record):
                at = datetime.fromisoformat(entry["Timestamp"]).timestamp()
                if entry["MetricName"] == metric.get("MetricName") and begin <= at < end:
                    values[int(at // period * period)].append(float(entry["Value"]))
        yield from sorted(values.items())

    def _records(self, metric: Request) -> Iterator[Record]:
        if metric.get("Namespace") == _NAMESPACE:
            for dimension in metric.get("Dimensions", []):
                if dimension["Name"] == _JOB and (self._store.root / training.KIND / dimension["Value"]).is_dir():
                    yield self._store.find(training.KIND, dimension["Value"])


def _seconds(value: Any) -> float:
    """Return the time that a request has, in seconds or as text."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    return float(value)
