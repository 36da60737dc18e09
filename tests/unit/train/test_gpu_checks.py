"""The checks of `python -m bench gpu`, on the CPU: their logic, and that they need none of the toolkits."""

import os
import subprocess
import sys

import pytest

from bench.gpu import groups
from bench.gpu.setting import Setting
from bench.machine import ROOT
from bench.pictures import draw_set

#: What is in the images, and not on a machine that has torch alone.
MISSING = ("smdebug", "sagemaker_training", "sagemaker_inference", "mms", "openvino", "pandas", "boto3", "matplotlib")

#: Rows of each group that only a GPU can show.
ON_A_GPU = {
    "training": {"features in float16"},
    "resume": set(),
    "serving": {"forms of a GPU: float16, bfloat16"},
    "rules": set(),
    "replicas": {"nccl, one process"},
    "speed": {f"all layers, {kind}: load of the GPU in our profile" for kind in ("float32", "bfloat16")},
}


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    place = tmp_path_factory.mktemp("gpu")
    return Setting(draw_set(place / "data", classes=3, train=6, others=4), place / "scratch").dry()


@pytest.mark.parametrize("group", groups.GROUPS)
def test_all_is_right_without_a_gpu_and_what_needs_one_is_said(setting: Setting, group: str) -> None:
    result = groups.check(setting, print, [group])
    assert [verdict for verdict in result.verdicts if not verdict.reached] == []
    rows = result.tables[0].rows
    assert {what for _, what, figure, *_ in rows if figure.startswith("needs")} == ON_A_GPU[group]
    assert result.verdicts


def test_nothing_of_the_toolkits_is_needed() -> None:
    names = [f"bench.gpu.{group}" for group in groups.GROUPS]
    program = f"""
import sys
for name in {MISSING}:
    sys.modules[name] = None
from importlib import import_module
import bench.__main__
for name in {names}:
    import_module(name)
from bench.gpu import toolkits
toolkits.stand_in()
from serve.worker import Worker
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    # In the checkout: the image's own copy, where its processes begin, is not all there is.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
