"""Endpoints with several variants, replaced under load, asked in all ways; servers in this process play containers."""

import base64
import http.server
import io
import json
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers, fleets, process, server
from byoc_vision.local.store import Store
from byoc_vision.requests import operations
from byoc_vision.service.server import Server

BUCKET = "pictures"


class Container(http.server.ThreadingHTTPServer):
    """A container of a serving image. It answers its model's name; a multi-model one has room for one model."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, image: str, port: int, model: Path, variant: str) -> None:
        self.image, self.model, self.variant, self.loaded = image, model, variant, set[str]()
        self.requests: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(("127.0.0.1", port), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Container

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.gate.wait(10)
        self.server.requests.append(self.path)
        if self.path == "/models":
            name = json.loads(body)["model_name"]
            if self.server.loaded:
                return self._say(507)
            self.server.loaded.add(name)
            return self._say(200)
        if self.path.startswith("/models/"):
            name = self.path.split("/")[2]
            if name not in self.server.loaded:
                return self._say(404)
            return self._say(200, (self.server.model / name / "model" / "name").read_bytes())
        return self._say(400 if body == b"bad" else 200, self.server.image.encode())

    def do_DELETE(self) -> None:
        self.server.loaded.discard(self.path.split("/")[2])
        self._say(200)

    def _say(self, status: int, body: bytes = b"{}") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Machine:
    """A service whose containers are servers of this process, and whose background processes run at once."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.store = Store(root)
        self.containers: dict[str, Container] = {}
        self.cut_off = 0  # containers that were not left to answer what they were asked
        self.background: Callable[[Callable[[], None]], object] = lambda run: run()
        patch.setattr(containers, "require", lambda image: None)
        patch.setattr(containers, "owned", lambda folder: list(self.containers))
        patch.setattr(containers, "orphans", lambda kind: [])
        patch.setattr(containers, "running", lambda name: name in self.containers)
        patch.setattr(containers, "docker", self._docker)
        patch.setattr(process, "start", self._start)
        patch.setattr(server, "start", self._run)
        patch.setattr(server, "wait", self._wait)
        patch.setattr(server, "stop", self._stop)
        self.server = Server(self.store, "127.0.0.1", 0)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.sagemaker, self.runtime, self.s3 = map(self.client, ("sagemaker", "sagemaker-runtime", "s3"))
        self.s3.create_bucket(Bucket=BUCKET)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            "us-east-1",
            endpoint_url=f"http://127.0.0.1:{self.server.server_port}",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=20),
        )

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        for each in self.containers.values():
            each.end()

    def _docker(self, *arguments: str) -> str:
        if arguments[0] == "inspect" and "Labels" in arguments[2]:
            return f"{arguments[3]} {self.containers[arguments[3]].variant}"
        return arguments[-1]  # a container's id is its name

    def _start(self, record: Any, lock: Any) -> None:
        def run() -> None:
            with lock:
                fleets.run(record)

        self.background(run)

    def _run(self, owner: Path, definition: dict[str, Any], model: Path, port: int, **more: Any) -> str:
        variant = more["options"][-1].partition("=")[2]
        name = f"{variant}-{len(self.containers)}-{time.monotonic_ns()}"
        self.containers[name] = Container(definition["Image"], port, model, variant)
        return name

    def _stop(self, name: str, log: Path | None = None, *, at_once: bool = False) -> None:
        self.cut_off += at_once
        self.containers.pop(name).end()

    def _wait(self, container: str, *_: object) -> None:
        if self.containers[container].image == "broken":
            raise UserError("the container ended before it could serve: no model")

    def configure(self, name: str, variants: dict[str, tuple[str, float]], **fields: Any) -> None:
        """Make an endpoint configuration: variant -> image and weight, and more fields of it or of its variants."""
        wanted = []
        for variant, (image, weight) in variants.items():
            model = f"{name}-{variant}"
            self.sagemaker.create_model(
                ModelName=model,
                ExecutionRoleArn="arn:aws:iam::000000000000:role/local",
                PrimaryContainer=fields.get("container", {}) | {"Image": image},
            )
            place = fields.get("place", {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1})
            wanted.append({"VariantName": variant, "ModelName": model, "InitialVariantWeight": weight} | place)
        more = {field: value for field, value in fields.items() if field not in ("container", "place")}
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=wanted, **more)

    def ask(self, endpoint: str = "dogs", body: bytes = b"picture", **fields: Any) -> tuple[str, str]:
        """Return what answered: the image (or the model's name), and the variant."""
        answer = self.runtime.invoke_endpoint(EndpointName=endpoint, Body=body, **fields)
        return answer["Body"].read().decode(), answer["InvokedProductionVariant"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path / "store", monkeypatch)
    yield machine
    machine.end()


