"""The local engine as launchers use it: real containers of both images, tiny drawn pictures.

Every answer is checked against the service's own model (botocore's): its fields are there, and of the right type.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers
from byoc_vision.local.files import path
from byoc_vision.local.machine import Machine
from byoc_vision.requests import operations
from local_test.draw import CLASSES, draw_picture

CHECKOUT = Path(__file__).resolve().parent.parent.parent

SETTINGS = {
    "arch": "resnet18",
    "pretrained": "false",
    "train-layers": "all",
    "image-size": "32",
    "batch-size": "8",
    "epochs": "2",
    "workers": "0",
    "export": "false",
}
FOREVER = SETTINGS | {"epochs": "5000", "patience": "5000"}

RANGES = {
    "ContinuousParameterRanges": [
        {"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    ],
    "CategoricalParameterRanges": [{"Name": "batch-size", "Values": ["8", "16"]}],
}
SPACE = {
    "strategy": "Bayesian",
    "objective": "validation_accuracy",
    "direction": "Maximize",
    "max_jobs": 3,
    "parallel_jobs": 2,
    "early_stopping": True,
}


class Checked:
    """A client whose every answer is held against the operation's output shape."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            answer = getattr(self._client, method)(**arguments)
            shape = self._client.meta.service_model.operation_model(self._client.meta.method_to_api_mapping[method])
            if shape.output_shape is not None:
                content = {field: value for field, value in answer.items() if field != "ResponseMetadata"}
                report = ParamValidator().validate(content, shape.output_shape).generate_report()
                # Required by the model, and yet not there in the service either until there are any.
                lines = [line for line in report.splitlines() if '"ModelArtifacts"' not in line]
                assert not lines, report
            return answer

        return call


class Local:
    """The engine with what the tests do again and again."""

    def __init__(self, root: Path, pictures: Path) -> None:
        self.engine = Machine(root)
        self.sagemaker = Checked(self.engine.sagemaker)
        self.data = self.engine.place(str(pictures), self.engine.output(), send=True)

    def training_job(self, name: str, settings: dict[str, str] = SETTINGS, **more: Any) -> dict[str, Any]:
        engine = self.engine
        channels, output = {"training": self.data}, engine.output()
        return operations.training_job(
            name, engine.image("train"), engine.role(), channels, settings, output, "local", **more
        )

    def train(self, name: str, settings: dict[str, str] = SETTINGS, **more: Any) -> dict[str, Any]:
        """Run a training job to its end and return its description."""
        self.sagemaker.create_training_job(**self.training_job(name, settings, **more))
        return self.ended("TrainingJob", name)

    def describe(self, kind: str, name: str) -> dict[str, Any]:
        operation = {"HyperParameterTuningJob": "hyper_parameter_tuning_job", "TrainingJob": "training_job"}
        method = f"describe_{operation.get(kind, 'transform_job')}"
        return dict(getattr(self.sagemaker, method)(**{f"{kind}Name": name}))

    def ended(self, kind: str, name: str) -> dict[str, Any]:
        """Wait for a job's end and return its description."""
        while (job := self.describe(kind, name))[f"{kind}Status"] in ("InProgress", "Stopping"):
            time.sleep(0.5)
        return job

    def wait_for_line(self, name: str, text: str, count: int = 1) -> None:
        """Wait until the training job has logged `count` lines with the text."""
        new_lines, found = self.engine.logs("training", name), 0
        while found < count:
            found += sum(text in line for line in new_lines())
            job = self.describe("TrainingJob", name)
            assert job["TrainingJobStatus"] == "InProgress", job
            time.sleep(0.2)

    def deployed(self, endpoint: str) -> dict[str, Any]:
        """Wait until the endpoint is what was last asked for, or failed, and return its description."""
        while (found := self.sagemaker.describe_endpoint(EndpointName=endpoint))["EndpointStatus"] in (
            "Creating",
            "Updating",
        ):
            time.sleep(0.5)
        return dict(found)

    def create_config(self, name: str, artifact: str) -> None:
        engine = self.engine
        self.sagemaker.create_model(**operations.model(name, engine.image("serve"), engine.role(), artifact))
        self.sagemaker.create_endpoint_config(**operations.endpoint_config(name, name, "local"))

    def ask(self, endpoint: str, picture: bytes) -> dict[str, Any]:
        answer = self.engine.runtime.invoke_endpoint(EndpointName=endpoint, ContentType="image/jpeg", Body=picture)
        assert answer["ContentType"] == "application/json"
        return dict(json.loads(answer["Body"].read()))

    def kill(self, kind: str, name: str) -> None:
        """Kill the process that sees a job through, as no process can prevent."""
        command = f"byoc_vision.local.process {self.engine.root} {kind} {name}"
        for pid in subprocess.check_output(["pgrep", "--full", command], text=True).split():
            os.kill(int(pid), signal.SIGKILL)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn pictures")
    for split, count in (("train", 6), ("valid", 3), ("test", 3)):
        for name, (colour, corners) in CLASSES.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                picture = draw_picture(colour, corners, random.Random(f"{split} {name} {number}"))
                picture.save(root / split / name / f"{name} {number}.jpg")
    return root


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Iterator[Local]:
    """Yield an engine of the tests' own; afterwards nothing of it may be left on the machine."""
    root = tmp_path_factory.mktemp("local engine")
    scratch = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        # Whatever the user has set up for AWS is no matter of the local engine's.
        patch.setenv("AWS_PROFILE", "none-of-that-name")
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        yield Local(root, pictures)
    assert not list(scratch.iterdir())
    for container in containers.docker("ps", "--all", "--quiet").split():
        mounts = containers.docker("inspect", "--format", "{{range .Mounts}}{{.Source}} {{end}}", container)
        assert str(root) not in mounts
        assert str(scratch) not in mounts
    attached = "{{len .Containers}}"
    assert containers.docker("network", "inspect", "--format", attached, "sagemaker-local") != "0"
    assert {path.lstat().st_uid for path in root.rglob("*")} == {os.getuid()}


