"""launch.deploy: endpoints made, replaced and removed."""

import json
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.cloud.conftest import Run, archive
from tests.cloud.fake_aws import FakeAws, Refusal

MODEL = {"model.safetensors": b"weights", "model.json": b"{}", "code/inference.py": b"old", "code/extra.py": b"old"}


@pytest.fixture(autouse=True)
def _pushed(pushed: None) -> None:
    """All of these find their images pushed."""


@pytest.fixture
def model(tmp_path: Path, client: Callable[[str], Any]) -> str:
    """A model.tar.gz in S3."""
    client("s3").create_bucket(Bucket="mine")
    client("s3").upload_file(str(archive(tmp_path / "model.tar.gz", MODEL)), "mine", "job/output/model.tar.gz")
    return "s3://mine/job/output/model.tar.gz"


def names(client: Callable[[str], Any]) -> tuple[list[str], list[str], list[str]]:
    """Return the account's models, endpoint configurations and endpoints."""
    sagemaker = client("sagemaker")
    return (
        [each["ModelName"] for each in sagemaker.list_models()["Models"]],
        [each["EndpointConfigName"] for each in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
        [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]],
    )


def test_an_endpoint_of_a_training_job(run: Run, aws: FakeAws, data: Path, client: Callable[[str], Any]) -> None:
    job = run("train", "--data", data, "--no-wait").out.splitlines()[0]
    artifact = client("sagemaker").describe_training_job(TrainingJobName=job)["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, _, key = artifact.removeprefix("s3://").partition("/")
    client("s3").put_object(Bucket=bucket, Key=key, Body=b"model")
    done = run("deploy", "--model", job)
    assert done.code == 0, done.err
    (request,) = aws.sent("CreateModel")
    assert request["PrimaryContainer"]["ModelDataUrl"] == artifact
    assert request["PrimaryContainer"]["Image"].endswith("byoc-vision-serve-cpu@sha256:" + "3" * 64)
    assert names(client)[2] == ["byoc-vision"]
    assert "the endpoint byoc-vision is in service" in done.out


def test_the_three_requests_of_a_dry_run(run: Run, model: str, client: Callable[[str], Any]) -> None:
    done = run("deploy", "--model", model, "--instance-type", "ml.g5.xlarge", "--dry-run")
    requests = json.loads(done.out)
    assert list(requests) == ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    (variant,) = requests["CreateEndpointConfig"]["ProductionVariants"]
    assert variant["InferenceAmiVersion"] == "al2-ami-sagemaker-inference-gpu-3-1"
    assert variant["ModelName"] == requests["CreateModel"]["ModelName"]
    assert requests["CreateEndpoint"]["EndpointConfigName"] == requests["CreateEndpointConfig"]["EndpointConfigName"]
    assert names(client) == ([], [], [])


def test_a_cpu_host_needs_no_driver(run: Run, model: str) -> None:
    (variant,) = json.loads(run("deploy", "--model", model, "--dry-run").out)["CreateEndpointConfig"][
        "ProductionVariants"
    ]
    assert "InferenceAmiVersion" not in variant and variant["InstanceType"] == "ml.m5.large"


@pytest.mark.parametrize(
    ("options", "image"),
    [
        ([], "serve-cpu"),
        (["--serverless"], "serve-cpu"),
        (["--instance-type", "ml.c7i.large"], "serve-cpu"),
        (["--instance-type", "ml.g4dn.xlarge"], "serve"),
        (["--image", "serve"], "serve"),
        (["--image", "serve-cpu", "--instance-type", "ml.g4dn.xlarge"], "serve-cpu"),
    ],
)
def test_the_image_goes_by_the_instances_unless_the_user_chooses(
    run: Run, model: str, options: list[str], image: str
) -> None:
    requests = json.loads(run("deploy", "--model", model, *options, "--dry-run").out)
    assert f"/byoc-vision-{image}@" in requests["CreateModel"]["PrimaryContainer"]["Image"]


@pytest.mark.parametrize(("value", "image"), [("false", "serve"), ("true", "serve-cpu")])
def test_a_job_that_left_no_graphs_is_served_with_torch(run: Run, data: Path, value: str, image: str) -> None:
    job = run("train", "--data", data, "--set", f"export={value}", "--no-wait").out.splitlines()[0]
    requests = json.loads(run("deploy", "--model", job, "--dry-run").out)
    assert f"/byoc-vision-{image}@" in requests["CreateModel"]["PrimaryContainer"]["Image"]


def test_serverless(run: Run, aws: FakeAws, model: str) -> None:
    assert run("deploy", "--model", model, "--serverless", 2048).code == 0
    (variant,) = aws.sent("CreateEndpointConfig")[0]["ProductionVariants"]
    assert variant["ServerlessConfig"]["MemorySizeInMB"] == 2048 and "InstanceType" not in variant


def test_a_running_endpoint_is_replaced_without_downtime(
    run: Run, aws: FakeAws, model: str, client: Callable[[str], Any]
) -> None:
    assert run("deploy", "--model", model).code == 0
    before = names(client)
    assert run("deploy", "--model", model).code == 0
    after = names(client)
    assert len(aws.sent("CreateEndpoint")) == len(aws.sent("UpdateEndpoint")) == 1
    assert not aws.sent("DeleteEndpoint")
    assert [len(each) for each in after] == [1, 1, 1]
    assert before[0] != after[0] and before[1] != after[1] and before[2] == after[2]


def test_a_shadow_stands_beside_the_running_model(
    run: Run, aws: FakeAws, model: str, client: Callable[[str], Any]
) -> None:
    assert "no endpoint 'byoc-vision' is in service" in run("deploy", "--model", model, "--shadow").sentence
    assert run("deploy", "--model", model, "--instance-type", "ml.c5.large", "--instance-count", 2).code == 0
    (first,) = names(client)[0]
    done = run("deploy", "--model", model, "--shadow")
    assert done.code == 0, done.err
    request = aws.sent("CreateEndpointConfig")[-1]
    (production,), (shadow,) = request["ProductionVariants"], request["ShadowProductionVariants"]
    assert (production["VariantName"], production["ModelName"]) == ("AllTraffic", first)
    assert production["InstanceType"] == shadow["InstanceType"] == "ml.c5.large"
    assert production["InitialInstanceCount"] == 2 and shadow["VariantName"] == "Shadow"
    assert aws.sent("UpdateEndpoint")[-1]["EndpointConfigName"] == request["EndpointConfigName"]
    # The running model stays, which both configurations have.
    assert sorted(names(client)[0]) == sorted([first, shadow["ModelName"]]) and len(names(client)[1]) == 1

    # A model that replaces the running one ends its shadow, too. (The fake does not tell of shadows.)
    aws.script("DescribeEndpointConfig", {"ProductionVariants": [{"ModelName": "new"}]}, request)
    assert run("deploy", "--model", model).code == 0
    aws.answers.clear()
    assert [len(each) for each in names(client)] == [1, 1, 1] and names(client)[0] != [first]


def test_a_shadow_that_does_not_start_leaves_the_running_model(
    run: Run, aws: FakeAws, model: str, client: Callable[[str], Any]
) -> None:
    assert run("deploy", "--model", model).code == 0
    before = names(client)
    running = {"EndpointStatus": "InService", "EndpointConfigName": before[1][0]}
    aws.script("UpdateEndpoint", {"EndpointArn": "arn"})
    aws.script("DescribeEndpoint", running, running | {"FailureReason": "The container did not pass the ping."})
    assert "went on with its old model" in run("deploy", "--model", model, "--shadow").sentence
    aws.answers.clear()
    assert names(client) == before


def test_what_a_shadow_cannot_stand_beside(run: Run, model: str) -> None:
    assert run("deploy", "--model", model, "--serverless").code == 0
    assert "is not one model on instances" in run("deploy", "--model", model, "--shadow").sentence
    assert "leave out --serverless and --port" in run("deploy", "--model", model, "--shadow", "--serverless").err
    nobody = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_SESSION_TOKEN": None}
    done = run("deploy", "--model", "dogs/1", "--shadow", "--dry-run", **nobody)
    assert list(json.loads(done.out)) == ["CreateModel", "CreateEndpointConfig", "UpdateEndpoint"]


def test_an_update_that_fails_leaves_the_old_model_serving(
    run: Run, aws: FakeAws, model: str, client: Callable[[str], Any]
) -> None:
    assert run("deploy", "--model", model).code == 0
    before = names(client)
    running = {"EndpointStatus": "InService", "EndpointConfigName": before[1][0]}
    updating = {"EndpointStatus": "Updating", "EndpointConfigName": before[1][0]}
    aws.script("UpdateEndpoint", {"EndpointArn": "arn"})
    aws.script(
        "DescribeEndpoint", running, updating, running | {"FailureReason": "The container did not pass the ping."}
    )
    said = run("deploy", "--model", model).sentence
    assert "went on with its old model" in said and "did not pass the ping" in said
    aws.answers.clear()
    assert names(client) == before


def test_an_endpoint_that_does_not_start(run: Run, aws: FakeAws, model: str, client: Callable[[str], Any]) -> None:
    logs = client("logs")
    group = "/aws/sagemaker/Endpoints/byoc-vision"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="AllTraffic/i-1")
    event = {"timestamp": int(time.time() * 1000), "message": "model.json is missing"}
    logs.put_log_events(logGroupName=group, logStreamName="AllTraffic/i-1", logEvents=[event])
    missing = Refusal("ValidationException", 'Could not find endpoint "byoc-vision".')
    failed = {"EndpointStatus": "Failed", "EndpointConfigName": "x", "FailureReason": "The container did not answer."}
    aws.script("DescribeEndpoint", missing, failed)
    done = run("deploy", "--model", model)
    assert "did not start: The container did not answer; delete it, or deploy again, which replaces it" in done.sentence
    assert "model.json is missing" in done.err


