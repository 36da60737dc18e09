"""What tests of the commands in local_test/ and of the serving images share."""

import fcntl
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from byoc_vision.local import containers
from local_test.draw import CLASSES, draw_picture
from tests.e2e import serving
from tests.e2e.local_engine import Local
from tests.e2e.serving import HEIC, SAMPLES, SERVE, TRAIN, Container, Samples, container
from tests.e2e.small_training import ENVIRONMENT, FEW

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def docker(*arguments: str) -> set[str]:
    """Return the lines the docker client prints; what it is asked about may be gone by then."""
    return set(subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout.splitlines())


@dataclass
class Machine:
    """Starts scripts of the checkout from another folder, with a temporary folder that must be empty afterwards."""

    folder: Path
    scratch: Path = field(init=False)
    volumes: set[str] = field(init=False)
    networks: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir()
        self.volumes = docker("volume", "ls", "--quiet")
        self.networks = self._idle_networks()

    @staticmethod
    def _idle_networks() -> set[str]:
        """Return local mode's networks that have no container, by their ids."""
        return docker("network", "ls", "--filter", "dangling=true", "--filter", "name=sagemaker-local", "--quiet")

    def start(self, script: str, *arguments: str | Path, **environment: str) -> "subprocess.Popen[str]":
        """Start a script in a process group of its own, as a terminal does; its output goes to the folder's log."""
        with (self.folder / "log").open("a", encoding="utf-8") as log:
            return subprocess.Popen(
                [CHECKOUT / script, *arguments],
                cwd=self.folder,
                env=os.environ | {"TMPDIR": str(self.scratch)} | ENVIRONMENT | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                process_group=0,
            )

    def run(self, script: str, *arguments: str | Path, **environment: str) -> int:
        """Run a script to its end and return its exit status."""
        return self.start(script, *arguments, **environment).wait()

    @property
    def log(self) -> str:
        """All that the scripts have printed."""
        file = self.folder / "log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def wait_for(self, condition: Callable[[], bool], script: "subprocess.Popen[str]") -> None:
        """Wait until the condition holds while the script runs."""
        while not condition():
            assert script.poll() is None, self.log
            time.sleep(0.1)

    def press_ctrl_c(self, script: "subprocess.Popen[str]") -> int:
        """Send the interrupt a terminal sends, wait for the script's end and return its exit status."""
        os.killpg(script.pid, signal.SIGINT)
        return script.wait()

    def check_clean(self) -> None:
        """Assert that no container, network, volume, temporary file or file of another user is left."""
        containers = docker("ps", "--all", "--quiet")
        mounts = (
            docker("inspect", "--format", "{{range .Mounts}}{{.Source}} {{end}}", *containers) if containers else set()
        )
        assert not [sources for sources in mounts if str(self.folder) in sources]
        deadline = time.monotonic() + 60  # a network without containers may be that of a job which begins or ends now
        while self._idle_networks() - self.networks:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert docker("volume", "ls", "--quiet") <= self.volumes
        assert not list(self.scratch.iterdir())
        assert {path.lstat().st_uid for path in self.folder.rglob("*")} <= {os.getuid()}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Yield a machine to run scripts on; afterwards nothing of theirs may be left."""
    machine = Machine(tmp_path)
    yield machine
    machine.check_clean()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes share in which pytest-xdist runs the tests."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def samples(shared: Path) -> Samples:
    """A model, pictures and the right answers, made inside the training image."""
    folder = shared / "serving"
    with (shared / "serving.lock").open("w") as lock:  # whoever is first makes them
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make_samples(folder)
    return Samples(folder, json.loads((folder / "expected.json").read_text()))


def make_samples(folder: Path) -> None:
    """Write what the tests of serving send, and the answers they expect; one thread is enough for so little."""
    folder.mkdir()
    mounts = (f"{SAMPLES}:/samples.py:ro", f"{HEIC}:/picture.heic:ro", f"{folder}:/out")
    volumes = [option for mount in mounts for option in ("--volume", mount)]
    user = f"{os.getuid()}:{os.getgid()}"
    options = ("--rm", "--user", user, "--env", "OMP_NUM_THREADS=1", *volumes)
    serving.docker("run", *options, TRAIN, "python", "/samples.py", "/out")


@pytest.fixture(scope="module")
def endpoint(samples: Samples) -> Iterator[Container]:
    """One ready container for all tests that leave it as it was."""
    with container(samples.model) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def torch_endpoint(samples: Samples) -> Iterator[Container]:
    """The same, of the image that runs torch."""
    with container(samples.model, image=SERVE) as running:
        running.wait_ready()
        yield running


@pytest.fixture(params=["endpoint", "torch_endpoint"])
def either(request: pytest.FixtureRequest) -> Container:
    """Each of the two in turn."""
    running: Container = request.getfixturevalue(request.param)
    return running


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of so few pictures that a job on them takes seconds."""
    root = tmp_path_factory.mktemp("drawn pictures")
    for split, count in FEW.items():
        for name, (colour, corners) in CLASSES.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                picture = draw_picture(colour, corners, random.Random(f"{split} {name} {number}"))
                picture.save(root / split / name / f"{name} {number}.jpg")
    return root


@pytest.fixture(scope="module")
def local(shared: Path, pictures: Path) -> Iterator[Local]:
    """Yield an engine of the tests' own; after its last test nothing of it may be left on the machine."""
    root, scratch = shared / "local engine", shared / "scratch"
    for folder in (root, scratch):
        folder.mkdir(exist_ok=True)
    with (shared / "users.lock").open("w") as users, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(users, fcntl.LOCK_SH)
        patch.setenv("TMPDIR", str(scratch))
        # Whatever the user has set up for AWS is no matter of the local engine's.
        patch.setenv("AWS_PROFILE", "none-of-that-name")
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        yield Local(root, pictures)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # other tests use it still; the last ones look
            return
        assert not list(scratch.iterdir())
        for container in containers.docker("ps", "--all", "--quiet").split():
            mounts = containers.docker("inspect", "--format", "{{range .Mounts}}{{.Source}} {{end}}", container)
            assert str(root) not in mounts
            assert str(scratch) not in mounts
            owner = containers.docker(
                "inspect", "--format", f'{{{{index .Config.Labels "{containers.OWNER}"}}}}', container
            )
            assert not owner.startswith(str(root))
        networks = containers.docker(
            "network", "ls", "--filter", f"label={containers.OWNER}", "--format", "{{.Labels}}"
        )
        assert str(root) not in networks
        assert not list(root.glob("training-job/*/attempt-*"))
        assert {path.lstat().st_uid for path in root.rglob("*")} == {os.getuid()}


@pytest.fixture(scope="module")
def trained(local: Local) -> dict[str, Any]:
    """The description of a training job that has ended well, whichever process of the tests has begun it."""
    request = local.training_job("trained")
    request["DebugRuleConfigurations"] = [{"RuleConfigurationName": "Overfit", "RuleEvaluatorImage": "none"}]
    try:
        local.sagemaker.create_training_job(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUse":
            raise
    else:
        rules = local.describe("TrainingJob", "trained")["DebugRuleEvaluationStatuses"]
        assert rules[0]["RuleEvaluationStatus"] == "InProgress"
    return local.ended("TrainingJob", "trained")


@pytest.fixture(scope="module")
def artifact(trained: dict[str, Any]) -> str:
    """The URI of that job's model."""
    return str(trained["ModelArtifacts"]["S3ModelArtifacts"])