@contextmanager
def refused(code: str, match: str) -> Iterator[None]:
    with pytest.raises(ClientError, match=match) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == code


def test_traffic_is_split_by_weight_and_a_variant_may_be_named(machine: Machine) -> None:
    machine.configure("two", {"a": ("one", 3), "b": ("two", 1)})
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="two")
    told = machine.sagemaker.describe_endpoint(EndpointName="dogs")
    assert told["EndpointStatus"] == "InService"
    assert [(each["VariantName"], each["CurrentWeight"]) for each in told["ProductionVariants"]] == [("a", 3), ("b", 1)]
    answered = Counter(machine.ask() for _ in range(200))
    assert set(answered) == {("one", "a"), ("two", "b")}
    assert 20 <= answered["two", "b"] <= 85  # a quarter: outside once in a million runs
    assert machine.ask(TargetVariant="b") == ("two", "b")
    with refused("ValidationError", "no variant 'c'"):
        machine.ask(TargetVariant="c")
    with refused("ModelError", "client error .400. from primary"):
        machine.ask(body=b"bad")

    wanted = [{"VariantName": "a", "DesiredWeight": 0}, {"VariantName": "b", "DesiredInstanceCount": 4}]
    machine.sagemaker.update_endpoint_weights_and_capacities(EndpointName="dogs", DesiredWeightsAndCapacities=wanted)
    assert {machine.ask() for _ in range(20)} == {("two", "b")}
    assert machine.ask(TargetVariant="a") == ("one", "a")
    a, b = machine.sagemaker.describe_endpoint(EndpointName="dogs")["ProductionVariants"]
    assert (a["DesiredWeight"], b["DesiredInstanceCount"]) == (0, 4)
    with refused("ValidationException", "no variant c"):
        machine.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="dogs", DesiredWeightsAndCapacities=[{"VariantName": "c", "DesiredWeight": 1}]
        )
    retained = {"EndpointName": "dogs", "EndpointConfigName": "two", "RetainAllVariantProperties": True}
    excluded = [{"VariantPropertyType": "DesiredInstanceCount"}]
    machine.sagemaker.update_endpoint(**retained, ExcludeRetainedVariantProperties=excluded)
    a, b = machine.sagemaker.describe_endpoint(EndpointName="dogs")["ProductionVariants"]
    assert (a["DesiredWeight"], b["DesiredInstanceCount"]) == (0, 1)
    machine.sagemaker.update_endpoint(EndpointName="dogs", EndpointConfigName="two")
    a, _ = machine.sagemaker.describe_endpoint(EndpointName="dogs")["ProductionVariants"]
    assert a["DesiredWeight"] == 3
    machine.sagemaker.delete_endpoint(EndpointName="dogs")
    assert machine.containers == {}