def test_a_failed_endpoint_is_made_anew(run: Run, aws: FakeAws, model: str, client: Callable[[str], Any]) -> None:
    assert run("deploy", "--model", model).code == 0
    config = names(client)[1][0]
    failed = {"EndpointStatus": "Failed", "EndpointConfigName": config}
    aws.script("DescribeEndpoint", failed)
    assert run("deploy", "--model", model, "--no-wait").code == 0
    assert aws.sent("DeleteEndpoint") == [{"EndpointName": "byoc-vision"}]
    assert config not in names(client)[1] and [len(each) for each in names(client)] == [1, 1, 1]


def test_an_endpoint_name_in_use(run: Run, aws: FakeAws, model: str) -> None:
    aws.script("DescribeEndpoint", {"EndpointStatus": "InService", "EndpointConfigName": "someone-elses"})
    said = run("deploy", "--model", model).sentence
    assert "the endpoint name 'byoc-vision' is in use by something else; take another one" in said
    assert "was not made by byoc-vision" in run("deploy", "--delete").sentence
    assert not aws.sent("CreateModel") and not aws.sent("DeleteEndpoint")


def test_an_endpoint_that_is_being_changed(run: Run, aws: FakeAws, model: str) -> None:
    config = "byoc-vision-261121-101010-ab"
    aws.script("DescribeEndpoint", {"EndpointStatus": "Updating", "EndpointConfigName": config})
    assert "is Updating; wait until that is done" in run("deploy", "--model", model).sentence


