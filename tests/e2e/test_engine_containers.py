"""What the containers of the local engine's jobs find and leave, seen by jobs that are a line of shell."""

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.local import containers
from byoc_vision.local.store import Store
from tests.e2e.local_engine import Local

IMAGE = "byoc-vision-serve-cpu:latest"


class Shell:
    """Runs lines of shell as training jobs of an engine of its own."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.local = Local(root / 'local, engine: "1"', root)
        self.store = Store(self.local.engine.root)

    def request(self, name: str, script: str, **more: Any) -> dict[str, Any]:
        return {
            "TrainingJobName": name,
            "RoleArn": self.local.engine.role(),
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["sh", "-c"],
                "ContainerArguments": [script],
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
            },
            "OutputDataConfig": {"S3OutputPath": self.local.engine.output()},
            "ResourceConfig": {"InstanceType": "local", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        } | more

    def begin(self, name: str, script: str, **more: Any) -> None:
        self.local.sagemaker.create_training_job(**self.request(name, script, **more))

    def run(self, name: str, script: str, **more: Any) -> dict[str, Any]:
        """Run the job to its end and return its description."""
        self.begin(name, script, **more)
        return self.local.ended("TrainingJob", name)

    def log(self, name: str) -> list[str]:
        return self.local.engine.logs("training", name)()

    def results(self, name: str) -> Path:
        return self.local.engine.root / "results" / name / "output"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def channel(name: str, source: Path) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source.as_uri()}},
    }


def test_a_job_finds_the_layout_of_the_service(shell: Shell, tmp_path: Path) -> None:
    data, weights, kept = tmp_path / 'data, "new": a', tmp_path / "w x.pth", tmp_path / "kept"
    data.mkdir()
    (data / "a.txt").write_text("a")
    (tmp_path / "elsewhere.txt").write_text("from elsewhere")
    weights.write_text("weights")
    linked = tmp_path / "linked"
    (linked / "folder").mkdir(parents=True)
    (linked / "folder" / "b.txt").symlink_to(tmp_path / "elsewhere.txt")
    (linked / "folder" / "lost.txt").symlink_to(tmp_path / "nowhere.txt")
    script = (
        "cd /opt/ml; find input/data -type f | sort; cat input/data/linked/folder/b.txt; echo;"
        "cat input/config/hyperparameters.json; echo; cat input/config/resourceconfig.json; echo;"
        "cat input/config/inputdataconfig.json; echo; cat input/config/debughookconfig.json; echo;"
        'echo "$TRAINING_JOB_NAME $AWS_REGION [$GREETING]"; hostname; echo kept >checkpoints/state; echo loss=0.5;'
        "mkdir model/part; echo model >model/part/file; ln -s part model/link; echo data >output/data/figures"
    )
    job = shell.run(
        "layout",
        script,
        InputDataConfig=[channel("training", data), channel("weights", weights), channel("linked", linked)],
        HyperParameters={"epochs": "3"},
        CheckpointConfig={"S3Uri": kept.as_uri()},
        DebugHookConfig={"S3OutputPath": shell.local.engine.output()},
        Environment={"GREETING": "good 'morning'\n$HOME"},
    )
    assert job["TrainingJobStatus"] == "Completed", job
    lines = shell.log("layout")
    assert lines[:3] == ["input/data/linked/folder/b.txt", "input/data/training/a.txt", "input/data/weights/w x.pth"]
    assert lines[3] == "from elsewhere"
    hyperparameters, resources, channels, hook = map(json.loads, lines[4:8])
    assert hyperparameters == {"epochs": "3"}
    assert (resources["current_host"], resources["hosts"]) == ("algo-1", ["algo-1"])
    assert set(channels) == {"training", "weights", "linked"}
    assert hook["LocalPath"] == "/opt/ml/output/tensors"
    assert lines[8:11] == ["layout us-east-1 [good 'morning'", "$HOME]", "algo-1"]
    assert (kept / "state").read_text() == "kept\n"
    assert job["FinalMetricDataList"][0]["Value"] == 0.5
    with tarfile.open(shell.results("layout") / "model.tar.gz") as model:
        assert sorted(model.getnames()) == ["link", "part", "part/file"]
    assert (shell.results("layout") / "data" / "figures").read_text() == "data\n"
    assert not list(shell.store.root.glob("training-job/*/attempt-*"))


def test_several_hosts_reach_each_other_and_nothing_else_where_they_are_isolated(shell: Shell) -> None:
    together = shell.store.root / "together"
    ask = "import socket; print(len({socket.gethostbyname(f'algo-{i}') for i in (1, 2)}), 'found')"
    script = (
        "hostname >/opt/ml/model/$(hostname); hostname >/opt/ml/output/data/same;"
        f'python3 -c "{ask}"; until [ -f /opt/ml/checkpoints/go ]; do sleep 0.1; done'
    )
    shell.begin(
        "two",
        script,
        ResourceConfig={"InstanceType": "local", "InstanceCount": 2, "VolumeSizeInGB": 1},
        CheckpointConfig={"S3Uri": together.as_uri()},
        EnableNetworkIsolation=True,
    )
    shell.local.wait_for_line("two", "2 found", 2)
    label = f"label={containers.OWNER}={shell.store.root}/training-job/two"
    network = containers.docker("network", "ls", "--quiet", "--filter", label)
    assert containers.docker("network", "inspect", "--format", "{{.Internal}}", network) == "true"
    (together / "go").touch()
    job = shell.local.ended("TrainingJob", "two")
    assert job["TrainingJobStatus"] == "Completed", job
    assert sorted(shell.log("two")) == ["algo-1: 2 found", "algo-2: 2 found"]
    with tarfile.open(shell.results("two") / "model.tar.gz") as model:
        assert sorted(model.getnames()) == ["algo-1", "algo-2"]
    assert (shell.results("two") / "data" / "same").read_text() == "algo-2\n"
    assert containers.docker("network", "ls", "--quiet", "--filter", label) == ""


def test_hosts_share_a_channel_and_a_model_may_stay_as_it_is(shell: Shell, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in "abc":
        (data / name).touch()
    whole, part = channel("whole", data), channel("part", data)
    part["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
    job = shell.run(
        "parts",
        "cd /opt/ml; mkdir -p model/$(hostname) output/tensorboard; ls input/data/* >model/$(hostname)/list;"
        "hostname >output/tensorboard/$(hostname)",
        ResourceConfig={"InstanceType": "local", "InstanceCount": 2, "VolumeSizeInGB": 1},
        InputDataConfig=[whole, part],
        OutputDataConfig={"S3OutputPath": shell.local.engine.output(), "CompressionType": "NONE"},
        TensorBoardOutputConfig={"S3OutputPath": shell.local.engine.output()},
    )
    assert job["TrainingJobStatus"] == "Completed", job
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("/parts/output/model/")
    board = shell.local.engine.root / "results" / "parts" / "tensorboard-output"
    assert sorted(file.name for file in board.iterdir()) == ["algo-1", "algo-2"]
    lists = [(shell.results("parts") / "model" / host / "list").read_text().split() for host in ("algo-1", "algo-2")]
    everything = ["input/data/whole:", "a", "b", "c"]
    assert lists == [["input/data/part:", *mine, *everything] for mine in (["a", "c"], ["b"])]


def test_a_host_that_fails_takes_the_others_down(shell: Shell) -> None:
    script = (
        'trap "echo told; exit 0" TERM; cd /opt/ml/checkpoints; [ $(hostname) = algo-2 ] && touch ready;'
        "until [ -f ready ]; do sleep 0.1; done; [ $(hostname) = algo-1 ] && exit 7; sleep 600 & wait"
    )
    resources = {"InstanceType": "local", "InstanceCount": 2, "VolumeSizeInGB": 1}
    job = shell.run(
        "one-fails",
        script,
        ResourceConfig=resources,
        CheckpointConfig={"S3Uri": (shell.store.root / "together").as_uri()},
    )
    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", "AlgorithmError: exit code: 7")
    assert shell.log("one-fails") == ["algo-2: told"]


def test_two_checkouts_run_jobs_of_one_name_at_the_same_time(tmp_path: Path) -> None:
    both = [Shell(tmp_path / name) for name in ("first", "second")]
    meet = tmp_path / "meet"
    meet.mkdir()
    # Each goes on once the other has come, too.
    script = "cd /opt/ml/checkpoints; touch $OWN; while [ ! -f $OTHER ]; do sleep 0.1; done; echo $OWN"
    for shell, own, other in ((both[0], "a", "b"), (both[1], "b", "a")):
        environment = {"OWN": own, "OTHER": other}
        shell.begin("same", script, Environment=environment, CheckpointConfig={"S3Uri": meet.as_uri()})
    for shell, own in zip(both, "ab", strict=True):
        assert shell.local.ended("TrainingJob", "same")["TrainingJobStatus"] == "Completed"
        assert shell.log("same") == [own]


def test_containers_that_a_crash_has_left_are_in_nobodys_way(shell: Shell) -> None:
    shell.begin(
        "spot",
        "echo begun; [ -f /opt/ml/checkpoints/again ] || { touch /opt/ml/checkpoints/again; sleep 600; }",
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600},
        CheckpointConfig={"S3Uri": (shell.store.root / "kept").as_uri()},
    )
    shell.local.wait_for_line("spot", "begun")
    shell.local.kill("training-job", "spot")
    left = containers.labelled(containers.OWNER, str(shell.store.root / "training-job" / "spot"))
    assert len(left) == 1
    job = shell.local.ended("TrainingJob", "spot")
    assert job["TrainingJobStatus"] == "Completed", job
    assert "Restarting" in [each["Status"] for each in job["SecondaryStatusTransitions"]]
    assert shell.log("spot") == ["begun", "begun"]
    assert containers.docker("inspect", *left) == "[]"


def test_a_job_whose_process_was_killed_has_failed(shell: Shell) -> None:
    shell.begin("killed", "echo begun; sleep 600")
    shell.local.wait_for_line("killed", "begun")
    shell.local.kill("training-job", "killed")
    job = shell.local.ended("TrainingJob", "killed")
    assert job["TrainingJobStatus"] == "Failed"
    assert "was killed" in job["FailureReason"]


def test_a_job_that_takes_too_long_is_stopped(shell: Shell) -> None:
    endless = 'trap "exit 0" TERM; sleep 600 & wait'
    job = shell.run("endless", endless, StoppingCondition={"MaxRuntimeInSeconds": 3})
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_job_whose_container_docker_loses_has_failed_and_leaves_nothing(shell: Shell) -> None:
    """As when Docker is stopped, or its client is killed."""
    shell.begin("lost", "echo begun; sleep 600")
    shell.local.wait_for_line("lost", "begun")
    folder = shell.store.root / "training-job" / "lost"
    (pid,) = subprocess.check_output(
        ["pgrep", "--full", f"docker run .*{containers.OWNER}={folder}".replace('"', ".")]
    ).split()
    subprocess.run(["kill", "-KILL", pid], check=True)
    job = shell.local.ended("TrainingJob", "lost")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("InternalServerError: Docker did not run the container to its end")
    assert containers.labelled(containers.OWNER, str(folder)) == []


def test_what_cannot_be_started_says_why(shell: Shell) -> None:
    request = shell.request("no-program", "")
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["no-such-program"]
    shell.local.sagemaker.create_training_job(**request)
    job = shell.local.ended("TrainingJob", "no-program")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("InternalServerError: Docker did not run the container to its end (docker: ")
    assert "no-such-program" in job["FailureReason"]
    with pytest.raises(Exception, match="already existing"):
        shell.local.sagemaker.create_training_job(**request)
