"""What the container makes of its environment and its cgroup."""

import math
import os
import resource
from operator import mul
from pathlib import Path

import pytest

from byoc_vision.contract.errors import UserError
from serve import settings
from serve.memory import LARGE_BODY, MB, MEDIUM_BODY
from serve.settings import Settings, visible_cores, visible_threads


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 cores, 16 GB, no GPU."""
    monkeypatch.setattr(settings, "visible_cores", lambda: 8)
    monkeypatch.setattr(settings, "visible_memory", lambda: 16 * 1024 * MB)
    monkeypatch.setattr(settings, "visible_gpus", lambda: 0)
    monkeypatch.setattr(settings, "visible_threads", lambda: math.inf)


@pytest.mark.usefixtures("machine")
def test_defaults() -> None:
    chosen = Settings.from_environment({})
    assert (chosen.port, chosen.model_dir, chosen.multi_model) == (8080, Path("/opt/ml/model"), False)
    assert (chosen.workers, chosen.threads) == (8, 1)
    assert (chosen.max_request_bytes, chosen.memory.heap_bytes) == (6 * MB, 1040 * MB)
    assert (chosen.invocation_timeout, chosen.startup_timeout) == (60, 600)


@pytest.mark.usefixtures("machine")
def test_workers_times_threads_are_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for workers, threads in ((1, 8), (2, 4), (3, 2), (16, 1)):
        chosen = Settings.from_environment({"SAGEMAKER_MODEL_SERVER_WORKERS": str(workers)})
        assert (chosen.workers, chosen.threads) == (workers, threads)
    assert Settings.from_environment({"SAGEMAKER_MULTI_MODEL": "True"}).workers == 1
    with pytest.raises(UserError, match="SAGEMAKER_MULTI_MODEL is 'yes'; set it to one of false, true, or"):
        Settings.from_environment({"SAGEMAKER_MULTI_MODEL": "yes"})
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
def test_the_least_probability_is_a_share() -> None:
    assert Settings.from_environment({}).min_probability == 0
    assert Settings.from_environment({"BYOC_MIN_PROBABILITY": "0.85"}).min_probability == 0.85
    for text in ("85 %", "1.5", "-0.1", "nan", ""):
        with pytest.raises(UserError, match="set it to a number from 0 to 1, or leave it out"):
            Settings.from_environment({"BYOC_MIN_PROBABILITY": text})


@pytest.mark.usefixtures("machine")
def test_waiting_requests_fit_the_heap() -> None:
    for megabytes in (1, 6, 100, 1000):
        chosen = Settings.from_environment({"SAGEMAKER_MAX_PAYLOAD_IN_MB": str(megabytes)})
        memory = chosen.memory
        assert memory.large >= 1 and memory.small > memory.medium > 0
        longest = (MEDIUM_BODY, LARGE_BODY, chosen.max_request_bytes)
        most = sum(map(mul, (memory.small, memory.medium, memory.large), longest))
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


@pytest.mark.usefixtures("machine")
def test_options_of_java_are_words_as_a_shell_reads_them() -> None:
    name = "SAGEMAKER_MODEL_SERVER_VMARGS"
    assert Settings.from_environment({name: "-Xss1m '-Da=b c'"}).jvm_options == ("-Xss1m", "-Da=b c")
    with pytest.raises(UserError, match=r"SAGEMAKER_MODEL_SERVER_VMARGS is .* as a shell would read it"):
        Settings.from_environment({name: "-Da='b"})


@pytest.mark.usefixtures("machine")
def test_there_are_as_many_connections_as_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, connections in ((math.inf, 2048), (1_048_576, 2048), (1024, 832), (384, 192)):
        monkeypatch.setattr(settings, "visible_files", lambda files=files: files)
        assert Settings.from_environment({}).connections == connections
    monkeypatch.setattr(settings, "visible_files", lambda: 383)
    with pytest.raises(UserError, match="383 files, and needs 384; start the container with a higher --ulimit nofile"):
        Settings.from_environment({})


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


@pytest.mark.usefixtures("machine")
def test_too_few_threads_are_told_at_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limits = [resource.RLIM_INFINITY] * 2  # of the user's processes
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    assert visible_threads(tmp_path) == math.inf
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids" / "pids.max").write_text("64\n")
    assert visible_threads(tmp_path) == 64
    limits[:] = [30, 30]
    assert visible_threads(tmp_path) == 30
    monkeypatch.setattr(settings, "visible_threads", lambda: 64)
    with pytest.raises(UserError, match=r"64 processes and threads, and needs 96.*--pids-limit"):
        Settings.from_environment({})