@pytest.mark.parametrize("operation", ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"])
def test_what_was_made_before_a_refusal_is_removed(
    run: Run, aws: FakeAws, model: str, client: Callable[[str], Any], operation: str
) -> None:
    aws.script(operation, Refusal("ResourceLimitExceeded", "The account-level service limit is 0 Instances."))
    assert "Service Quotas" in run("deploy", "--model", model).sentence
    assert names(client) == ([], [], [])


def test_an_image_that_ecr_does_not_have(run: Run, aws: FakeAws, model: str) -> None:
    aws.script("CreateModel", Refusal("ValidationException", "Requested image 1/x:latest not found."))
    assert "run ./push.sh and try again" in run("deploy", "--model", model).sentence


def test_delete_removes_all_of_it(run: Run, model: str, client: Callable[[str], Any]) -> None:
    assert run("deploy", "--model", model, "--endpoint", "dogs").code == 0
    assert run("deploy", "--delete", "--endpoint", "dogs").code == 0
    assert names(client) == ([], [], [])


def test_delete_copes_with_what_was_removed_by_hand(run: Run, model: str, client: Callable[[str], Any]) -> None:
    assert run("deploy", "--model", model).code == 0
    client("sagemaker").delete_endpoint_config(EndpointConfigName=names(client)[1][0])
    assert run("deploy", "--delete").code == 0
    assert names(client)[1:] == ([], [])


def test_source_replaces_the_handler_and_nothing_else(
    run: Run, aws: FakeAws, model: str, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "inference.py").write_text("new")
    assert run("deploy", "--model", model, "--source", "handler").code == 0
    uri = aws.sent("CreateModel")[0]["PrimaryContainer"]["ModelDataUrl"]
    assert uri != model
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client("s3").download_file(bucket, key, str(tmp_path / "new.tar.gz"))
    with tarfile.open(tmp_path / "new.tar.gz") as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]
    assert found == {"model.safetensors": b"weights", "model.json": b"{}", "code/inference.py": b"new"}