@pytest.fixture(scope="module")
def trained(local: Local) -> dict[str, Any]:
    request = local.training_job("trained")
    request["DebugRuleConfigurations"] = [{"RuleConfigurationName": "Overfit", "RuleEvaluatorImage": "none"}]
    local.sagemaker.create_training_job(**request)
    rules = local.describe("TrainingJob", "trained")["DebugRuleEvaluationStatuses"]
    assert rules[0]["RuleEvaluationStatus"] == "InProgress"
    return local.ended("TrainingJob", "trained")


@pytest.fixture(scope="module")
def artifact(trained: dict[str, Any]) -> str:
    return str(trained["ModelArtifacts"]["S3ModelArtifacts"])


@pytest.fixture
def picture(pictures: Path) -> bytes:
    return next((pictures / "test" / "red_circle").iterdir()).read_bytes()


def test_a_training_job_is_described_as_the_service_does(local: Local, trained: dict[str, Any]) -> None:
    assert (trained["TrainingJobStatus"], trained["SecondaryStatus"]) == ("Completed", "Completed")
    assert [each["Status"] for each in trained["SecondaryStatusTransitions"]] == [
        "Starting",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert trained["HyperParameters"] == SETTINGS
    assert trained["CreationTime"] < trained["TrainingStartTime"] < trained["TrainingEndTime"]
    assert trained["TrainingTimeInSeconds"] >= 1
    archive = Path(trained["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://").replace("%20", " "))
    with tarfile.open(archive) as model:
        assert {"model.json", "model.safetensors"} <= set(model.getnames())
    figures = json.loads((archive.parent / "data" / "metrics.json").read_text())
    found = {each["MetricName"]: each["Value"] for each in trained["FinalMetricDataList"]}
    assert found["test_accuracy"] == pytest.approx(figures["test_accuracy"], rel=1e-3)
    assert found["validation_accuracy"] == pytest.approx(figures["validation_accuracy"], rel=1e-3)
    assert trained["DebugRuleEvaluationStatuses"][0]["RuleEvaluationStatus"] in ("IssuesFound", "NoIssuesFound")
    assert any(line.startswith("epoch=2 ") for line in local.engine.logs("training", "trained")())


def test_another_process_finds_the_job(local: Local, trained: dict[str, Any]) -> None:
    code = (
        "from byoc_vision.local import open_engine; client = open_engine().sagemaker\n"
        "print(*[job['TrainingJobName'] for job in client.list_training_jobs()['TrainingJobSummaries']])\n"
        "print(client.describe_training_job(TrainingJobName='trained')['TrainingJobStatus'])"
    )
    environment = os.environ | {"BYOC_LOCAL": str(local.engine.root)}
    said = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=CHECKOUT, env=environment)
    assert "trained" in said.splitlines()[0].split()
    assert said.splitlines()[1] == "Completed"


