"""How a job's containers are run to their end, with a docker client that the tests play."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers, hosts, run_training, training
from byoc_vision.local.hosts import Hosts
from byoc_vision.local.store import Record, Store

FULL = OSError(errno.ENOSPC, "No space left on device")

Play = Callable[[str], Path]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Return a function that makes `docker` a script, and gives the file in which it notes what it is asked."""

    def write(script: str) -> Path:
        client, calls = tmp_path / "bin" / "docker", tmp_path / "calls"
        client.parent.mkdir()
        client.write_text(f'#!/bin/sh\necho "$@" >>"{calls}"\n{script}\n')
        client.chmod(0o755)
        monkeypatch.setenv("PATH", f"{client.parent}:{os.environ['PATH']}")
        return calls

    return write


@pytest.fixture
def record(tmp_path: Path) -> Record:
    request = {
        "AlgorithmSpecification": {"TrainingImage": "image"},
        "OutputDataConfig": {"S3OutputPath": (tmp_path / "results").as_uri()},
        "ResourceConfig": {"InstanceType": "local", "InstanceCount": 1},
    }
    record, lock = Store(tmp_path / "store").create(training.KIND, "job", request, TrainingJobStatus="InProgress")
    lock.release()
    return record


def test_what_docker_itself_says_is_the_reason(play: Play, record: Record) -> None:
    play("echo 'docker: Error response from daemon: no such device.'; echo \"Run 'docker run --help'\"; exit 125")
    ending = Hosts(record, {"algo-1": ["image"]}).run()
    reason = "docker: Error response from daemon: no such device."
    assert ending.reason() == f"InternalServerError: Docker did not run the container to its end ({reason})"


@pytest.mark.parametrize(("status", "clears"), [(0, False), (1, False), (125, True)])
def test_docker_is_asked_for_what_is_left_only_where_something_may_be(
    play: Play, record: Record, status: int, clears: bool
) -> None:
    calls = play(f'[ "$1" != run ] || exit {status}')
    run_training.run(record)
    asked = [line.split()[0] for line in calls.read_text().splitlines()]
    assert asked == ["run", "ps"] if clears else asked == ["run"]
    assert not list(record.folder.glob("attempt-*"))


def test_a_job_that_is_begun_again_is_rid_of_what_its_last_attempt_has_left(play: Play, record: Record) -> None:
    calls = play('case $1 in ps) [ -f "$0.removed" ] || echo old ;; rm) touch "$0.removed" ;; esac')
    record.update(Restarts=1)
    run_training.run(record)
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["ps", "rm", "run"]


def test_a_job_has_the_shared_memory_of_a_machine() -> None:
    options = hosts.options({"A": "b"}, "ml.m5.large")
    size = int(options[options.index("--shm-size") + 1])
    assert options[:2] == ["--env", "A=b"]
    assert size == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def test_an_isolated_host_reaches_itself_by_its_name(play: Play, record: Record) -> None:
    calls = play("")
    request = record.request | {"EnableNetworkIsolation": True}
    isolated, lock = record.store.create(training.KIND, "isolated", request, TrainingJobStatus="InProgress")
    with lock:
        Hosts(isolated, {"algo-1": ["image"]}).run()
    assert "--network none --add-host algo-1:127.0.0.1 image" in calls.read_text()


@pytest.mark.parametrize(
    ("field", "name"),
    [("HyperParameters", "sagemaker_submit_directory"), ("Environment", "SAGEMAKER_SUBMIT_DIRECTORY")],
)
def test_code_in_s3_or_on_this_machine_is_mounted(
    play: Play, record: Record, tmp_path: Path, field: str, name: str
) -> None:
    calls = play("")
    (tmp_path / "source").mkdir()
    request = record.request | {field: {name: (tmp_path / "source").as_uri()}}
    named, lock = record.store.create(training.KIND, "named", request, TrainingJobStatus="InProgress")
    with lock:
        run_training.Attempt(named, tmp_path / "scratch").run()
    assert f"source={tmp_path}/source" in calls.read_text()
    told = json.loads((tmp_path / "scratch/algo-1/input/config/hyperparameters.json").read_text())
    assert told["sagemaker_submit_directory"] == '"/opt/ml/code"'