@pytest.mark.parametrize(
    ("model", "options", "members"),
    [
        ("net.pth", ["--source", "handler"], ["net.pth", "code/inference.py", "code/lib/tools.py"]),
        ("net.pth", [], ["net.pth"]),
        ("folder", ["--source", "handler"], ["model.json", "net.pt", "code/inference.py", "code/lib/tools.py"]),
        ("folder", [], ["code/inference.py", "code/old.py", "model.json", "net.pt"]),
    ],
)
def test_a_model_of_any_origin_is_packed_for_the_image_with_torch(
    run: Run,
    aws: FakeAws,
    tmp_path: Path,
    client: Callable[[str], Any],
    model: str,
    options: list[str],
    members: list[str],
) -> None:
    for name in ("net.pth", "folder/net.pt", "folder/model.json", "folder/code/inference.py", "folder/code/old.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\x80old")  # as a pickle begins
    for name in (
        "handler/inference.py",
        "handler/lib/tools.py",
        "handler/__pycache__/inference.pyc",
        "folder/.DS_Store",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("new")
    assert run("deploy", "--model", f"./{model}", *options).code == 0
    container = aws.sent("CreateModel")[0]["PrimaryContainer"]
    assert "/byoc-vision-serve@" in container["Image"]
    bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
    client("s3").download_file(bucket, key, str(tmp_path / "new.tar.gz"))
    with tarfile.open(tmp_path / "new.tar.gz") as tar:
        assert tar.getnames() == members
        for member in tar:
            content = tar.extractfile(member).read()  # type: ignore[union-attr]
            assert content == (b"new" if options and member.name.startswith("code/") else b"\x80old")


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "code/../../outside"])
def test_an_archive_with_path_traversal(run: Run, aws: FakeAws, tmp_path: Path, name: str) -> None:
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "inference.py").write_text("new")
    file = archive(tmp_path / "bad.tar.gz", {"model.json": b"{}", name: b"x"})
    assert "would land outside its folder" in run("deploy", "--model", file, "--source", "handler").sentence
    assert not aws.sent("CreateModel")


def test_an_archive_with_a_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "inference.py").write_text("new")
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("model.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert "a link or device" in run("deploy", "--model", "./bad.tar.gz", "--source", "handler").sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "no-such-job"], "'no-such-job' is neither a training job in us-east-1 nor a file"),
        (["--model", "s3://mine/nothing.tar.gz"], "there is nothing at s3://mine/nothing.tar.gz"),
        (["--model", "s3:/mine/model.tar.gz"], "is no S3 URI"),
        (["--model", "./nothing.tar.gz"], "does not exist"),
        (["--model", "./nothing.pth"], "does not exist"),
        (["--model", "home"], "home is a folder; name the model.tar.gz in it"),
        (["--model", "model.tar.gz", "--source", "home"], "home holds no inference.py"),
        (["--model", "model.tar.gz", "--endpoint", "my endpoint"], "EndpointName is 'my endpoint'"),
        (["--delete", "--endpoint", "nothing"], "there is no endpoint 'nothing' in us-east-1"),
    ],
)
def test_wrong_options(run: Run, model: str, arguments: list[str], said: str) -> None:
    assert said in run("deploy", *arguments).sentence