def test_the_report_is_made_again(local: Local, trained: dict[str, Any], tmp_path: Path) -> None:
    environment = os.environ | {"BYOC_LOCAL": str(local.engine.root)}
    command = [sys.executable, "-m", "launch.report", "--local", "trained", "--rules", "Overfit", "--out", tmp_path]
    said = subprocess.check_output(command, text=True, cwd=CHECKOUT, env=environment)
    assert said.endswith(f"wrote {tmp_path}/report.html\n")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [rule["Rule"] for rule in report["rules"]] == ["Overfit"]
    assert report["settings"]["arch"] == "resnet18" and report["step_losses"]["x"]


def test_a_failed_job_says_why(local: Local) -> None:
    job = local.train("failing", SETTINGS | {"epochs": "-3"})
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: epochs is -3")
    assert job["FailureReason"].endswith("exit code: 1")
    assert "S3ModelArtifacts" not in job.get("ModelArtifacts", {})


def test_requests_that_the_service_would_refuse(local: Local, trained: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="already existing") as taken:
        local.sagemaker.create_training_job(**local.training_job("trained"))
    assert taken.value.response["Error"]["Code"] == "ResourceInUse"
    with pytest.raises(ClientError, match="Could not find") as unknown:
        local.describe("TrainingJob", "unknown")
    assert unknown.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError, match="is no name"):
        local.describe("TrainingJob", "../trained")
    elsewhere = local.training_job("elsewhere")
    elsewhere["OutputDataConfig"]["S3OutputPath"] = "s3://bucket/results"
    with pytest.raises(ClientError, match="not on this machine"):
        local.sagemaker.create_training_job(**elsewhere)
    unbuilt = local.training_job("unbuilt")
    unbuilt["AlgorithmSpecification"]["TrainingImage"] = "byoc-vision-unbuilt:latest"
    with pytest.raises(UserError, match=r"build\.sh"):
        local.sagemaker.create_training_job(**unbuilt)


