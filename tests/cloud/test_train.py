"""launch.train: the request, its way to AWS, and what the user sees."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.contract import hyperparameters, metrics
from tests.cloud.conftest import PACKAGES, PYTHON, ROLE, Run
from tests.cloud.fake_aws import ACCOUNT, REGION, FakeAws, Refusal

BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"


@pytest.fixture(autouse=True)
def _pushed(pushed: None) -> None:
    """All of these find their images pushed."""


def described(status: str, secondary: str = "", **more: object) -> dict[str, Any]:
    """Return what DescribeTrainingJob answers."""
    artifact = f"s3://{BUCKET}/byoc-vision/job/output/model.tar.gz"
    return {
        "TrainingJobName": "job",
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary or status,
        "ModelArtifacts": {"S3ModelArtifacts": artifact},
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/byoc-vision"},
        **more,
    }


def log(client: Callable[[str], Any], job: str, *lines: str, instance: int = 1) -> None:
    """Put lines into the job's log."""
    logs = client("logs")
    group, stream = "/aws/sagemaker/TrainingJobs", f"{job}/algo-{instance}-1700000000"
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + i, "message": line} for i, line in enumerate(lines)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def named(folder: Path, name: str) -> Path:
    """Return a request file that names the job."""
    file = folder / "name.yaml"
    file.write_text(f"CreateTrainingJob:\n  TrainingJobName: {name}\n")
    return file


def test_a_dry_run_prints_the_request_and_sends_nothing(run: Run, aws: FakeAws, data: Path) -> None:
    done = run("train", "--data", data, "--set", "lr=0.01", "--set", "epochs=3", "--dry-run")
    assert done.code == 0, done.err
    (request,) = json.loads(done.out).values()
    assert request["RoleArn"] == ROLE
    assert request["HyperParameters"] == {"lr": "0.01", "epochs": "3"}
    assert request["AlgorithmSpecification"]["TrainingImage"].endswith("byoc-vision-train@sha256:" + "1" * 64)
    assert request["AlgorithmSpecification"]["MetricDefinitions"] == metrics.DEFINITIONS
    assert request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"].startswith(f"s3://{BUCKET}/")
    assert not aws.sent("CreateTrainingJob")


def test_what_a_dry_run_prints_is_what_is_sent(run: Run, aws: FakeAws, data: Path, tmp_path: Path) -> None:
    arguments = ("--data", data, "--spot", "--instance-count", 2, "--request", named(tmp_path, "my-job"))
    shown = json.loads(run("train", *arguments, "--dry-run").out)["CreateTrainingJob"]
    assert run("train", *arguments).code == 0
    # The name of the checkpoints' folder is made anew each time.
    (sent,) = aws.sent("CreateTrainingJob")
    assert shown.pop("CheckpointConfig") and sent.pop("CheckpointConfig")
    assert sent == shown
    assert sent["EnableManagedSpotTraining"] is True
    assert sent["StoppingCondition"]["MaxWaitTimeInSeconds"] > sent["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert sent["ResourceConfig"]["InstanceCount"] == 2


def test_a_local_folder_is_uploaded_and_only_what_changed_is_again(
    run: Run, aws: FakeAws, data: Path, client: Callable[[str], Any]
) -> None:
    first = run("train", "--data", data)
    assert first.code == 0, first.err
    assert "6 of 6 files sent" in first.err
    (data / "train" / "cat" / "0.jpg").write_bytes(b"TRAIN CAT")  # as long as before
    (data / "test" / "dog" / "0.jpg").unlink()
    assert "1 of 5 files sent" in (second := run("train", "--data", data).err) and "1 removed" in second
    assert "0 of 5 files sent" in run("train", "--data", data).err
    uri = aws.sent("CreateTrainingJob")[0]["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"]
    assert uri.endswith("/")
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    keys = [item["Key"] for item in client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]]
    assert sorted(key.removeprefix(prefix) for key in keys) == sorted(
        str(file.relative_to(data)) for file in data.rglob("*.jpg")
    )
    body = client("s3").get_object(Bucket=BUCKET, Key=f"{prefix}train/cat/0.jpg")["Body"].read()
    assert body == b"TRAIN CAT"


