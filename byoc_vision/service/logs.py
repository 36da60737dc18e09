"""CloudWatch Logs, to read: what jobs and endpoints printed, in the groups and streams that SageMaker gives them."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from byoc_vision.local import fleets, logs
from byoc_vision.local.store import ACCOUNT, REGION, Record, Request, ServiceError, Store, offset
from byoc_vision.service.message import Call, Reply, checked, json_reply

#: Kind of record -> its log group; an endpoint has a group of its own.
_GROUPS = {
    "training-job": "/aws/sagemaker/TrainingJobs",
    "transform-job": "/aws/sagemaker/TransformJobs",
    "processing-job": "/aws/sagemaker/ProcessingJobs",
    "endpoint": "/aws/sagemaker/Endpoints",
}

#: Kinds of records whose containers docker is asked for what they print.
_CONTAINERS = ("endpoint", "transform-job")

#: Events in an answer where the request does not say.
_LIMIT = 10_000

_NO_GROUP = "The specified log group does not exist."

_INSTANCE = "i-00000000000000000"


class Logs:
    """The logs of a store's jobs and endpoints."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._operations = {
            "DescribeLogGroups": self._groups,
            "DescribeLogStreams": self._describe_streams,
            "GetLogEvents": self._get_events,
            "FilterLogEvents": self._filter_events,
        }

    def __call__(self, call: Call) -> Reply:
        """Answer a request."""
        operation = call.headers.get("x-amz-target", "").rpartition(".")[2]
        if operation not in self._operations:
            raise ServiceError("UnknownOperationException", f"CloudWatch Logs on this machine has no {operation!r}.")
        return json_reply(self._operations[operation](checked("logs", operation, call, "InvalidParameterException")))

    def _groups(self, request: Request) -> Request:
        endpoints = [f"{_GROUPS['endpoint']}/{each.name}" for each in self._store.all("endpoint")]
        names = sorted([*(group for kind, group in _GROUPS.items() if kind != "endpoint"), *endpoints])
        prefix = request.get("logGroupNamePrefix", "")
        found = [{"logGroupName": name, "arn": _arn(name)} for name in names if name.startswith(prefix)]
        return page(found, request, "logGroups")

    def _describe_streams(self, request: Request) -> Request:
        group = _group(request)
        prefix = request.get("logStreamNamePrefix", "")
        found: list[Request] = []
        for record in self._records(group, prefix):
            for name in _streams(record):
                if name.startswith(prefix):
                    arn = f"{_arn(group)}:log-stream:{name}"
                    stream: Request = {"logStreamName": name, "arn": arn, "creationTime": _begun(record)}
                    if times := _ends(record, name):
                        stream |= {"firstEventTimestamp": times[0], "lastEventTimestamp": times[1]}
                    found.append(stream)
        field = "lastEventTimestamp" if request.get("orderBy") == "LastEventTime" else "logStreamName"
        found.sort(key=lambda each: each.get(field, 0), reverse=request.get("descending", False))
        return page(found, request, "logStreams")

    def _get_events(self, request: Request) -> Request:
        group, name = _group(request), request.get("logStreamName", "")
        record = next((each for each in self._records(group, name) if name in _streams(each)), None)
        if record is None:
            raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
        events = [_event(at, line) for at, line in _lines(record, name) if _within(request, at)]
        limit = request.get("limit", _LIMIT)
        token = re.fullmatch(r"([fb])/(\d+)", request.get("nextToken", ""))
        if token and token[1] == "f":
            begin = min(int(token[2]), len(events))
        elif token:
            begin = max(0, int(token[2]) - limit)
        else:
            begin = 0 if request.get("startFromHead") else max(0, len(events) - limit)
        end = int(token[2]) if token and token[1] == "b" else begin + limit
        part = events[begin:end]
        return {"events": part, "nextForwardToken": f"f/{begin + len(part)}", "nextBackwardToken": f"b/{begin}"}

    def _filter_events(self, request: Request) -> Request:
        group = _group(request)
        matches = _pattern(request.get("filterPattern", ""))
        prefix, wanted = request.get("logStreamNamePrefix", ""), request.get("logStreamNames")
        events: list[Request] = [
            {"logStreamName": name, **_event(at, line), "eventId": f"{name}/{number}"}
            for record in self._records(group, prefix)
            if not _ended_before(record, request)
            for name in _streams(record)
            if name.startswith(prefix) and (wanted is None or name in wanted)
            for number, (at, line) in enumerate(_lines(record, name))
            if _within(request, at) and matches(line)
        ]
        events.sort(key=lambda event: event["timestamp"])
        return page(events, request, "events", _LIMIT)

    def _records(self, group: str, prefix: str) -> Iterator[Record]:
        """Yield what may have streams in the group that begin with the prefix."""
        for kind, name in _GROUPS.items():
            if kind == "endpoint" and group.startswith(f"{name}/"):
                try:
                    yield self._store.find(kind, group.removeprefix(f"{name}/"))
                except ServiceError:
                    raise ServiceError("ResourceNotFoundException", _NO_GROUP) from None
            elif group == name:
                wanted, exact, _ = prefix.partition("/")
                for record in self._store.all(kind):
                    if record.name == wanted or (not exact and record.name.startswith(wanted)):
                        yield record


