"""How much memory a job may still take."""

import psutil
import pytest

from train import memory


@pytest.mark.parametrize(
    "names", [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")]
)
def test_a_container_has_what_its_limit_leaves(tmp_path, names):
    assert memory.available(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    folder = tmp_path if names[0] == "memory.max" else tmp_path / "memory"
    folder.mkdir(exist_ok=True)
    for name, content in zip(names, ("50000000\n", "20000000\n"), strict=True):
        (folder / name).write_text(content)
    assert memory.available(tmp_path) == 30_000_000


def test_a_container_without_a_limit_has_what_the_machine_has(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available(tmp_path) > 30_000_000