def test_what_is_uploaded_of_a_folder_as_people_have_it(
    run: Run, data: Path, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    for name in ("._0.jpg", "Thumbs.db", "@eaDir/0.jpg", os.fsdecode(b"caf\xe9.jpg")):
        (data / "train" / "cat" / name).parent.mkdir(exist_ok=True)
        (data / "train" / "cat" / name).write_text("a cat")
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "owl.jpg").write_text("an owl")
    (data / "train" / "owl").symlink_to(tmp_path / "pool")
    (data / "train" / "owl2.jpg").symlink_to("/nowhere/owl.jpg")
    os.mkfifo(data / "train" / "cat" / "pipe.jpg")
    done = run("train", "--data", data, "--no-wait")
    assert done.code == 0, done.err
    assert "not sent, because it cannot be read: 2 files (train/cat/pipe.jpg)" in done.err
    buckets = [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]]
    keys = [item["Key"] for name in buckets for item in client("s3").list_objects_v2(Bucket=name).get("Contents", [])]
    sent = {key.partition("/train/")[2] for key in keys if "/train/" in key}
    assert {"cat/caf\\xe9.jpg", "owl/owl.jpg"} < sent
    assert not [name for name in sent if "._0" in name or "Thumbs" in name or "@eaDir" in name or "owl2" in name]


def test_a_name_longer_than_s3_takes_is_refused_before_anything_is_sent(
    run: Run, data: Path, client: Callable[[str], Any]
) -> None:
    (data / "train" / "cat" / os.fsdecode(b"\xff" * 255)).write_text("a cat")
    assert (
        "longer name than S3 takes, 1,024 bytes with its folders; shorten it" in run("train", "--data", data).sentence
    )
    (bucket,) = client("s3").list_buckets()["Buckets"]
    assert "Contents" not in client("s3").list_objects_v2(Bucket=bucket["Name"])


def test_a_folder_whose_name_is_not_utf8_is_found_by_its_uri(
    run: Run, pushed: None, data: Path, tmp_path: Path
) -> None:
    folder = data.rename(tmp_path / os.fsdecode(b"caf\xe9 #1"))
    done = run("train", "--data", folder.as_uri(), "--local", "--dry-run")
    assert done.code == 0, done.err
    assert "caf%E9%20%231" in done.out