def test_a_stopped_job_goes_on_from_its_checkpoint(local: Local, tmp_path: Path) -> None:
    request = local.training_job("stopped", FOREVER)
    request["CheckpointConfig"] = {"S3Uri": (tmp_path / "kept: here").as_uri()}
    local.sagemaker.create_training_job(**request)
    local.wait_for_line("stopped", "epoch=", 2)
    local.sagemaker.stop_training_job(TrainingJobName="stopped")
    assert local.describe("TrainingJob", "stopped")["TrainingJobStatus"] in ("Stopping", "Stopped")
    job = local.ended("TrainingJob", "stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    with pytest.raises(ClientError, match="is Stopped already"):
        local.sagemaker.stop_training_job(TrainingJobName="stopped")

    local.sagemaker.create_training_job(**request | {"TrainingJobName": "continued"})
    local.wait_for_line("continued", "continuing at epoch")
    local.sagemaker.stop_training_job(TrainingJobName="continued")
    local.ended("TrainingJob", "continued")


def test_a_job_that_takes_too_long_is_stopped(local: Local) -> None:
    request = local.training_job("endless", FOREVER)
    request["StoppingCondition"] = {"MaxRuntimeInSeconds": 15}
    local.sagemaker.create_training_job(**request)
    job = local.ended("TrainingJob", "endless")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_job_whose_process_was_killed_has_failed(local: Local) -> None:
    local.sagemaker.create_training_job(**local.training_job("killed", FOREVER))
    local.wait_for_line("killed", "epoch=")
    local.kill("training-job", "killed")
    job = local.ended("TrainingJob", "killed")
    assert job["TrainingJobStatus"] == "Failed"
    assert "was killed" in job["FailureReason"]


def test_a_spot_job_whose_process_was_killed_goes_on(local: Local) -> None:
    local.sagemaker.create_training_job(**local.training_job("spot", FOREVER, spot=True))
    local.wait_for_line("spot", "epoch=", 2)
    local.kill("training-job", "spot")
    local.wait_for_line("spot", "class ", 2)  # what a run begins with
    local.sagemaker.stop_training_job(TrainingJobName="spot")
    job = local.ended("TrainingJob", "spot")
    assert job["TrainingJobStatus"] == "Stopped"
    assert "Restarting" in [each["Status"] for each in job["SecondaryStatusTransitions"]]


def test_two_containers_train_one_model(local: Local) -> None:
    job = local.train("two", instance_count=2)
    assert job["TrainingJobStatus"] == "Completed", job
    hosts = {line.partition(":")[0] for line in local.engine.logs("training", "two")()}
    assert hosts == {"algo-1", "algo-2"}
    assert job["ModelArtifacts"]["S3ModelArtifacts"]


def test_a_tuning_job_survives_its_processes(local: Local) -> None:
    name = "tuning"
    trial = local.training_job("", {name: value for name, value in SETTINGS.items() if name != "batch-size"})
    local.sagemaker.create_hyper_parameter_tuning_job(**operations.tuning_job(name, SPACE, RANGES, trial))
    while (job := local.describe("HyperParameterTuningJob", name))["TrainingJobStatusCounters"]["InProgress"] < 2:
        assert job["HyperParameterTuningJobStatus"] == "InProgress", job
        time.sleep(0.2)
    local.kill("hyper-parameter-tuning-job", name)
    local.kill("training-job", f"{name}-001")
    job = local.ended("HyperParameterTuningJob", name)
    assert job["HyperParameterTuningJobStatus"] == "Completed", job
    trials = local.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)[
        "TrainingJobSummaries"
    ]
    assert len(trials) == 3
    assert sum(job["TrainingJobStatusCounters"].values()) == 3
    for each in trials:
        assert 0.0001 <= float(each["TunedHyperParameters"]["lr"]) <= 0.1
        assert each["TunedHyperParameters"]["batch-size"] in ("8", "16")
    completed = [each for each in trials if each["TrainingJobStatus"] == "Completed"]
    values = [each["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for each in completed]
    best = job["BestTrainingJob"]
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == max(values)
    described = local.describe("TrainingJob", best["TrainingJobName"])
    assert described["HyperParameters"] == trial["HyperParameters"] | best["TunedHyperParameters"]
    ranked = local.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, SortBy="FinalObjectiveMetricValue", SortOrder="Descending", MaxResults=1
    )
    assert len(ranked["TrainingJobSummaries"]) == 1
    assert ranked["NextToken"]
    listed = local.sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
    assert [each["HyperParameterTuningJobName"] for each in listed] == [name]


def test_trials_of_a_head_share_the_features_that_one_job_computes(
    local: Local, pictures: Path, real_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text("strategy: Grid\nhyperparameters: {lr: [0.001, 0.01]}\n", encoding="utf-8")
    weights = real_data / "weights" / "mobilenet_v2-9dda7561.pth"
    command = [sys.executable, "-m", "launch.tune", tmp_path / "space.yaml", "--local", "--data", pictures]
    command += ["--data", f"weights={weights}", "--set", "image-size=32", "--set", "epochs=2"]
    environment = os.environ | {"BYOC_LOCAL": str(local.engine.root)}
    said = subprocess.check_output(
        [*command, "--set", "arch=mobilenet_v2", "--best", tmp_path / "best.json"],
        text=True,
        cwd=CHECKOUT,
        env=environment,
    )
    assert json.loads((tmp_path / "best.json").read_text())["lr"] in ("0.001", "0.01"), said
    jobs = local.sagemaker.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]
    (extraction,) = [each["TrainingJobName"] for each in jobs if each["TrainingJobName"].startswith("byoc-features-")]
    kept = path(local.describe("TrainingJob", extraction)["CheckpointConfig"]["S3Uri"])
    (digests,) = kept.glob("features/*/digests")
    assert digests.stat().st_size == 32 * len(list(pictures.glob("*/*/*.jpg")))
    trials = [each["TrainingJobName"] for each in jobs if each["TrainingJobName"].startswith("byoc-vision-")]
    assert len(trials) == 2
    for name in trials:
        trial = local.describe("TrainingJob", name)
        channels = {each["ChannelName"]: each["DataSource"] for each in trial["InputDataConfig"]}
        assert path(channels["features"]["S3DataSource"]["S3Uri"]) == kept / "features"
        archive = path(trial["ModelArtifacts"]["S3ModelArtifacts"])
        with tarfile.open(archive) as model:
            parts = {part for name in model.getnames() for part in Path(name).parts}
        assert "model.json" in parts
        assert "cpu" not in parts  # the graphs for CPUs
        assert not (archive.parent / "data" / "report.html").exists()


def test_a_tuning_job_is_stopped_with_its_trials(local: Local) -> None:
    trial = local.training_job("", {name: value for name, value in FOREVER.items() if name != "batch-size"})
    local.sagemaker.create_hyper_parameter_tuning_job(**operations.tuning_job("unwanted", SPACE, RANGES, trial))
    list_trials = local.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job
    while not list_trials(HyperParameterTuningJobName="unwanted", SortBy="FinalObjectiveMetricValue")[
        "TrainingJobSummaries"
    ]:
        time.sleep(0.2)  # until a first trial has said what it has reached
    local.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="unwanted")
    job = local.ended("HyperParameterTuningJob", "unwanted")
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert job["TrainingJobStatusCounters"]["InProgress"] == 0


