"""The SageMaker SDK's own local mode with these images, each version a program of what its users write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from byoc_vision.local import containers, server
from local_test import draw, local_mode
from tests.e2e.conftest import CHECKOUT
from tests.e2e.small_training import FEW
from tests.e2e.test_clients import CLIENTS

PYTHONS = {"local_mode_v2": CLIENTS / "python", "local_mode_v3": Path(sys.executable)}

#: The SDK counts its uses at Amazon unless it is told not to.
CONFIGURATION = "{SchemaVersion: '1.0', SageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}}"


@pytest.mark.parametrize("program", PYTHONS)
def test_local_mode_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    if not PYTHONS[program].exists():
        pytest.skip("there are no other clients; tests/run.sh installs them")
    monkeypatch.setattr(draw, "SPLITS", FEW)
    draw.draw_set(tmp_path / "pictures")
    (tmp_path / "sdk.yaml").write_text(CONFIGURATION)
    (tmp_path / "work").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(tmp_path / "sdk.yaml"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    environment.pop("PYTHONPATH", None)  # Compose may be a Python program, with packages of its own
    file = CHECKOUT / "tests" / "e2e" / f"{program}.py"
    try:
        done = subprocess.run(
            [PYTHONS[program], file, tmp_path / "pictures", str(server.free_port())],
            cwd=tmp_path / "work",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:]
    finally:  # the SDK leaves its containers, and its network
        folder = "com.docker.compose.project.working_dir"
        wanted = f'{{{{.ID}}}} {{{{.Label "{folder}"}}}}'
        for line in containers.docker("ps", "--all", "--filter", f"label={folder}", "--format", wanted).splitlines():
            container, _, place = line.partition(" ")
            if Path(place).is_relative_to(tmp_path.resolve()):
                containers.remove(container)
        containers.docker("network", "rm", local_mode.NETWORK)  # refused, rightly, where others are using it