def test_data_and_weights_come_as_channels(
    run: Run, aws: FakeAws, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    client("s3").create_bucket(Bucket="mine")
    for key in ("dogs/train/a.jpg", "dogs/valid/a.jpg"):
        client("s3").put_object(Bucket="mine", Key=key, Body=b"x")
    (tmp_path / "resnet50.pth").write_bytes(b"\x80weights of a kind that only torch reads")
    done = run(
        "train", "--data", "train=s3://mine/dogs/train/", "--data", "validation=s3://mine/dogs/valid/",
        "--data", f"weights={tmp_path / 'resnet50.pth'}", "--output", "s3://mine/results",
    )  # fmt: skip
    assert done.code == 0, done.err
    (request,) = aws.sent("CreateTrainingJob")
    uris = {c["ChannelName"]: c["DataSource"]["S3DataSource"]["S3Uri"] for c in request["InputDataConfig"]}
    assert uris["train"] == "s3://mine/dogs/train/" and uris["validation"] == "s3://mine/dogs/valid/"
    assert uris["weights"].startswith("s3://mine/results/data/") and uris["weights"].endswith("/resnet50.pth")
    assert request["OutputDataConfig"]["S3OutputPath"] == "s3://mine/results"


def test_the_log_and_the_figures_are_shown(
    run: Run, aws: FakeAws, data: Path, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    log(client, "my-job", "epoch=1 train_loss=0.5", "test_accuracy=0.9")
    figures = [{"MetricName": "test_accuracy", "Value": 0.9, "Timestamp": 0}]
    aws.script(
        "DescribeTrainingJob",
        described("InProgress", "Downloading"),
        described("InProgress", "Training"),
        described("Completed", FinalMetricDataList=figures),
    )
    done = run("train", "--data", data, "--request", named(tmp_path, "my-job"))
    assert done.code == 0
    assert [line for line in done.out.splitlines() if "=" in line][:2] == [
        "epoch=1 train_loss=0.5",
        "test_accuracy=0.9",
    ]
    assert done.out.count("epoch=1") == 1
    assert [line for line in done.err.splitlines() if line.startswith("my-job: ")] == [
        "my-job: Downloading",
        "my-job: Training",
        "my-job: Completed",
    ]
    assert "launch.deploy --model my-job" in done.out


def test_instances_are_told_apart_in_the_log(
    run: Run, aws: FakeAws, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    log(client, "my-job", "here", instance=1)
    log(client, "my-job", "there", instance=2)
    aws.script("DescribeTrainingJob", described("Completed"))
    said = run("watch", "my-job").out.splitlines()
    assert said[:2] == ["algo-1: here", "algo-2: there"]
    assert said[-2] == f"the model is s3://{BUCKET}/byoc-vision/job/output/model.tar.gz"
    assert said[-1] == "the report: python -m launch.report my-job"


def test_a_failed_job_shows_its_reason_and_last_lines(
    run: Run, aws: FakeAws, data: Path, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    log(client, "my-job", *(f"line {i}" for i in range(40)))
    reason = "AlgorithmError: the class cat has no\npictures"
    aws.script("DescribeTrainingJob", described("InProgress"), described("Failed", FailureReason=reason))
    done = run("train", "--data", data, "--request", named(tmp_path, "my-job"))
    assert done.sentence.endswith("the training job my-job failed: AlgorithmError: the class cat has no pictures")
    assert "line 39" in done.err and "line 24" not in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_leaves_the_job_alone_and_says_how_to_go_on(
    checkout: Path, environment: dict[str, str], aws: FakeAws, data: Path, tmp_path: Path, number: int
) -> None:
    aws.script("DescribeTrainingJob", described("InProgress", "Training"))
    command = [sys.executable, "-m", "launch.train", "--data", str(data), "--request", str(named(tmp_path, "my-job"))]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        while not aws.sent("DescribeTrainingJob"):
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The training job goes on" in err
    assert "python -m launch.watch my-job" in err and "--stop" in err
    assert "Traceback" not in err
    assert not aws.sent("StopTrainingJob")


def test_a_terminal_that_is_closed_ends_a_command_as_ctrl_c_does(
    checkout: Path, environment: dict[str, str], aws: FakeAws, data: Path, tmp_path: Path
) -> None:
    aws.script("DescribeTrainingJob", described("InProgress", "Training"))
    command = [sys.executable, "-m", "launch.train", "--data", str(data), "--request", str(named(tmp_path, "my-job"))]
    terminal, end = os.openpty()
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdin=end, stdout=end, stderr=end, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(end, termios.TIOCSCTTY, 0),
    ) as process:  # fmt: skip
        os.close(end)
        while not aws.sent("DescribeTrainingJob"):
            time.sleep(0.05)
        os.close(terminal)
        assert process.wait(60) == 130


def test_watch_stops_a_job(run: Run, aws: FakeAws) -> None:
    aws.script("DescribeTrainingJob", described("InProgress"))
    aws.script("StopTrainingJob", {})
    assert run("watch", "my-job", "--stop").code == 0
    assert aws.sent("StopTrainingJob") == [{"TrainingJobName": "my-job"}]


def test_watch_of_no_job(run: Run) -> None:
    assert "there is no job 'nothing' in us-east-1" in run("watch", "nothing").sentence


def test_no_wait_prints_the_name(run: Run, aws: FakeAws, data: Path) -> None:
    done = run("train", "--data", data, "--no-wait")
    assert done.code == 0
    assert done.out.splitlines()[0] == aws.sent("CreateTrainingJob")[0]["TrainingJobName"]
    assert not aws.sent("DescribeTrainingJob")


def test_hyperparameters_of_a_file_are_overruled_by_set(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(json.dumps({"lr": '"0.02"', "batch-size": '"32"', "pretrained": True}))
    done = run("train", "--data", data, "--hyperparameters", "best.json", "--set", "lr=0.5", "--dry-run")
    values = json.loads(done.out)["CreateTrainingJob"]["HyperParameters"]
    assert values == {"lr": "0.5", "batch-size": "32", "pretrained": "true"}
    assert hyperparameters.parse(values).batch_size == 32


def test_the_recipe_is_a_request(run: Run, data: Path) -> None:
    recipe = Path(__file__).parents[2] / "launch" / "examples" / "accurate.yaml"
    done = run("train", "--data", data, "--hyperparameters", recipe, "--dry-run")
    assert done.code == 0, done.err
    sent = json.loads(done.out)["CreateTrainingJob"]["HyperParameters"]
    assert {"train-layers": "last-block", "augment": "basic"}.items() <= sent.items()


def test_hyperparameters_of_a_tuning_job(run: Run, aws: FakeAws, data: Path) -> None:
    aws.script(
        "DescribeHyperParameterTuningJob",
        {
            "TrainingJobDefinition": {"StaticHyperParameters": {"epochs": "4", "_tuning_objective_metric": "x"}},
            "BestTrainingJob": {"TunedHyperParameters": {"lr": '"0.03"', "batch-size": '"64"'}},
        },
    )
    done = run("train", "--data", data, "--hyperparameters", "my-search", "--dry-run")
    values = json.loads(done.out)["CreateTrainingJob"]["HyperParameters"]
    assert values == {"lr": "0.03", "batch-size": "64", "epochs": "4"}


def test_managed_debugger(run: Run, aws: FakeAws, data: Path) -> None:
    assert run("train", "--data", data, "--debugger", "managed").code == 0
    (request,) = aws.sent("CreateTrainingJob")
    names = {rule["RuleConfigurationName"] for rule in request["DebugRuleConfigurations"]}
    assert names == {"VanishingGradient", "Overfit", "Overtraining", "PoorWeightInitialization", "LossNotDecreasing"}
    names = {rule["RuleConfigurationName"] for rule in request["ProfilerRuleConfigurations"]}
    assert names == {"LowGPUUtilization", "CPUBottleneck", "IOBottleneck", "ProfilerReport"}
    for rule in request["DebugRuleConfigurations"] + request["ProfilerRuleConfigurations"]:
        assert rule["RuleParameters"]["rule_to_invoke"] == rule["RuleConfigurationName"]
        assert rule["RuleEvaluatorImage"].startswith("503895931360.dkr.ecr.us-east-1.amazonaws.com/")
    collections = {c["CollectionName"] for c in request["DebugHookConfig"]["CollectionConfigurations"]}
    assert {"losses", "gradients", "relu_input"} <= collections
    assert request["ProfilerConfig"]["ProfilingIntervalInMilliseconds"] == 500


def test_the_rule_image_is_the_regions(run: Run, data: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from byoc_vision.aws import images

    monkeypatch.setenv("BYOC_HOME", str(checkout / ".byoc"))
    images.record(ACCOUNT, "cn-north-1", {"byoc-vision-train": "x.amazonaws.com.cn/t@sha256:1"})
    done = run("train", "--data", data, "--debugger", "managed", "--dry-run", AWS_REGION="cn-north-1")
    rule = json.loads(done.out)["CreateTrainingJob"]["DebugRuleConfigurations"][0]
    assert rule["RuleEvaluatorImage"].startswith("618459771430.dkr.ecr.cn-north-1.amazonaws.com.cn/")


def test_a_refused_managed_debugger_names_the_default(run: Run, aws: FakeAws, data: Path) -> None:
    aws.script(
        "CreateTrainingJob", Refusal("ValidationException", "SageMaker Debugger is not available to new customers.")
    )
    said = run("train", "--data", data, "--debugger", "managed").sentence
    assert "not available to new customers" in said and "train without it" in said


def test_the_request_file_reaches_every_field(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "CreateTrainingJob:\n"
        "  RoleArn: arn:aws:iam::123456789012:role/other\n"
        "  ResourceConfig: {VolumeSizeInGB: 100}\n"
        "  StoppingCondition: null\n"
        "  InputDataConfig:\n"
        "    - {ChannelName: training, InputMode: FastFile}\n"
    )
    done = run("train", "--data", data, "--request", "mine.yaml", "--dry-run", SAGEMAKER_ROLE=None)
    request = json.loads(done.out)["CreateTrainingJob"]
    assert request["RoleArn"].endswith("/other")
    assert request["ResourceConfig"] == {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 100}
    assert "StoppingCondition" not in request
    (channel,) = request["InputDataConfig"]
    assert channel["InputMode"] == "FastFile" and "DataSource" in channel


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CreateTrainingJob: {VpcConfg: {}}", 'nknown parameter in input: "VpcConfg"'),
        (
            "CreateTrainingJob: {ResourceConfig: {VolumeSizeInGB: big}}",
            "Invalid type for parameter ResourceConfig.VolumeSize",
        ),
        ("CreateTrainingJob: {TrainingJobName: my job}", "TrainingJobName is 'my job'"),
        ("CreateTrainingJob: {Environment: {A: 1}}", "nvalid type for parameter Environment.A"),
        ("CreateTrainingJb: {}", "there is no operation 'CreateTrainingJb'"),
        ("CreateModel: {EnableNetworkIsolation: true}", "hold nothing for CreateTrainingJob"),
        ("CreateTrainingJob: [", "cannot be read as YAML"),
        ("CreateTrainingJob: {ResourceConfig: {InstanceType: ml.g4dn.xlrge}}", "did you mean 'ml.g4dn.xlarge'?"),
        ("CreateTrainingJob: {ResourceConfig: {InstanceType: m5.large}}", "did you mean 'ml.m5.large'?"),
        ("CreateTrainingJob: {ResourceConfig: {InstanceType: ml.p3}}", "did you mean 'ml.p3.2xlarge'?"),
        ("CreateTrainingJob: {ResourceConfig: {InstanceType: big}}", "give one of ml.m4.xlarge, "),
        ("CreateTrainingJob: {OutputDataConfig: {KmsKeyId: a, KmsKeyId: b}}", "KmsKeyId is given twice"),
        ("CreateTrainingJob: {HyperParameters: {epoch: '3'}}", "did you mean 'epochs'?"),
        ("CreateTrainingJob: {HyperParameters: {warmup-epochs: '31'}}", "set warmup-epochs to fewer"),
    ],
)
def test_a_wrong_request_file(run: Run, aws: FakeAws, data: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert said.lower() in run("train", "--data", data, "--request", "mine.yaml").sentence.lower()
    assert not aws.sent("CreateTrainingJob")


@pytest.mark.parametrize(
    "fields",
    [
        "AlgorithmSpecification: {TrainingImage: mine}",
        "AlgorithmSpecification: {ContainerEntrypoint: [python, mine.py]}",
        "Environment: {SAGEMAKER_PROGRAM: mine.py}",
    ],
)
def test_hyperparameters_of_another_program_are_its_own(run: Run, data: Path, tmp_path: Path, fields: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"CreateTrainingJob: {{HyperParameters: {{depth: '3'}}, {fields}}}")
    done = run("train", "--data", data, "--request", "mine.yaml", "--dry-run")
    assert done.code == 0, done.err
    assert json.loads(done.out)["CreateTrainingJob"]["HyperParameters"]["depth"] == "3"


def test_the_role_may_be_given_by_name(run: Run, data: Path, client: Callable[[str], Any]) -> None:
    trust = json.dumps({"Statement": [{"Principal": {"Service": "sagemaker.amazonaws.com"}}], "Version": "2012-10-17"})
    client("iam").create_role(RoleName="vision", Path="/service-role/", AssumeRolePolicyDocument=trust)
    done = run("train", "--data", data, "--dry-run", SAGEMAKER_ROLE="vision")
    assert json.loads(done.out)["CreateTrainingJob"]["RoleArn"].endswith(":role/service-role/vision")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_SESSION_TOKEN": None},
            "command line, or add --local to stay on this machine",
        ),
        ({"AWS_REGION": None}, "set AWS_REGION, for example to us-east-1, or add --local to stay on this machine"),
        ({"SAGEMAKER_ROLE": None}, "set SAGEMAKER_ROLE"),
        ({"SAGEMAKER_ROLE": "nobody"}, "there is no role 'nobody'"),
        ({"SAGEMAKER_ROLE": "arn:aws:iam::123456789012:user/me"}, "user/me'; give a role's name, or its ARN, arn:aws"),
        ({"AWS_REGION": "us_east_1"}, "set AWS_REGION to one such as us-east-1"),
        ({"AWS_REGION": "eu-west-1"}, "was not pushed to account 123456789012, region eu-west-1; run ./push.sh"),
        ({"AWS_PROFILE": "nobody"}, "the AWS profile cannot be used"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "byoc service start, or unset AWS_ENDPOINT_URL, which names it"),
    ],
)
def test_an_account_that_is_not_ready(run: Run, data: Path, variables: dict[str, str | None], said: str) -> None:
    assert said in run("train", "--data", data, **variables).sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "s3:/mine/dogs"], "'s3:/mine/dogs' is no S3 URI"),
        (["--data", "s3://mine"], "'s3://mine' is no S3 URI"),
        (["--data", "http://mine/dogs"], "'http://mine/dogs' is no S3 URI"),
        (["--data", "s3://no-such-bucket/dogs/"], "the bucket does not exist"),
        (["--data", "no-such-folder"], "no-such-folder does not exist"),
        (["--data", "picture=data"], "there is no channel 'picture'"),
        (["--data", "data", "--data", "training=data"], "the channel training is given twice"),
        (["--data", "data", "--set", "learning-rate=1"], "there is no hyperparameter 'learning-rate'"),
        (["--data", "data", "--set", "lr"], "write NAME=VALUE"),
        (["--data", "data", "--set", "lr=-1"], "lr is -1; give a value from"),
        (["--data", "data", "--hyperparameters", "no-such.json"], "No such file"),
        (["--data", "data", "--hyperparameters", "no-such-job"], "neither a file nor a tuning job in us-east-1"),
        (["--data", "data", "--output", "s3://no-such-bucket/results"], "the bucket no-such-bucket does not exist"),
        (["--data", "s3://mine/dogs/", "--output", "s3:/mine/results"], "cannot go to 's3:/mine/results'"),
        (["--data", "data", "--output", "out"], "results cannot go to 'out'; give s3://BUCKET/FOLDER"),
        (["--data", "data", "--output", "s3://"], "results cannot go to 's3://'"),
    ],
)
def test_wrong_options(run: Run, aws: FakeAws, data: Path, arguments: list[str], said: str) -> None:
    assert said in run("train", *arguments).sentence
    assert not aws.sent("CreateTrainingJob")