def test_an_endpoint_from_its_creation_to_its_end(local: Local, artifact: str, picture: bytes, tmp_path: Path) -> None:
    for name in ("first", "second"):
        local.create_config(name, artifact)
    local.sagemaker.create_endpoint(**operations.endpoint("dogs", "first"))
    local.sagemaker.create_endpoint(**operations.endpoint("cats", "first"))
    with pytest.raises(ClientError, match="already existing"):
        local.sagemaker.create_endpoint(**operations.endpoint("dogs", "second"))
    for name in ("dogs", "cats"):
        assert local.deployed(name)["EndpointStatus"] == "InService"
    before = local.ask("dogs", picture)
    assert before["predictions"][0]["label"] in CLASSES
    assert local.ask("cats", picture) == before
    (tmp_path / "picture.jpg").write_bytes(picture)
    curl = local.engine.curl("dogs")
    assert json.loads(subprocess.check_output(curl, shell=True, cwd=tmp_path)) == before
    with pytest.raises(ClientError) as refused:
        local.ask("dogs", b"no picture")
    assert refused.value.response["Error"]["Code"] == "ModelError"
    assert refused.value.response["OriginalStatusCode"] == 400
    assert "error" in json.loads(refused.value.response["OriginalMessage"])

    local.sagemaker.update_endpoint(**operations.endpoint("dogs", "second"))
    asked = 0
    while local.sagemaker.describe_endpoint(EndpointName="dogs")["EndpointStatus"] == "Updating":
        assert local.ask("dogs", picture) == before  # without a gap
        asked += 1
    assert asked
    updated = local.deployed("dogs")
    assert (updated["EndpointStatus"], updated["EndpointConfigName"]) == ("InService", "second")
    assert local.ask("dogs", picture) == before
    assert local.engine.curl("dogs") == curl  # on the same port
    assert any("ready" in line for line in local.engine.logs("endpoint", "dogs")())

    for name in ("dogs", "cats"):
        local.sagemaker.delete_endpoint(EndpointName=name)
    with pytest.raises(ClientError, match="not found"):
        local.ask("dogs", picture)
    with pytest.raises(ClientError, match="Could not find endpoint dogs"):
        local.deployed("dogs")
    for name in ("first", "second"):
        local.sagemaker.delete_endpoint_config(EndpointConfigName=name)
        local.sagemaker.delete_model(ModelName=name)
    assert local.sagemaker.list_models()["Models"] == []


