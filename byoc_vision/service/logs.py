"""CloudWatch Logs, to read: what jobs and endpoints printed, in the groups and streams that SageMaker gives them."""

import heapq
import math
import re
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any, TypeVar

from byoc_vision.local import fleets
from byoc_vision.local.store import ACCOUNT, REGION, Record, Request, ServiceError, Store, offset
from byoc_vision.service.log_streams import ContainersStream, FileStream, Pattern, Stream, milliseconds, no_token
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

#: Seconds that an answer is searched for: as in the service, one may hold nothing, and a token to go on with.
_SEARCH = 0.01

#: Events in an answer where the request does not say, and about how many bytes; each counts so many besides its text.
_LIMIT, _BYTES, _EACH = 10_000, 1 << 20, 26

_NO_GROUP = "The specified log group does not exist."

_INSTANCE = "i-00000000000000000"

_Any = TypeVar("_Any")
_Line = TypeVar("_Line", bound=tuple[Any, ...])


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
        endpoints = [f"{_GROUPS['endpoint']}/{record.name}" for record in self._store.all("endpoint")]
        names = sorted([*(group for kind, group in _GROUPS.items() if kind != "endpoint"), *endpoints])
        prefix, part = request.get("logGroupNamePrefix", ""), request.get("logGroupNamePattern", "").lower()
        names = [name for name in names if name.startswith(prefix) and part in name.lower()]
        wanted = [_named(each) for each in request.get("logGroupIdentifiers", names)]
        if request.get("logGroupClass", "STANDARD") != "STANDARD":
            wanted = []
        groups = [{"logGroupName": name, "arn": _arn(name)} for name in names if name in wanted]
        return page(groups, request, "logGroups")

    def _describe_streams(self, request: Request) -> Request:
        group = _group(request)
        prefix = request.get("logStreamNamePrefix", "")
        if prefix and request.get("orderBy") == "LastEventTime":
            reason = "Cannot order by LastEventTime with a logStreamNamePrefix; leave one of them out."
            raise ServiceError("InvalidParameterException", reason)

        def tell(record: Record) -> list[Request]:
            return [_told_stream(group, stream, _begun(record)) for stream in _streams(record)]

        streams = [stream for entry in self._of(group, prefix, tell) for stream in entry]
        streams = [stream for stream in streams if stream["logStreamName"].startswith(prefix)]
        field = "lastEventTimestamp" if request.get("orderBy") == "LastEventTime" else "logStreamName"
        streams.sort(key=lambda entry: entry.get(field, 0), reverse=request.get("descending", False))
        return page(streams, request, "logStreams")

    def _get_events(self, request: Request) -> Request:
        group, name = _group(request), request.get("logStreamName", "")
        candidates = (stream for streams in self._of(group, name, _streams) for stream in streams)
        stream = next((candidate for candidate in candidates if candidate.name == name), None)
        if stream is None:
            raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
        token = re.fullmatch(r"([fb])/([0-9]{1,20})", request.get("nextToken", "f/0"))
        if token is None:
            raise no_token()
        stream.check(place := int(token[2]))
        begin, end = stream.find(request.get("startTime", 0)), stream.find(request.get("endTime", math.inf))
        if token[1] == "b" or not ("nextToken" in request or request.get("startFromHead")):
            place = min(place, end) if "nextToken" in request else end
            events = _first(takewhile(lambda event: event.place >= begin, stream.backward(place)), request)
            events.reverse()
        else:
            place = max(place, begin)
            events = _first(takewhile(lambda event: event.place < end, stream.forward(place)), request)
        last, first = (events[-1].after, events[0].place) if events else (place, place)
        answer: Request = {"events": [_told(event.at, event.message) for event in events]}
        return answer | {"nextForwardToken": f"f/{last}", "nextBackwardToken": f"b/{first}"}

    def _filter_events(self, request: Request) -> Request:
        group = _group(request)
        pattern = Pattern(request.get("filterPattern", ""))
        prefix, wanted = request.get("logStreamNamePrefix", ""), request.get("logStreamNames")
        if prefix and wanted:
            reason = "logStreamNames and logStreamNamePrefix cannot be given together; leave one of them out."
            raise ServiceError("InvalidParameterException", reason)
        token = re.fullmatch(r"([0-9]{1,15})/([0-9]{1,20})/(.+)", request.get("nextToken", "0/0/-"))
        if token is None:
            raise no_token()
        last = int(token[1]), token[3], int(token[2])  # time, stream and place of the last event that was answered
        begin, end = max(request.get("startTime", 0), last[0]), request.get("endTime", math.inf)

        def search(stream: Stream) -> Iterator[tuple[int, str, int, str | None]]:
            stop = stream.find(end)
            for event in stream.search(stream.find(begin), pattern):
                if event.place >= stop:
                    return
                if (key := (event.at, stream.name, event.place)) > last:
                    yield *key, event.message

        def since(record: Record) -> list[Stream]:
            return [] if _ended_before(record, begin) else _streams(record)

        streams = [
            search(stream)
            for each in self._of(group, prefix, since)
            for stream in each
            if stream.name.startswith(prefix) and (wanted is None or stream.name in wanted)
        ]
        searching, deadline = heapq.merge(*streams), time.monotonic() + _SEARCH
        reached, late = last, False

        def in_time() -> Iterator[tuple[int, str, int, str]]:
            nonlocal reached, late
            for at, name, place, message in searching:
                reached = at, name, place
                if message is not None:
                    yield at, name, place, message
                elif late := time.monotonic() > deadline:
                    return

        answered = [
            {"logStreamName": name, "eventId": f"{name}/{place}"} | _told(at, message)
            for at, name, place, message in _first(in_time(), request)
        ]
        answer: Request = {"events": answered}
        if late or any(message is not None or time.monotonic() > deadline for *_, message in searching):
            answer["nextToken"] = "{0}/{2}/{1}".format(*reached)
        return answer

    def _of(self, group: str, prefix: str, tell: Callable[[Record], list[_Any]]) -> Iterator[list[_Any]]:
        """Yield what `tell` returns of each record that may have streams in the group that begin with the prefix."""
        wanted, exact, _ = prefix.partition("/")

        def chosen(record: Record) -> list[_Any]:
            named = record.name == wanted if exact else record.name.startswith(wanted)
            return tell(record) if named else []

        for kind, name in _GROUPS.items():
            if kind == "endpoint" and group.startswith(f"{name}/"):
                try:
                    yield tell(self._store.find(kind, group.removeprefix(f"{name}/")))
                except ServiceError:
                    raise ServiceError("ResourceNotFoundException", _NO_GROUP) from None
            elif group == name:
                yield from self._store.told(kind, chosen)