def test_what_was_made_is_listed(run: Run, model: str, client: Callable[[str], Any]) -> None:
    nothing = run("endpoints")
    assert not nothing.out and nothing.err == "byoc deploy has made no endpoint in us-east-1\n"
    assert run("deploy", "--model", model, "--endpoint", "dogs").code == 0
    client("sagemaker").create_endpoint(EndpointName="someone-elses", EndpointConfigName=names(client)[1][0])
    said = run("endpoints").out
    assert said.startswith("dogs  InService\ncurl ") and "deploy --delete --endpoint dogs" in said
    assert "someone-elses" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--model", "x", "--port", 8090],
        ["--delete", "--model", "x"],
        ["--model", "x", "--serverless", "--instance-type", "ml.m5.large"],
    ],
)
def test_options_that_do_not_go_together(run: Run, arguments: list[str]) -> None:
    assert run("deploy", *arguments).code == 2


@pytest.mark.parametrize("token", ["token", ""])
def test_the_curl_line_works_and_is_signed(
    run: Run, aws: FakeAws, model: str, tmp_path: Path, environment: dict[str, str], token: str
) -> None:
    line = run("deploy", "--model", model).out.partition("curl ")[2]
    picture = bytes(range(256))
    (tmp_path / "picture.jpg").write_bytes(picture)
    aws.container = lambda body, content_type: (200, {"same": body == picture, "type": content_type})
    done = subprocess.run(
        ["bash", "-c", "curl --silent " + line],
        env=environment | {"AWS_SESSION_TOKEN": token},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == {"same": True, "type": "image/jpeg"}, done.stderr
    (headers,) = aws.invocations
    assert _signature(headers, picture, aws.url, environment) in headers["Authorization"]
    assert "/us-east-1/sagemaker/aws4_request" in headers["Authorization"]
    assert headers.get("X-Amz-Security-Token", headers.get("x-amz-security-token", "")) == token


@pytest.mark.parametrize(
    ("files", "code", "kind"),
    [
        ({"model.pth": ""}, None, "application/json"),
        ({"model.pt": "", "code/inference.py": "def model_fn(model_dir): ..."}, None, "application/json"),
        ({"model.pt": "", "code/inference.py": "def input_fn(body, content_type): ..."}, None, "image/jpeg"),
        (
            {"model.pt": "", "code/inference.py": "def transform_fn(*a): ..."},
            "def model_fn(m): ...",
            "application/json",
        ),
        ({"model.pt": ""}, "from reading import input_fn", "image/jpeg"),
        ({"model.pt": "", "model.json": "{}"}, None, "image/jpeg"),
        ({"model.safetensors": "", "model.json": "{}"}, None, "image/jpeg"),
    ],
)
def test_the_curl_line_sends_what_the_model_reads(
    run: Run, tmp_path: Path, files: dict[str, str], code: str | None, kind: str
) -> None:
    for name, text in files.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text(text)
    with tarfile.open(tmp_path / "own.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "model", ".")
    options = []
    if code:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "inference.py").write_text(code)
        options = ["--source", tmp_path / "source"]
    for model in ("model", "own.tar.gz"):
        done = run("deploy", "--model", tmp_path / model, *options)
        assert f'"Content-Type: {kind}"' in done.out, done.err
        assert ("it reads arrays: array.json" in done.err) == (kind == "application/json")


def _signature(headers: dict[str, str], body: bytes, url: str, environment: dict[str, str]) -> str:
    """Return the signature that AWS would find for the request, computed by botocore."""
    lower = {name.lower(): value for name, value in headers.items()}
    signed = lower["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest("POST", url + headers["path"], {name: lower[name] for name in signed}, body)
    request.context["timestamp"] = lower["x-amz-date"]
    auth = SigV4Auth(
        Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]), "sagemaker", "us-east-1"
    )
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