def test_an_endpoint_without_a_usable_model(local: Local, artifact: str, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{")
    with tarfile.open(tmp_path / "broken.tar.gz", "w:gz") as broken:
        broken.add(tmp_path / "model.json", "model.json")
    with tarfile.open(tmp_path / "traversing.tar.gz", "w:gz") as traversing:
        traversing.add(tmp_path / "model.json", "../../model.json")
    local.create_config("good", artifact)
    local.create_config("broken", (tmp_path / "broken.tar.gz").as_uri())
    local.create_config("traversing", (tmp_path / "traversing.tar.gz").as_uri())

    local.sagemaker.create_endpoint(**operations.endpoint("birds", "traversing"))
    failed = local.deployed("birds")
    assert failed["EndpointStatus"] == "Failed"
    assert "would land outside" in failed["FailureReason"]
    local.sagemaker.delete_endpoint(EndpointName="birds")

    local.sagemaker.create_endpoint(**operations.endpoint("birds", "good"))
    assert local.deployed("birds")["EndpointStatus"] == "InService"
    local.sagemaker.update_endpoint(**operations.endpoint("birds", "broken"))
    kept = local.deployed("birds")
    assert (kept["EndpointStatus"], kept["EndpointConfigName"]) == ("InService", "good")
    assert "ended before it could serve" in kept["FailureReason"]
    assert local.ask("birds", picture)["predictions"]
    local.sagemaker.delete_endpoint(EndpointName="birds")


def test_a_transform_job_answers_for_every_picture(local: Local, artifact: str, pictures: Path, tmp_path: Path) -> None:
    engine = local.engine
    local.sagemaker.create_model(**operations.model("batch", engine.image("serve"), engine.role(), artifact))
    source, target = engine.place(str(pictures / "test"), "", send=True), f"{(tmp_path / 'answers').as_uri()}/"
    local.sagemaker.create_transform_job(**operations.transform_job("batch", "batch", source, target, "local"))
    local.sagemaker.delete_model(ModelName="batch")
    job = local.ended("TransformJob", "batch")
    assert job["TransformJobStatus"] == "Completed", job
    answers = engine.fetch(target, tmp_path / "fetched")
    expected = {f"{file.relative_to(pictures / 'test')}.out" for file in (pictures / "test").rglob("*.jpg")}
    assert {str(file.relative_to(tmp_path / "fetched")) for file in answers} == expected
    assert all(json.loads(file.read_bytes())["predictions"] for file in answers)
    assert engine.logs("transform", "batch")()


def test_a_transform_job_with_one_bad_picture(local: Local, artifact: str, picture: bytes, tmp_path: Path) -> None:
    engine = local.engine
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "good.jpg").write_bytes(picture)
    (tmp_path / "data" / "bad.jpg").write_text("no picture")
    (tmp_path / "data" / ".DS_Store").write_text("litter, which is not sent")
    local.sagemaker.create_model(**operations.model("mixed", engine.image("serve"), engine.role(), artifact))
    source, target = engine.place(str(tmp_path / "data"), "", send=True), f"{(tmp_path / 'answers').as_uri()}/"
    local.sagemaker.create_transform_job(**operations.transform_job("mixed", "mixed", source, target, "local"))
    job = local.ended("TransformJob", "mixed")
    assert job["TransformJobStatus"] == "Failed"
    assert "bad.jpg" in job["FailureReason"] and "DS_Store" not in job["FailureReason"]
    ((refused, said),) = engine.refused("mixed").items()
    assert refused == "bad.jpg" and "not a picture" in json.loads(said)["error"]
    assert [file.name for file in engine.fetch(target, tmp_path / "fetched")] == ["good.jpg.out"]
    local.sagemaker.delete_model(ModelName="mixed")


def test_files_and_folders_are_placed(local: Local, tmp_path: Path) -> None:
    engine = local.engine
    (tmp_path / "a file").write_text("content")
    assert engine.place(str(tmp_path), "", send=True) == f"{tmp_path.as_uri()}/"
    uri = engine.place(str(tmp_path / "a file"), f"{engine.output()}/models", send=True)
    shutil.rmtree(tmp_path / "a file", ignore_errors=True)
    (tmp_path / "a file").unlink()
    (copy,) = engine.fetch(uri, tmp_path / "fetched")
    assert copy.read_text() == "content"
    for missing in (str(tmp_path / "missing"), "s3://bucket/key"):
        with pytest.raises(UserError):
            engine.place(missing, f"{engine.output()}/models", send=True)
