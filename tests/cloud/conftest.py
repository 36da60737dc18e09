"""Launchers as users run them, as programs, against a fake AWS over HTTP and a real registry."""

import compileall
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.cloud.engine import Engine
from tests.cloud.fake_aws import ACCOUNT, REGION, FakeAws, Front
from tests.cloud.registry import Registry

ROOT = Path(__file__).parents[2]
ROLE = f"arn:aws:iam::{ACCOUNT}:role/vision"


def _oldest_python() -> str:
    """Return a Python 3.11.0 to 3.11.3 where this machine has one (Debian 12's own is 3.11.2), else the tests' own."""
    folders = (Path("/usr/bin"), Path("/usr/local/bin"), *Path.home().glob(".pyenv/versions/3.11.[0-3]/bin"))
    old = "import sys; sys.exit(not (3, 11, 0) <= sys.version_info < (3, 11, 4))"
    for folder in folders if sys.version_info[:2] == (3, 11) else ():  # it takes the packages of the tests' own
        python = folder / "python3.11"
        if python.exists() and subprocess.run([python, "-c", old], capture_output=True).returncode == 0:
            return str(python)
    return sys.executable


#: What runs the launchers: the oldest Python that they promise to run on.
PYTHON = _oldest_python()
PACKAGES = sysconfig.get_path("purelib")


@dataclass(frozen=True)
class Done:
    """A program that has ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line that it says on stderr when it fails."""
        assert self.code == 1, self
        assert "Traceback" not in self.err, self.err
        lines = self.err.strip().splitlines()
        assert lines, self
        return lines[-1]


Run = Callable[..., Done]
Push = Callable[..., Done]


@pytest.fixture(scope="session")
def _front() -> Iterator[Front]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    front = Front(moto)
    yield front
    front.stop()
    moto.stop()


@pytest.fixture
def aws(_front: Front) -> Iterator[FakeAws]:
    """An empty AWS account."""
    yield _front.aws
    _front.aws.reset()
    urllib.request.urlopen(urllib.request.Request(f"{_front.aws.url}/moto-api/reset", method="POST"))