@pytest.mark.parametrize("routing", ["ALL_AT_ONCE", "CANARY", "LINEAR"])
def test_no_request_is_lost_while_an_endpoint_is_replaced(machine: Machine, routing: str) -> None:
    machine.configure("old", {"a": ("one", 1), "b": ("one", 1)})
    machine.configure("new", {"a": ("two", 1)})
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="old")
    port = machine.store.find("endpoint", "dogs").status["Port"]
    machine.background = lambda run: threading.Thread(target=run).start()
    size = {"Type": "CAPACITY_PERCENT", "Value": 50}
    sizes = {"CANARY": {"CanarySize": size}, "LINEAR": {"LinearStepSize": size}}.get(routing, {})
    policy = {"TrafficRoutingConfiguration": {"Type": routing, "WaitIntervalInSeconds": 1 if sizes else 0} | sizes}
    deployment = {"BlueGreenUpdatePolicy": policy}
    machine.sagemaker.update_endpoint(EndpointName="dogs", EndpointConfigName="new", DeploymentConfig=deployment)
    answered, pending = Counter[str](), set[str]()
    while (told := machine.sagemaker.describe_endpoint(EndpointName="dogs"))["EndpointStatus"] == "Updating":
        pending.add(told.get("PendingDeploymentSummary", {}).get("EndpointConfigName", ""))
        answered.update(machine.ask()[0] for _ in range(10))  # raises where one is lost
    assert told["EndpointConfigName"] == "new"
    assert {machine.ask() for _ in range(10)} == {("two", "a")}
    assert machine.store.find("endpoint", "dogs").status["Port"] == port  # as before
    assert len(machine.containers) == 1
    if sizes:
        assert answered["one"] and answered["two"], answered
        assert "new" in pending


def test_a_port_that_another_took_since_is_left_to_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[int] = []

    def run(owner: Path, definition: dict[str, Any], model: Path, port: int, **more: Any) -> str:
        if len(lost) < 2:  # each time between the look for a port and its use
            lost.append(port)
            raise server.PortTakenError(f"something listens on port {port}")
        return machine._run(owner, definition, model, port, **more)

    monkeypatch.setattr(server, "start", run)
    machine.configure("one", {"a": ("one", 1)})
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="one")
    described = machine.sagemaker.describe_endpoint(EndpointName="dogs")
    assert described["EndpointStatus"] == "InService", described
    status = machine.store.find("endpoint", "dogs").status
    assert status["Home"] == status["Port"] not in lost
    assert machine.ask()[0] == "one"

    machine.sagemaker.delete_endpoint(EndpointName="dogs")
    lost.clear()
    asks = {"Environment": {operations.PORT_VARIABLE: str(server.free_port())}}
    machine.configure("fixed", {"a": ("one", 1)}, container=asks)
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="fixed")
    described = machine.sagemaker.describe_endpoint(EndpointName="dogs")
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"] == f"something listens on port {lost[0]}."


def test_a_failed_update_leaves_what_served(machine: Machine) -> None:
    machine.configure("old", {"a": ("one", 1)})
    machine.configure("new", {"a": ("two", 1), "b": ("broken", 1)})
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="old")
    machine.sagemaker.update_endpoint(EndpointName="dogs", EndpointConfigName="new")
    told = machine.sagemaker.describe_endpoint(EndpointName="dogs")
    assert (told["EndpointStatus"], told["EndpointConfigName"]) == ("InService", "old")
    assert "no model" in told["FailureReason"]
    assert machine.ask() == ("one", "a")
    assert len(machine.containers) == 1
    assert machine.cut_off == 2  # nobody could have asked them
    for wrong, said in (
        ({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}, "no Alarms"),
        ({"RollingUpdatePolicy": {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}}}, "RollingUpdatePolicy"),
    ):
        if "RollingUpdatePolicy" in wrong:
            wrong["RollingUpdatePolicy"]["WaitIntervalInSeconds"] = 0
        with refused("ValidationException", said):
            machine.sagemaker.update_endpoint(EndpointName="dogs", EndpointConfigName="new", DeploymentConfig=wrong)
    machine.sagemaker.create_endpoint(EndpointName="cats", EndpointConfigName="new")
    assert machine.sagemaker.describe_endpoint(EndpointName="cats")["EndpointStatus"] == "Failed"
    with refused("ValidationError", "is Failed"):
        machine.ask("cats")