def test_lines_are_logged_as_they_come_and_the_last_of_a_progress_bar_counts(play: Play, record: Record) -> None:
    play(r"printf 'a\r 50 %%\r100 %%\n\033[1mb\033[0m\nlast'; exit 3")
    seen: list[str] = []
    ending = Hosts(record, {"algo-1": ["image"]}, seen.append).run()
    assert seen == ["100 %", "b", "last"]
    assert ending.reason("it broke off") == "AlgorithmError: it broke off, exit code: 3"
    assert [line.split(" ", 1)[1] for line in (record.folder / "log").read_text().splitlines()] == seen


def test_a_full_disk_under_the_log_ends_the_container(play: Play, record: Record) -> None:
    calls = play('[ "$1" = run ] && while :; do echo line || exit; done')

    def fail(_: str) -> None:
        raise FULL

    with pytest.raises(OSError, match="No space left"):
        Hosts(record, {"algo-1": ["image"]}, fail).run()
    assert "rm --force --volumes byoc-vision-job-algo-1-" in calls.read_text()


def test_what_breaks_off_one_host_takes_the_others_down(play: Play, record: Record) -> None:
    calls = play(
        'case $1 in run) echo "$6" >>"$0.names"; until [ -f "$0.$6" ]; do echo line; sleep 0.05; done ;;'
        'ps) cat "$0.names" ;; rm) touch "$0.$4" ;; esac'
    )
    looks = iter([FULL])

    def fail_once(_: str) -> None:
        for error in looks:
            raise error

    with pytest.raises(OSError, match="No space left"):
        Hosts(record, {"algo-1": ["image"], "algo-2": ["image"]}, fail_once).run()
    removed = {line.split()[-1].rpartition("-")[0] for line in calls.read_text().splitlines() if line.startswith("rm ")}
    assert removed == {"byoc-vision-job-algo-1", "byoc-vision-job-algo-2"}


def test_a_full_disk_while_data_are_prepared_starts_nothing_and_leaves_nothing(
    play: Play, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = play("")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to("/etc/hostname")
    source = {"S3DataSource": {"S3Uri": (tmp_path / "data").as_uri()}}
    request = record.request | {"InputDataConfig": [{"ChannelName": "training", "DataSource": source}]}
    monkeypatch.setattr(Record, "request", request)

    def fill(folder: Path, place: Path) -> None:
        place.mkdir(parents=True)
        raise FULL

    monkeypatch.setattr(run_training, "follow_links", fill)
    with pytest.raises(OSError, match="No space left"):
        run_training.run(record)
    assert not calls.exists()
    assert not list(record.folder.glob("attempt-*"))


def test_a_network_that_cannot_be_made_is_said(play: Play, record: Record) -> None:
    play("echo 'Error response from daemon: could not find an available address pool' >&2; exit 1")
    with pytest.raises(UserError, match=r"docker network failed: .* address pool"):
        Hosts(record, {"algo-1": ["image"], "algo-2": ["image"]}).run()


def test_one_container_gives_all_folders_to_a_caller_who_is_not_root(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = play("")
    strange = [tmp_path / "a, b", tmp_path / 'c "d"']
    for folder in strange:
        (folder / "of root").mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: 1234567)
    containers.give_to_caller("image", *strange, tmp_path / "bin" / "none")
    (call,) = calls.read_text().splitlines()
    assert f'"type=bind","source={tmp_path}/a, b","target=/0"' in call
    assert f'"source={tmp_path}/c ""d"""' in call
    assert "image -R -h 1234567:" in call and call.endswith("/0 /1")