@pytest.fixture
def environment(aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a user who is logged in to the account, in a checkout of their own."""
    (tmp_path / "home").mkdir()
    mine = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(tmp_path / "checkout"),
        "BYOC_HOME": str(tmp_path / "checkout" / ".byoc"),
        "PYTHON": PYTHON,
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_ROLE": ROLE,
    }
    if "DOCKER_HOST" in os.environ:
        mine["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
    return mine


@pytest.fixture(scope="session")
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the launchers are, compiled once: a start that has to compile costs more than what most tests look at."""
    folder = tmp_path_factory.mktemp("compiled")
    for name in ("byoc_vision", "launch", "docker"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "push.sh", folder)
    assert compileall.compile_dir(folder, quiet=1)
    return folder


@pytest.fixture
def checkout(_compiled: Path, tmp_path: Path) -> Path:
    """A folder with links to what the launchers are, so that the record of pushed images is the test's own."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for part in _compiled.iterdir():
        (folder / part.name).symlink_to(part)
    return folder


@pytest.fixture
def pushed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record that push.sh leaves."""
    from byoc_vision.aws import images

    uris = {
        f"byoc-vision-{target}": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/byoc-vision-{target}@sha256:{digit * 64}"
        for target, digit in (("train", "1"), ("serve", "2"), ("serve-cpu", "3"))
    }
    monkeypatch.setenv("BYOC_HOME", str(checkout / ".byoc"))
    images.record(ACCOUNT, REGION, uris)


class Starter:
    """Runs launchers, each in a process of its own that need not import boto3 again; see starter.py."""

    def __init__(self, folder: Path) -> None:
        self._folder, (asked, self._requests), (self._told, told) = folder, os.pipe(), os.pipe()
        command = [PYTHON, str(Path(__file__).with_name("starter.py")), str(asked), str(told)]
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": PACKAGES}  # as in `environment`
        self._process = subprocess.Popen(command, pass_fds=(asked, told), env=variables)
        os.close(asked)
        os.close(told)
        self._codes = os.fdopen(self._told)

    def run(self, module: str, arguments: list[str], environment: dict[str, str], folder: Path) -> Done:
        """Run `python -m module` to its end."""
        out, err = (self._folder / name for name in ("out", "err"))
        for file in (out, err):
            file.write_bytes(b"")
        request = {"module": module, "arguments": arguments, "environment": environment, "folder": str(folder)}
        os.write(self._requests, json.dumps(request | {"out": str(out), "err": str(err)}).encode() + b"\n")
        code = int(self._codes.readline())
        return Done(code, *(file.read_text(encoding="utf-8") for file in (out, err)))

    def stop(self) -> None:
        """End the process that the others are forked off."""
        os.close(self._requests)
        self._process.wait()
        self._codes.close()


@pytest.fixture(scope="session")
def _starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    starter = Starter(tmp_path_factory.mktemp("starter"))
    yield starter
    starter.stop()


@pytest.fixture
def run(checkout: Path, environment: dict[str, str], _starter: Starter) -> Run:
    """Return a function that runs a launcher: run("train", "--data", …) -> Done."""

    def launcher(module: str, *arguments: object, **variables: str | None) -> Done:
        its = environment | {name: value for name, value in variables.items() if value is not None}
        for name in [name for name, value in variables.items() if value is None]:
            its.pop(name, None)
        its["PYTHONPATH"] += f"{os.pathsep}{PACKAGES}"
        words = list(map(str, arguments))
        if not any(name.startswith(("PYTHON", "LANG", "LC_")) for name in variables):
            return _starter.run(f"launch.{module}", words, its, checkout.parent)
        # What Python reads at its own start.
        command = [PYTHON, "-m", f"launch.{module}", *words]
        done = subprocess.run(command, env=its, cwd=checkout.parent, capture_output=True, text=True, timeout=120)
        return Done(done.returncode, done.stdout, done.stderr)

    return launcher


@pytest.fixture
def client(aws: FakeAws) -> Callable[[str], Any]:
    """Return a function that makes boto3's client of a service of the account."""

    def make(service: str) -> Any:
        return boto3.client(
            service, REGION, endpoint_url=aws.url, aws_access_key_id="test", aws_secret_access_key="test"
        )

    return make


def prediction(label: str, probability: float) -> dict[str, Any]:
    """Return what a serving container says of one picture."""
    best = {"predicted_class": 1, "label": label, "probability": probability}
    other = {"predicted_class": 0, "label": "other", "probability": round(1 - probability, 6)}
    return {"predictions": [best | {"top_k": [best, other]}], "model": "resnet18"}


@pytest.fixture
def endpoint(aws: FakeAws, client: Callable[[str], Any]) -> None:
    """An endpoint that takes every picture for what its text says, and refuses what is none."""
    sagemaker = client("sagemaker")
    sagemaker.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/vision")
    variant = {"VariantName": "AllTraffic", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="byoc-vision", EndpointConfigName="c")

    def container(body: bytes, content_type: str) -> tuple[int, dict[str, Any]]:
        if body.startswith(b"broken"):
            return 400, {"error": "the picture cannot be read"}
        return 200, prediction(f"{body.decode()} as {content_type}", 0.93)

    aws.container = container


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small folder of labelled pictures, or what passes for them."""
    for split in ("train", "valid", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            (folder / "0.jpg").write_bytes(f"{split} {label}".encode())
    return tmp_path / "data"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A Docker engine with nothing in it."""
    running = Engine(tmp_path_factory.mktemp("engine"))
    yield running
    running.stop()


@pytest.fixture
def push(checkout: Path, environment: dict[str, str], engine: Engine, registry: Registry, aws: FakeAws) -> Push:
    """Return a function that runs push.sh."""
    aws.registry = (registry.address, registry.password)

    def script(*arguments: str, **variables: str) -> Done:
        its = environment | {"DOCKER_HOST": engine.host} | variables
        its |= {"PYTHONPATH": PACKAGES}
        its.pop("BYOC_HOME")
        command = ["bash", "push.sh", *arguments]
        done = subprocess.run(command, cwd=checkout, env=its, capture_output=True, text=True, timeout=300)
        return Done(done.returncode, done.stdout, done.stderr)

    return script


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry on loopback."""
    running = Registry(tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


def archive(file: Path, members: dict[str, bytes]) -> Path:
    """Write a tar.gz with these members, whatever their names."""
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file
