"""CloudWatch and its logs: what jobs printed and reported."""

import json
from datetime import UTC, datetime
from typing import Any

from byoc_vision.local import training
from byoc_vision.local.store import now
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