def test_the_default_bucket_is_there_before_the_job_needs_it(
    run: Run, aws: FakeAws, client: Callable[[str], Any]
) -> None:
    client("s3").create_bucket(Bucket="mine")
    client("s3").put_object(Bucket="mine", Key="dogs/train/a.jpg", Body=b"x")
    assert run("train", "--data", "s3://mine/dogs/").code == 0
    assert BUCKET in [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]]


def test_a_wait_that_breaks_off_says_how_to_go_on(run: Run, aws: FakeAws) -> None:
    aws.script(
        "DescribeTrainingJob", described("InProgress"), Refusal("AccessDeniedException", "User x is not authorized")
    )
    done = run("watch", "my-job")
    assert "lack that permission" in done.sentence and "The training job goes on" in done.err


def test_a_wrong_request_costs_no_upload(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("CreateTrainingJob: {Tag: []}")
    done = run("train", "--data", data, "--request", "mine.yaml")
    assert done.code == 1 and "sent" not in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "3"], "there is no option --epochs; the hyperparameter is set with --set epochs=3"),
        (["--learning_rate=0.1", "--spot"], "is set with --set lr=0.1"),
        (["--batch-size"], "is set with --set batch-size=VALUE"),
        (["--weights", "a.pth"], "there is no option --weights; the channel is given with --data weights=a.pth"),
        (["--dryrun"], "there is no option --dryrun; did you mean --dry-run?"),
        (["--instance_type", "ml.p3.2xlarge"], "did you mean --instance-type?"),
        (["--zzz", "3"], "there is no option --zzz; python -m launch.train --help lists those that there are"),
    ],
)
def test_a_setting_or_channel_given_as_an_option(run: Run, data: Path, arguments: list[str], said: str) -> None:
    done = run("train", "--data", data, *arguments)
    assert done.code == 2 and said in done.err.splitlines()[-1]


