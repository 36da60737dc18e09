"""What the container makes of its environment and its cgroup."""

import os
from pathlib import Path

import pytest

from classifier.errors import UserError
from serve import settings
from serve.settings import LARGE_BODY, MB, Settings, kernel_kills, used_memory, visible_cores, visible_memory


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 cores, 16 GB, no GPU."""
    monkeypatch.setattr(settings, "visible_cores", lambda: 8)
    monkeypatch.setattr(settings, "visible_memory", lambda: 16 * 1024 * MB)
    monkeypatch.setattr(settings, "visible_gpus", lambda: 0)


@pytest.mark.usefixtures("machine")
def test_defaults() -> None:
    chosen = Settings.from_environment({})
    assert (chosen.port, chosen.model_dir, chosen.multi_model) == (8080, Path("/opt/ml/model"), False)
    assert (chosen.workers, chosen.threads) == (8, 1)
    assert (chosen.max_request_bytes, chosen.memory.heap_bytes) == (6 * MB, 832 * MB)
    assert (chosen.invocation_timeout, chosen.startup_timeout) == (60, 600)


@pytest.mark.usefixtures("machine")
def test_workers_times_threads_are_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for workers, threads in ((1, 8), (2, 4), (3, 2), (16, 1)):
        chosen = Settings.from_environment({"SAGEMAKER_MODEL_SERVER_WORKERS": str(workers)})
        assert (chosen.workers, chosen.threads) == (workers, threads)
    assert Settings.from_environment({"SAGEMAKER_MULTI_MODEL": "true"}).workers == 1
    monkeypatch.setattr(settings, "visible_gpus", lambda: 1)
    assert Settings.from_environment({}).workers == 1


@pytest.mark.usefixtures("machine")
def test_requests_are_taken_together_on_gpus_or_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_environment({}).batch_size == 1
    assert Settings.from_environment({"SAGEMAKER_MODEL_SERVER_BATCH_SIZE": "4"}).batch_size == 4
    monkeypatch.setattr(settings, "visible_gpus", lambda: 2)
    assert Settings.from_environment({}).batch_size == 16
    with pytest.raises(UserError, match="SAGEMAKER_MODEL_SERVER_BATCH_SIZE is '0'"):
        Settings.from_environment({"SAGEMAKER_MODEL_SERVER_BATCH_SIZE": "0"})


@pytest.mark.usefixtures("machine")
def test_the_precision_is_one_of_three() -> None:
    assert Settings.from_environment({}).precision == "fastest"
    for name in ("fastest", "bfloat16", "float32"):
        assert Settings.from_environment({"BYOC_PRECISION": name}).precision == name
    said = r"BYOC_PRECISION is 'int8'; set it to one of fastest, bfloat16, float32, or leave it out"
    with pytest.raises(UserError, match=said):
        Settings.from_environment({"BYOC_PRECISION": "int8"})


@pytest.mark.usefixtures("machine")
def test_waiting_requests_fit_the_heap() -> None:
    for megabytes in (1, 6, 100, 1000):
        chosen = Settings.from_environment({"SAGEMAKER_MAX_PAYLOAD_IN_MB": str(megabytes)})
        memory = chosen.memory
        assert memory.large_bodies >= 2 and memory.requests > memory.large_bodies
        largest = memory.large_bodies * chosen.max_request_bytes
        most = largest + (memory.requests - memory.large_bodies) * LARGE_BODY
        assert most <= min(memory.heap_bytes, memory.direct_bytes)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("megabytes", [256, 300, 512, 1024, 2048, 4096, 16384])
def test_memory_is_divided_without_rest(monkeypatch: pytest.MonkeyPatch, megabytes: int) -> None:
    monkeypatch.setattr(settings, "visible_memory", lambda: megabytes * MB)
    chosen = Settings.from_environment({})
    memory = chosen.memory
    assert memory.heap_bytes + memory.direct_bytes + memory.workers_bytes < max(megabytes, 400) * MB
    assert chosen.workers * chosen.worker_bytes <= memory.workers_bytes
    assert chosen.workers == 8 or chosen.workers == 1 or chosen.worker_bytes >= 256 * MB
    assert chosen.workers * chosen.threads <= 8


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "two", "²"])
def test_a_value_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(UserError, match="SAGEMAKER_BIND_TO_PORT"):
        Settings.from_environment({"SAGEMAKER_BIND_TO_PORT": value})


def test_cores_are_cut_to_the_quota(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    assert visible_cores(tmp_path) == cores
    for text, expected in (("max 100000", cores), ("100000 100000", 1), ("50000 100000", 1), ("9900000 100000", cores)):
        (tmp_path / "cpu.max").write_text(text + "\n")
        assert visible_cores(tmp_path) == expected


def test_cores_are_cut_to_the_quota_of_cgroup_1(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    for quota, expected in (("-1", len(os.sched_getaffinity(0))), ("100000", 1)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
        assert visible_cores(tmp_path) == expected


def test_memory_is_the_limit_or_the_machines(tmp_path: Path) -> None:
    machine = visible_memory(tmp_path)
    assert machine > 100 * MB
    (tmp_path / "memory.max").write_text("max\n")
    assert visible_memory(tmp_path) == machine
    (tmp_path / "memory.max").write_text(f"{50 * MB}\n")
    assert visible_memory(tmp_path) == 50 * MB


def test_memory_that_files_only_borrow_is_not_used(tmp_path: Path) -> None:
    assert (used_memory(tmp_path), kernel_kills(tmp_path)) == (0, 0)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 250\nactive_file 50\n")
    (tmp_path / "memory.events").write_text("oom 5\noom_kill 2\n")
    assert (used_memory(tmp_path), kernel_kills(tmp_path)) == (700, 2)


def test_memory_in_use_under_cgroup_1(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("1000\n")
    (tmp_path / "memory" / "memory.stat").write_text("rss 600\ninactive_file 300\nactive_file 0\n")
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert (used_memory(tmp_path), kernel_kills(tmp_path)) == (700, 1)