def test_a_deployment_that_was_broken_off_goes_back(machine: Machine) -> None:
    machine.configure("old", {"a": ("one", 1)})
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="old")
    record = machine.store.find("endpoint", "dogs")
    fleet = fleets.serving(record.status)
    other = machine._run(record.folder, {"Image": "two"}, Path(), server.free_port(), options=("--label", "v=a"))
    shifting = {"Share": 1, "Fleet": [fleet[0] | {"Name": other, "Port": machine.containers[other].server_port}]}
    record.update(EndpointStatus="Updating", Next=shifting, Wanted={"EndpointConfigName": "new"})
    assert machine.ask() == ("two", "a")
    told = machine.sagemaker.describe_endpoint(EndpointName="dogs")  # whose process is not there
    assert (told["EndpointStatus"], "was killed" in told["FailureReason"]) == ("InService", True)
    assert machine.ask() == ("one", "a")
    assert len(machine.containers) == 1
    assert machine.cut_off == 0


def test_serverless_takes_no_more_at_a_time_than_it_says(machine: Machine) -> None:
    machine.configure("c", {"a": ("one", 1)}, place={"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 2}})
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="c")
    (container,) = machine.containers.values()
    container.gate.clear()
    askers = [threading.Thread(target=machine.ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    slots = machine.store.find("endpoint", "dogs").folder / "slots"
    while len(list(slots.glob("*"))) < 2:
        time.sleep(0.01)
    with pytest.raises(ClientError, match="2 requests at a time") as caught:
        machine.ask()
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    container.gate.set()
    for asker in askers:
        asker.join()
    assert machine.ask() == ("one", "a")
    told = machine.sagemaker.describe_endpoint(EndpointName="dogs")["ProductionVariants"][0]
    assert told["CurrentServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 2}
    with refused("ValidationException", "multiple of 1024"):
        machine.configure(
            "d", {"a": ("one", 1)}, place={"ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 2}}
        )


def archive(name: str) -> bytes:
    """Return a model.tar.gz with one file, which holds its name."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        member = tarfile.TarInfo("name")
        member.size = len(name)
        tar.addfile(member, io.BytesIO(name.encode()))
    return content.getvalue()


def test_models_are_loaded_when_they_are_asked_for(machine: Machine) -> None:
    definition = {"Mode": "MultiModel", "ModelDataUrl": f"s3://{BUCKET}/models/"}
    machine.configure("c", {"a": ("one", 1)}, container=definition)
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="c")
    for name in ("beagle", "basset hound"):
        machine.s3.put_object(Bucket=BUCKET, Key=f"models/by breed/{name}.tar.gz", Body=archive(name))
    for name in ("beagle", "basset hound", "beagle", "beagle"):  # there is room for one
        assert machine.ask(TargetModel=f"by breed/{name}.tar.gz") == (name, "a")
    (container,) = machine.containers.values()
    assert container.requests.count("/models") == 5  # three loads, of which two were refused first
    assert len(list(container.model.glob("[0-9a-f]*"))) == 1
    machine.s3.put_object(Bucket=BUCKET, Key="models/by breed/beagle.tar.gz", Body=archive("another"))
    assert machine.ask(TargetModel="by breed/beagle.tar.gz") == ("another", "a")
    machine.s3.put_object(Bucket=BUCKET, Key="secret.tar.gz", Body=archive("secret"))
    machine.s3.put_object(Bucket=BUCKET, Key="models/broken.tar.gz", Body=b"no archive")
    for target, said in (
        ("none.tar.gz", "no object at"),
        ("../secret.tar.gz", "no object at"),
        ("by breed", "no object at"),
        ("broken.tar.gz", "cannot be unpacked"),
    ):
        with refused("ValidationError", said):
            machine.ask(TargetModel=target)
    with refused("ValidationError", "name a TargetModel"):
        machine.ask()
    with refused("ValidationException", "one container each"):
        machine.sagemaker.create_transform_job(
            TransformJobName="job",
            ModelName="c-a",
            TransformInput={"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/"}}},
            TransformOutput={"S3OutputPath": f"s3://{BUCKET}/out"},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        )


def test_asynchronous_requests_wait_and_leave_their_results(machine: Machine) -> None:
    output = {"S3OutputPath": f"s3://{BUCKET}/out/", "S3FailurePath": f"s3://{BUCKET}/failed"}
    config = {"OutputConfig": output, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2}}
    machine.configure("c", {"a": ("one", 1)}, AsyncInferenceConfig=config)
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="c")
    assert machine.sagemaker.describe_endpoint(EndpointName="dogs")["AsyncInferenceConfig"] == config
    machine.s3.put_object(Bucket=BUCKET, Key="in/good", Body=b"picture")
    machine.s3.put_object(Bucket=BUCKET, Key="in/bad", Body=b"bad")

    def begin(key: str, **fields: Any) -> Any:
        place = {"InputLocation": f"s3://{BUCKET}/in/{key}"} if key else {}
        return machine.runtime.invoke_endpoint_async(EndpointName="dogs", ContentType="image/jpeg", **place, **fields)

    def result(uri: str) -> bytes:
        key = uri.removeprefix(f"s3://{BUCKET}/")
        waiter = machine.s3.get_waiter("object_exists")
        waiter.wait(Bucket=BUCKET, Key=key, WaiterConfig={"Delay": 0.05, "MaxAttempts": 200})
        return bytes(machine.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    answer = begin("good", InferenceId="mine")
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["InferenceId"]) == (202, "mine")
    assert result(answer["OutputLocation"]) == b"one"
    assert result(begin("", Body=b"picture", Filename="a.json")["OutputLocation"]) == b"one"
    assert b"client error (400)" in result(begin("bad")["FailureLocation"])
    queue = machine.store.find("endpoint", "dogs").folder / "queue"
    while list(queue.iterdir()):
        time.sleep(0.01)
    with refused("ValidationError", "no object at"):
        begin("none")
    with refused("ValidationError", "neither an InputLocation nor a Body"):
        begin("")
    with refused("ValidationError", "take InvokeEndpointAsync"):
        machine.ask()

    # What the service was asked before it was killed is done by the next one.
    waiting = {"Headers": {}, "Type": "image/jpeg", "Input": f"s3://{BUCKET}/in/good", "Failure": None}
    waiting |= {"Came": time.time(), "Life": 60, "Patience": 60, "Output": f"s3://{BUCKET}/out/kept"}
    (queue / "kept.json").write_text(json.dumps(waiting))
    late = {"Came": time.time() - 99, "Output": f"s3://{BUCKET}/out/late", "Failure": f"s3://{BUCKET}/failed/late"}
    (queue / "late.json").write_text(json.dumps(waiting | late))
    machine.server.runtime.resume()
    assert result(waiting["Output"]) == b"one"
    assert b"RequestTTLSeconds" in result(late["Failure"])
    for wrong, said in (
        ({"OutputConfig": {"KmsKeyId": "a"}}, "S3OutputPath"),
        ({"OutputConfig": output | {"NotificationConfig": {"SuccessTopic": "arn:aws:sns:a"}}}, "NotificationConfig"),
        ({"OutputConfig": {"S3OutputPath": "s3://none/a"}}, "no bucket 'none'"),
    ):
        with refused("ValidationException", said):
            machine.configure(f"d-{len(said)}", {"a": ("one", 1)}, AsyncInferenceConfig=wrong)


def test_requests_and_answers_are_captured(machine: Machine) -> None:
    config = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{BUCKET}/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["text/plain"]},
    }
    machine.configure("c", {"a": ("one", 1)}, DataCaptureConfig=config)
    machine.configure("none", {"a": ("one", 1)}, DataCaptureConfig=config | {"InitialSamplingPercentage": 0})
    for name in ("c", "none"):
        machine.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        machine.ask(name, b"\xff\xd8", ContentType="image/jpeg")
    told = machine.sagemaker.describe_endpoint(EndpointName="c")["DataCaptureConfig"]
    assert (told["CaptureStatus"], told["CurrentSamplingPercentage"]) == ("Started", 100)
    listed = machine.s3.list_objects_v2(Bucket=BUCKET, Prefix="captured/")["Contents"]
    (key,) = [each["Key"] for each in listed]
    assert key.startswith("captured/c/a/20")
    line = json.loads(machine.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    sent, answered = line["captureData"]["endpointInput"], line["captureData"]["endpointOutput"]
    assert (sent["encoding"], base64.b64decode(sent["data"]), sent["mode"]) == ("BASE64", b"\xff\xd8", "INPUT")
    assert (answered["encoding"], answered["data"]) == ("JSON", "one")


def test_a_shadow_gets_copies_and_never_answers(machine: Machine) -> None:
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{BUCKET}/captured",
        "CaptureOptions": [{"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["text/plain"]},
    }
    machine.configure("plain", {"a": ("one", 1), "b": ("two", 1)})
    shadow = {"ModelName": "plain-b", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    shadow |= {"VariantName": "s", "InitialVariantWeight": 1}
    machine.configure("c", {"a": ("one", 1)}, ShadowProductionVariants=[shadow], DataCaptureConfig=capture)
    machine.sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName="c")
    told = machine.sagemaker.describe_endpoint(EndpointName="dogs")
    assert [each["VariantName"] for each in told["ProductionVariants"]] == ["a"]
    assert [each["VariantName"] for each in told["ShadowProductionVariants"]] == ["s"]
    copies = next(each for each in machine.containers.values() if each.variant == "s").requests

    def until(count: int) -> None:
        deadline = time.monotonic() + 30
        while len(copies) < count or len(captured()) < 2 * count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def captured() -> list[str]:
        return [each["Key"] for each in machine.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    assert [machine.ask() for _ in range(5)] == [("one", "a")] * 5
    until(5)
    assert sorted(key.split("/")[2] for key in captured()) == ["a"] * 5 + ["s"] * 5
    with refused("ValidationError", "no variant 's'"):
        machine.ask(TargetVariant="s")
    wanted = [{"VariantName": "s", "DesiredWeight": 0}]
    machine.sagemaker.update_endpoint_weights_and_capacities(EndpointName="dogs", DesiredWeightsAndCapacities=wanted)
    assert [machine.ask() for _ in range(5)] == [("one", "a")] * 5
    assert len(copies) == 5
    wanted = [{"VariantName": "s", "DesiredWeight": 9}]
    machine.sagemaker.update_endpoint_weights_and_capacities(EndpointName="dogs", DesiredWeightsAndCapacities=wanted)
    for container in machine.containers.values():
        if container.variant == "s":
            container.gate.clear()  # it hangs
    assert machine.ask() == ("one", "a")
    for container in machine.containers.values():
        container.gate.set()
    until(6)


def test_what_a_configuration_cannot_have_is_said(machine: Machine) -> None:
    machine.configure("c", {"a": ("one", 1)})
    variant = {"VariantName": "a", "ModelName": "c-a", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    other, shadow = (variant | {"VariantName": name} for name in ("other", "shadow"))
    serverless = {"VariantName": "a", "ModelName": "c-a"}
    serverless |= {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    for variants, fields, said in (
        ([variant, variant], {}, "one VariantName"),
        ([variant], {"ShadowProductionVariants": [variant]}, "one VariantName"),
        ([variant, other], {"ShadowProductionVariants": [shadow]}, "beside one production variant"),
        ([serverless], {"ShadowProductionVariants": [shadow]}, "real-time endpoint on instances"),
        ([variant], {"ShadowProductionVariants": [shadow | {"ModelName": "none"}]}, "Could not find model none"),
        ([variant | {"ModelName": "none"}], {}, "Could not find model none"),
        ([{"VariantName": "a", "InstanceType": "ml.m5.large"}], {}, "needs a ModelName"),
        ([{"VariantName": "a", "ModelName": "c-a"}], {}, "InstanceType and InitialInstanceCount"),
    ):
        with refused("ValidationException", said):
            machine.sagemaker.create_endpoint_config(EndpointConfigName="d", ProductionVariants=variants, **fields)
