"""SageMaker's clients as they are, each a program of plain client code, and the notebooks, against one `byoc service`.

They run at once, for they mostly wait: the SDKs look whether an endpoint is ready every 30 seconds.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from byoc_vision.service import env
from byoc_vision.service.daemon import Service
from local_test import draw
from tests.e2e.conftest import CHECKOUT
from tests.e2e.small_training import FEW

#: The environment of clients that cannot be beside SDK version 3. tests/run.sh makes it.
CLIENTS = Path(sys.prefix, "clients", "bin")
pytestmark = pytest.mark.skipif(not CLIENTS.exists(), reason="there are no other clients; tests/run.sh installs them")

HERE = Path(__file__).parent
NOTEBOOKS = {"train_and_deploy": Path(sys.prefix, "bin"), "own_scripts": CLIENTS}
PROGRAMS = ("sdk_v2", "sdk_v3", "aws_cli", *NOTEBOOKS)


def command(program: str, pictures: Path, folder: Path) -> list[str | Path]:
    """Return the command of a program, which may write to `folder`."""
    if program not in NOTEBOOKS:
        return {
            "sdk_v2": [CLIENTS / "python", HERE / "sdk_v2.py", pictures],
            "sdk_v3": [sys.executable, HERE / "sdk_v3.py", pictures],
            "aws_cli": [HERE / "aws_cli.sh", pictures, folder / "scratch"],
        }[program]
    for room in ("examples", "local_test"):
        (folder / room).symlink_to(CHECKOUT / room)
    # Python runs it at its start: the same notebook, of fewer pictures.
    (folder / "sitecustomize.py").write_text(f"from local_test import draw\ndraw.SPLITS = {FEW}\n")
    notebook = folder / "notebooks" / f"{program}.ipynb"
    notebook.parent.mkdir()
    shutil.copy(CHECKOUT / "notebooks" / notebook.name, notebook)
    return [NOTEBOOKS[program] / "jupyter-execute", "--timeout=900", notebook]


class Running:
    """A service of the tests' own, and the programs that ask it."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self._pictures = folder("pictures")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(draw, "SPLITS", FEW)
            draw.draw_set(self._pictures)
        self.service = Service(folder("service"))
        address = self.service.start(None, 0)
        self.variables = env.variables(self.service.root, address.url, address.token)
        self._programs = {name: self._start(name, folder(name)) for name in PROGRAMS}

    def _start(self, name: str, folder: Path) -> tuple["subprocess.Popen[bytes]", Path]:
        environment = {name: value for name, value in os.environ.items() if name not in env.UNSET} | self.variables
        environment |= {
            "BYOC_LOCAL": str(self.service.root),
            "PYTHONPATH": f"{folder}:{CHECKOUT}",
            "PATH": f"{CLIENTS}:{os.environ['PATH']}",
        }
        log = folder / "log"
        with log.open("wb") as out:
            started = command(name, self._pictures, folder)
            return subprocess.Popen(started, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT), log

    def ended(self, name: str) -> tuple[int, str]:
        """Wait for a program's end; return its exit status and what it printed."""
        program, log = self._programs[name]
        return program.wait(), log.read_text(errors="replace")

    def stop(self) -> None:
        """End all that still runs."""
        for program, _ in self._programs.values():
            program.kill()
        self.service.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All programs, begun."""
    all_of = Running(tmp_path_factory.mktemp)
    yield all_of
    all_of.stop()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_client_as_it_is(running: Running, program: str) -> None:
    status, printed = running.ended(program)
    assert status == 0, printed


def test_boto3_waits_and_turns_pages(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in PROGRAMS:
        running.ended(program)
    for name, value in running.variables.items():
        monkeypatch.setenv(name, value)
    sagemaker = boto3.client("sagemaker")
    for name in ("first", "second"):
        sagemaker.create_processing_job(
            ProcessingJobName=name,
            RoleArn=running.variables["SAGEMAKER_ROLE"],
            AppSpecification={"ImageUri": "byoc-vision-serve-cpu:latest", "ContainerEntrypoint": ["true"]},
            ProcessingResources={
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
            },
        )
        waiter = sagemaker.get_waiter("processing_job_completed_or_stopped")
        waiter.wait(ProcessingJobName=name, WaiterConfig={"Delay": 1})
    for kind in ("training", "processing", "transform", "hyper_parameter_tuning"):
        operation = f"list_{kind}_jobs"
        pages = list(sagemaker.get_paginator(operation).paginate(PaginationConfig={"PageSize": 1}))
        (field,) = (name for name in pages[0] if name.endswith("Summaries"))
        whole = getattr(sagemaker, operation)(MaxResults=100)[field]
        assert [page[field] for page in pages] == [[job] for job in whole] and whole, kind
