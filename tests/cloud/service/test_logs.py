"""CloudWatch and its logs: what jobs printed and reported."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from byoc_vision.local import containers, training
from byoc_vision.local.store import now
from byoc_vision.service import logs as logs_module
from byoc_vision.service.log_streams import FileStream
from tests.cloud.service.conftest import Service, refused, training_request


def test_logs_of_a_job(sagemaker: Any, service: Service) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}
    for name in ("job", "job-2"):
        sagemaker.create_training_job(**training_request(name, ResourceConfig=resources))
        service.store.find(training.KIND, name).update(TrainingStartTime=now())
    log = service.store.find(training.KIND, "job").folder / "log"
    log.write_text(f"{now()} algo-1: one\n{now()} algo-2: two\n{now()} algo-1: three\n{now()} algo-1: half")
    logs, group = service.client("logs"), "/aws/sagemaker/TrainingJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="job/", orderBy="LogStreamName")
    names = [stream["logStreamName"] for stream in streams["logStreams"]]
    assert [name.rpartition("-")[0] for name in names] == ["job/algo-1", "job/algo-2"]
    first = logs.get_log_events(logGroupName=group, logStreamName=names[0], startFromHead=True, limit=1)
    assert [event["message"] for event in first["events"]] == ["one"]
    after = {"nextToken": first["nextForwardToken"]}
    more = logs.get_log_events(logGroupName=group, logStreamName=names[0], startFromHead=True, **after)
    assert [event["message"] for event in more["events"]] == ["three"]
    after = {"nextToken": more["nextForwardToken"]}
    last = logs.get_log_events(logGroupName=group, logStreamName=names[0], startFromHead=True, **after)
    assert (last["events"], last["nextForwardToken"]) == ([], more["nextForwardToken"])
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, logStreamNamePrefix="job/")
    found = [event["message"] for page in pages for event in page["events"]]
    assert sorted(found) == ["one", "three", "two"]
    for pattern, messages in (
        ("one", ["one"]),
        ("-one", ["three", "two"]),
        ("?one ?two", ["one", "two"]),
        ('"t" -"two"', ["three"]),
    ):
        found = logs.filter_log_events(logGroupName=group, logStreamNamePrefix="job/", filterPattern=pattern)["events"]
        assert sorted(event["message"] for event in found) == messages
    with refused("InvalidParameterException", "regular expressions"):
        logs.filter_log_events(logGroupName=group, filterPattern="{ $.a = 1 }")
    with refused("InvalidParameterException", "no token"):
        logs.filter_log_events(logGroupName=group, nextToken="nonsense")
    with refused("InvalidParameterException", "cannot be given together"):
        logs.filter_log_events(logGroupName=group, logStreamNamePrefix="job/", logStreamNames=["job/algo-1-1"])
    with refused("InvalidParameterException", "Cannot order by LastEventTime"):
        logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="job/", orderBy="LastEventTime")
    with refused("ResourceNotFoundException"):
        logs.describe_log_streams(logGroupName="/aws/sagemaker/Endpoints/none")
    wrong_type = b'{"logGroupName": ["/aws/sagemaker/TrainingJobs"], "limit": "a"}'
    status, body = service.ask("POST", "/", wrong_type, "logs", x_amz_target="Logs_20140328.GetLogEvents")
    assert (status, json.loads(body)["__type"]) == (400, "InvalidParameterException")
    for wrong in (
        {"logGroupName": group, "logStreamName": "none"},
        {"logGroupName": "none", "logStreamName": names[0]},
    ):
        with refused("ResourceNotFoundException"):
            logs.get_log_events(**wrong)


GROUP = {"logGroupName": "/aws/sagemaker/TrainingJobs"}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(number: int) -> int:
    """Return the time, in ms, of a line of `logged`; some have the same."""
    return int(BEGIN.timestamp() * 1000) + number * 7 // 10


@pytest.fixture
def logged(sagemaker: Any, service: Service) -> tuple[Any, str, list[str]]:
    """CloudWatch Logs' client, the stream of the first of a job's two hosts, and what both printed by turns."""
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}
    sagemaker.create_training_job(**training_request("job", ResourceConfig=resources))
    record = service.store.find(training.KIND, "job")
    record.update(TrainingStartTime=now())
    lines = [f"line {number} {'ü' * (30_000 if number in (5, 3000) else number % 50)}" for number in range(4000)]
    with (record.folder / "log").open("w") as log:
        for number, line in enumerate(lines):
            came = BEGIN + timedelta(microseconds=700 * number)
            log.write(f"{came.isoformat()} algo-{number % 2 + 1}: {line}\n")
            if number == 2000:
                log.write("2026-01-0\n")  # a disk was full
        log.write("2026-01-01T00:00:0")
    logs = service.client("logs")
    streams = logs.describe_log_streams(**GROUP)["logStreams"]
    assert [(each["firstEventTimestamp"], each["lastEventTimestamp"]) for each in streams] == [
        (at(0), at(3998)),
        (at(1), at(3999)),
    ]
    return logs, streams[0]["logStreamName"], lines


def test_groups_are_filtered(service: Service) -> None:
    logs, name = service.client("logs"), "/aws/sagemaker/TrainingJobs"
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{name}"
    for identifier in (name, arn):
        found = logs.describe_log_groups(logGroupIdentifiers=[identifier])["logGroups"]
        assert [group["logGroupName"] for group in found] == [name]
    assert logs.describe_log_groups(logGroupClass="INFREQUENT_ACCESS")["logGroups"] == []


@pytest.mark.parametrize("limit", [67, 1000, 10_000])
def test_a_stream_is_read_in_pages_both_ways(logged: tuple[Any, str, list[str]], limit: int) -> None:
    logs, name, lines = logged
    mine = lines[::2]
    for begin, end in ((0, 4000), (1000, 3500)):
        wanted = [line for number, line in enumerate(mine) if at(begin) <= at(2 * number) < at(end)]
        stream = GROUP | {"logStreamName": name, "startTime": at(begin), "endTime": at(end), "limit": limit}
        for options, token in (({"startFromHead": True}, "nextForwardToken"), ({}, "nextBackwardToken")):
            pages: list[list[str]] = []
            found = logs.get_log_events(**stream, **options)
            while found["events"]:
                pages.append([event["message"] for event in found["events"]])
                found = logs.get_log_events(**stream, **options, nextToken=found[token])
            ordered = pages if options else pages[::-1]
            assert [line for page in ordered for line in page] == wanted


@pytest.mark.parametrize("limit", [31, 500, 10_000])
def test_all_streams_are_filtered_in_pages(logged: tuple[Any, str, list[str]], limit: int) -> None:
    logs, _, lines = logged
    pages = logs.get_paginator("filter_log_events")
    for pattern, begin, end in (
        ("", 0, 4000),
        ("line 3", 0, 3900),
        ('"line 35" -9', 3000, 4000),
        ("?11 ?22", 100, 4000),
        ("-line", 0, 4000),
        ("2026 -line", 0, 4000),
    ):
        few = {"startTime": at(begin), "endTime": at(end)} if pattern else {"startTime": at(3900)}
        given = [
            (at(number), number, line)
            for number, line in enumerate(lines)
            if few["startTime"] <= at(number) < few.get("endTime", at(4000))
            and {
                "": True,
                "line 3": "line" in line and "3" in line,
                '"line 35" -9': "line 35" in line and "9" not in line,
                "?11 ?22": "11" in line or "22" in line,
                "-line": False,
                "2026 -line": False,  # a line's time is none of its words
            }[pattern]
        ]
        found = [
            (event["timestamp"], event["message"])
            for page in pages.paginate(**GROUP, **few, filterPattern=pattern, PaginationConfig={"PageSize": limit})
            for event in page["events"]
        ]
        assert [time for time, _ in found] == [time for time, _, _ in given]
        assert sorted(message for _, message in found) == sorted(line for _, _, line in given)


def test_an_answer_that_is_searched_for_long_holds_what_was_found_until_then(
    logged: tuple[Any, str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, _, lines = logged
    monkeypatch.setattr("byoc_vision.service.logs._SEARCH", 0)
    pages = list(logs.get_paginator("filter_log_events").paginate(**GROUP, filterPattern='"line 3999"'))
    assert [event["message"] for page in pages for event in page["events"]] == [lines[3999]]
    assert len(pages) > 3 and not pages[0]["events"]


def test_an_answer_costs_what_is_in_it(logged: tuple[Any, str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    logs, name, lines = logged
    read = []
    original = FileStream._read
    monkeypatch.setattr(
        FileStream, "_read", lambda self, place, size: read.append(len(found := original(self, place, size))) or found
    )
    first = logs.filter_log_events(**GROUP, startTime=at(1000), limit=10)
    logs.filter_log_events(**GROUP, startTime=at(1000), limit=10, nextToken=first["nextToken"])
    last = logs.get_log_events(**GROUP, logStreamName=name, limit=10)
    logs.get_log_events(**GROUP, logStreamName=name, nextToken=last["nextForwardToken"])
    assert [event["message"] for event in last["events"]] == lines[-20::2]
    assert sum(read) < sum(map(len, lines)) / 2


def test_a_forged_token_is_refused(logged: tuple[Any, str, list[str]]) -> None:
    logs, name, _ = logged
    for token in ("f/3", "b/99999999999", "f/-1", "g/1", "f", "٣", "f/٣"):
        with refused("InvalidParameterException", "no token"):
            logs.get_log_events(**GROUP, logStreamName=name, nextToken=token)
    for token in ("1", "a/b/c", "1/2", "-1/2/job"):
        with refused("InvalidParameterException", "no token"):
            logs.filter_log_events(**GROUP, nextToken=token)


def test_an_answer_is_a_megabyte_at_most(
    logged: tuple[Any, str, list[str]], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "_SEARCH", 60)
    logs, name, _ = logged
    log = service.store.find(training.KIND, "job").folder / "log"
    log.write_text("".join(f"{now()} algo-1: {number}{'x' * 200_000}\n" for number in range(12)))
    assert len(logs.get_log_events(**GROUP, logStreamName=name)["events"]) == 6
    pages = logs.get_paginator("filter_log_events").paginate(**GROUP)
    assert [len(page["events"]) for page in pages if page["events"]] == [6, 6]


def test_what_containers_print_is_read_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = [(f"2026-01-01T00:00:{second:02}.{second:09}Z", f"line {second}") for second in range(10)]
    asked = []

    def docker(container: str, since: str = "") -> list[tuple[str, str]]:
        asked.append(since)
        return [each for each in printed if each[0] >= since]

    monkeypatch.setattr(containers, "printed", docker)
    monkeypatch.setattr(containers, "labelled", lambda label, value: ["a"])
    member = {"Name": "a", "Port": 1, "Variant": {"VariantName": "AllTraffic"}, "Container": {}}
    service.store.create("endpoint", "dogs", {}, EndpointStatus="InService", Serving=[member])[1].release()
    logs, group = service.client("logs"), {"logGroupName": "/aws/sagemaker/Endpoints/dogs"}
    stream = group | {"logStreamName": "AllTraffic/i-00000000000000000"}
    last = logs.get_log_events(**stream, limit=4)
    assert [event["message"] for event in last["events"]] == [f"line {second}" for second in range(6, 10)]
    before = logs.get_log_events(**stream, limit=4, nextToken=last["nextBackwardToken"])
    assert [event["message"] for event in before["events"]] == [f"line {second}" for second in range(2, 6)]
    assert not logs.get_log_events(**stream, nextToken=last["nextForwardToken"])["events"]
    assert asked[-1] == "2026-01-01T00:00:09.000000009Z"
    printed.append(("2026-01-01T00:00:10.000000000Z", "more"))
    after = logs.get_log_events(**stream, nextToken=last["nextForwardToken"])
    assert [(event["message"], event["timestamp"]) for event in after["events"]] == [("more", at(0) + 10_000)]
    pages = logs.get_paginator("filter_log_events").paginate(**group, PaginationConfig={"PageSize": 3})
    assert [event["message"] for page in pages for event in page["events"]] == [line for _, line in printed]
    with refused("InvalidParameterException", "no token"):
        logs.get_log_events(**stream, nextToken="f/99999999999999999999")


def test_metrics_of_a_job(sagemaker: Any, service: Service) -> None:
    for name in ("job", "other"):
        sagemaker.create_training_job(**training_request(name))
    entries = [
        {"MetricName": "loss", "Value": value, "Timestamp": f"2026-01-01T00:0{minute}:30+00:00"}
        for minute, value in ((1, 3.0), (1, 1.0), (2, 0.5))
    ]
    log = service.store.find(training.KIND, "job").folder / "metrics.jsonl"
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    metrics = service.client("cloudwatch")
    metric = {"Namespace": "/aws/sagemaker/TrainingJobs", "MetricName": "loss"}
    metric |= {"Dimensions": [{"Name": "TrainingJobName", "Value": "job"}]}
    times = {"StartTime": datetime(2026, 1, 1, tzinfo=UTC), "EndTime": datetime(2026, 1, 2, tzinfo=UTC)}
    wanted = {"Period": 60, "Statistics": ["Average", "SampleCount"]}
    points = metrics.get_metric_statistics(**metric, **times, **wanted)["Datapoints"]
    assert [(point["Timestamp"].minute, point["Average"], point["SampleCount"]) for point in points] == [
        (1, 2.0, 2.0),
        (2, 0.5, 1.0),
    ]
    query = {"Id": "a", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Minimum"}}
    (result,) = metrics.get_metric_data(MetricDataQueries=[query], **times)["MetricDataResults"]
    assert (result["Id"], result["Values"]) == ("a", [0.5])
    assert [each["MetricName"] for each in metrics.list_metrics()["Metrics"]] == ["loss"]
    none = metric | {"Dimensions": [{"Name": "TrainingJobName", "Value": "../other"}]}
    assert metrics.get_metric_statistics(**none, **times, **wanted)["Datapoints"] == []
    with refused("InvalidParameterValue", "no expressions"):
        metrics.get_metric_data(MetricDataQueries=[{"Id": "a", "Expression": "1"}], **times)
    with refused("UnknownOperationException"):
        metrics.put_metric_data(Namespace="a", MetricData=[{"MetricName": "a", "Value": 1}])