def test_a_log_that_was_shown_is_not_shown_again(
    checkout: Path, environment: dict[str, str], aws: FakeAws, client: Callable[[str], Any], tmp_path: Path
) -> None:
    log(client, "my-job", "what went wrong")
    aws.script("DescribeTrainingJob", described("Failed", FailureReason="AlgorithmError: see the log"))
    environment["PYTHONPATH"] += f":{PACKAGES}"
    command = [PYTHON, "-m", "launch.watch", "my-job"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, env=environment, cwd=tmp_path, text=True, **streams)  # type: ignore[call-overload]
    assert done.returncode == 1
    assert done.stdout.count("what went wrong") == done.stdout.count("AlgorithmError") == 1


def test_a_count_of_nothing(run: Run, data: Path) -> None:
    done = run("train", "--data", data, "--instance-count", 0)
    assert done.code == 2 and "'0' is no whole number from 1 up" in done.err


def test_an_empty_prefix(run: Run, client: Callable[[str], Any]) -> None:
    client("s3").create_bucket(Bucket="mine")
    assert "there is nothing at s3://mine/dgos/" in run("train", "--data", "s3://mine/dgos/").sentence


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Refusal("ResourceLimitExceeded", "The account-level service limit is 0 Instances."), "Service Quotas"),
        (Refusal("ValidationException", "Could not assume the role arn:x"), "must trust sagemaker.amazonaws.com"),
        (Refusal("AccessDeniedException", "User x is not authorized"), "lack that permission"),
        (Refusal("ExpiredTokenException", "The security token is expired"), "renew the AWS credentials"),
        (Refusal("ResourceInUse", "Training job names must be unique"), "the name is in use"),
    ],
)
def test_a_refusal_is_one_sentence(run: Run, aws: FakeAws, data: Path, refusal: Refusal, said: str) -> None:
    aws.script("CreateTrainingJob", refusal)
    sentence = run("train", "--data", data).sentence
    assert refusal.message.rstrip(".") in sentence and said in sentence