def _told_stream(group: str, stream: Stream, begun: int) -> Request:
    description: Request = {"logStreamName": stream.name, "arn": f"{_arn(group)}:log-stream:{stream.name}"}
    description["creationTime"] = begun
    if last := next(stream.backward(stream.find(math.inf)), None):
        description["firstEventTimestamp"] = next(stream.forward(0), last).at
        description["lastEventTimestamp"] = last.at
    return description


def _streams(record: Record) -> list[Stream]:
    """Return the record's streams; a job's containers have begun where there are some."""
    if record.kind == "endpoint":
        names = [member["Variant"]["VariantName"] for member in fleets.serving(record.status)]
        return [ContainersStream(f"{name}/{_INSTANCE}", record.folder, name) for name in names]
    if record.kind == "transform-job":
        return [ContainersStream(f"{record.name}/{_INSTANCE}", record.folder)]
    if not {"TrainingStartTime", "ProcessingStartTime"} & record.status.keys():
        return []
    count = record.request.get("ResourceConfig", {}).get("InstanceCount", 1)
    hosts = [f"algo-{host}" for host in range(1, count + 1)]
    return [
        FileStream(
            f"{record.name}/{host}-{_begun(record) // 1000}", record.folder / "log", f"{host}: " if count > 1 else ""
        )
        for host in hosts
    ]


def _ended_before(record: Record, begin: float) -> bool:
    """Whether nothing was logged since the time that a request begins with."""
    log = record.folder / "log"
    return record.kind not in _CONTAINERS and (not log.exists() or log.stat().st_mtime * 1000 < begin)


def _first(lines: Iterator[_Line], request: Request) -> list[_Line]:
    """Return as many of the lines, tuples whose last member is the text, as an answer holds."""
    taken, size = [], 0
    for line in lines:
        taken.append(line)
        size += len(line[-1].encode()) + _EACH
        if len(taken) == request.get("limit", _LIMIT) or size >= _BYTES:
            break
    return taken


def _told(at: int, message: str | None) -> Request:
    return {"timestamp": at, "message": message, "ingestionTime": at}


def _group(request: Request) -> str:
    group = request.get("logGroupName") or _named(request.get("logGroupIdentifier", ""))
    if group not in _GROUPS.values() and not group.startswith(f"{_GROUPS['endpoint']}/"):
        raise ServiceError("ResourceNotFoundException", _NO_GROUP)
    return str(group)


def _named(identifier: str) -> str:
    """Return the name of a group, of its name or ARN."""
    return identifier.removeprefix(_arn(""))


def _arn(group: str) -> str:
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"


def _begun(record: Record) -> int:
    return milliseconds(record.status["CreationTime"])


def page(entries: list[Any], request: Request, key: str, limit: int = 50, token: str = "nextToken") -> Request:
    """Return the part of `entries` that a request wants by `nextToken` and `limit`; the next token is in `token`."""
    try:
        begin = offset(request.get("nextToken", "0"))
    except ServiceError as error:
        raise ServiceError("InvalidParameterException", str(error)) from None
    end = begin + request.get("limit", limit)
    return {key: entries[begin:end]} | ({token: str(end)} if end < len(entries) else {})