def _streams(record: Record) -> list[str]:
    """Return the names of the record's streams; a job's containers have begun where there are some."""
    if record.kind == "endpoint":
        return [f"{member['Variant']['VariantName']}/{_INSTANCE}" for member in fleets.serving(record.status)]
    if record.kind == "transform-job":
        return [f"{record.name}/{_INSTANCE}"]
    if not {"TrainingStartTime", "ProcessingStartTime"} & record.status.keys():
        return []
    hosts = record.request.get("ResourceConfig", {}).get("InstanceCount", 1)
    return [f"{record.name}/algo-{host}-{_begun(record) // 1000}" for host in range(1, hosts + 1)]


def _lines(record: Record, stream: str) -> list[tuple[int, str]]:
    """Return time, in ms, and text of the stream's lines."""
    if record.kind in _CONTAINERS:
        variant = stream.partition("/")[0] if record.kind == "endpoint" else ""
        lines = logs.Containers(record.folder, variant).new_entries()
    else:
        lines = logs.File(record.folder / "log").new_entries()
    host = re.search(r"/(algo-\d+)-\d+$", stream)
    if host and record.request.get("ResourceConfig", {}).get("InstanceCount", 1) > 1:
        mark = f"{host[1]}: "
        lines = [(at, line.removeprefix(mark)) for at, line in lines if line.startswith(mark)]
    return [(_milliseconds(at), line) for at, line in lines]


def _ends(record: Record, stream: str) -> tuple[int, int] | None:
    """Return when the stream's first and last lines came. The hosts of a job begin and end together."""
    if record.kind in _CONTAINERS:
        lines = _lines(record, stream)
        return (lines[0][0], lines[-1][0]) if lines else None
    times = logs.ends(record.folder / "log")
    return times and (_milliseconds(times[0]), _milliseconds(times[1]))


def _ended_before(record: Record, request: Request) -> bool:
    """Whether nothing was logged since the time that a request begins with."""
    changed = (record.folder / "log").stat().st_mtime * 1000
    return record.kind not in _CONTAINERS and changed < request.get("startTime", 0)


def _event(at: int, line: str) -> Request:
    return {"timestamp": at, "message": line, "ingestionTime": at}


def _group(request: Request) -> str:
    group = request.get("logGroupName") or request.get("logGroupIdentifier", "").removeprefix(_arn(""))
    if group not in _GROUPS.values() and not group.startswith(f"{_GROUPS['endpoint']}/"):
        raise ServiceError("ResourceNotFoundException", _NO_GROUP)
    return str(group)


def _arn(group: str) -> str:
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"


def _begun(record: Record) -> int:
    return _milliseconds(record.status["CreationTime"])


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _within(request: Request, at: int) -> bool:
    return bool(request.get("startTime", 0) <= at < request.get("endTime", (time.time() + 1) * 1000))


def _pattern(text: str) -> Callable[[str], bool]:
    """Return whether a line matches CloudWatch's filter pattern: terms, "phrases", -without and ?any of several."""
    if re.match(r"\s*[\[{%]", text):
        reason = "The local engine's filterPattern is of terms and phrases; it has no fields or regular expressions."
        raise ServiceError("InvalidParameterException", reason)
    terms = [(sign, phrase or word) for sign, phrase, word in re.findall(r'([-?]?)(?:"([^"]*)"|(\S+))', text)]
    some = [term for sign, term in terms if sign == "?"]
    every = [(sign, term) for sign, term in terms if sign != "?"]
    return lambda line: (
        all((term in line) is (sign != "-") for sign, term in every)
        and (not some or any(term in line for term in some))
    )


def page(found: list[Any], request: Request, key: str, limit: int = 50, token: str = "nextToken") -> Request:
    """Return the part of `found` that a request with `nextToken` and `limit` asks for; the next token is in `token`."""
    try:
        begin = offset(request.get("nextToken", "0"))
    except ServiceError as error:
        raise ServiceError("InvalidParameterException", str(error)) from None
    end = begin + request.get("limit", limit)
    return {key: found[begin:end]} | ({token: str(end)} if end < len(found) else {})
