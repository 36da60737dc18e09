"""One request, two engines: what is tried on this machine is what AWS will be asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.conftest import Run, archive

#: Fields that name a machine, or what lies on it. All others must be the same.
OF_THE_MACHINE = {
    "TrainingImage", "Image", "RoleArn", "ExecutionRoleArn", "InstanceType", "S3Uri", "S3OutputPath", "ModelDataUrl",
}  # fmt: skip


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return each plain value in `value` by its path; names that end in a time are left out."""
    if isinstance(value, dict):
        return {key: leaf for name, inner in value.items() for key, leaf in leaves(inner, (*path, name)).items()}
    if isinstance(value, list):
        return {key: leaf for i, inner in enumerate(value) for key, leaf in leaves(inner, (*path, str(i))).items()}
    made_up = path[-1] in ("TrainingJobName", "HyperParameterTuningJobName", "ModelName", "EndpointConfigName")
    return {} if made_up else {path: value}


@pytest.mark.parametrize("launcher", ["train", "tune", "deploy"])
def test_the_requests_differ_only_in_what_names_the_machine(
    run: Run, pushed: None, data: Path, checkout: Path, tmp_path: Path, launcher: str
) -> None:
    arguments = {
        "train": ["--data", data, "--set", "lr=0.01", "--instance-count", "2", "--spot"],
        "tune": [checkout / "launch" / "examples" / "tune.yaml", "--data", data],
        "deploy": ["--model", archive(tmp_path / "model.tar.gz", {"model.json": b"{}"}), "--endpoint", "dogs"],
    }[launcher]
    cloud, local = (run(launcher, *arguments, "--dry-run", *engine) for engine in ([], ["--local"]))
    assert (cloud.code, local.code) == (0, 0), cloud.err + local.err
    ours, theirs = leaves(json.loads(local.out)), leaves(json.loads(cloud.out))
    assert ours.keys() == theirs.keys()
    different = {path[-1] for path in ours if ours[path] != theirs[path]}
    assert different <= OF_THE_MACHINE
    assert different, "nothing differs: is one of them the other?"
