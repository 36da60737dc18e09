"""Records, their locks, and the pages of lists."""

import subprocess
import sys
from pathlib import Path

import pytest

from byoc_vision.local.files import path
from byoc_vision.local.store import ServiceError, Store, page, refuse


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_record_is_created_once(store: Store) -> None:
    record, lock = store.create("model", "dogs", {"ModelName": "dogs"}, State="new")
    lock.release()
    assert store.find("model", "dogs").request == {"ModelName": "dogs"}
    assert record.status["State"] == "new"
    with pytest.raises(ServiceError, match="already existing model dogs") as taken:
        store.create("model", "dogs", {})
    assert taken.value.code == "ResourceInUse"
    assert [each.name for each in store.all("model")] == ["dogs"]
    record.remove()
    assert list(store.all("model")) == []
    with pytest.raises(ServiceError, match="Could not find model dogs"):
        store.find("model", "dogs")
    with pytest.raises(ServiceError, match="Could not find model dogs"):
        _ = record.status


@pytest.mark.parametrize("name", ["", "../dogs", ".dogs", "dogs/cats", "-dogs", "d" * 64, "dögs"])
def test_names_that_are_none(store: Store, name: str) -> None:
    with pytest.raises(ServiceError, match="is no name"):
        store.create("model", name, {})


def test_an_update_with_none_removes_the_field(store: Store) -> None:
    record, lock = store.create("model", "dogs", {}, One=1, Two=2)
    with lock:
        record.update(One=None, Two=3)
    assert "One" not in record.status
    assert record.status["Two"] == 3


def test_a_lock_ends_with_the_process_that_has_it(store: Store) -> None:
    record, lock = store.create("model", "dogs", {})
    assert record.take() is None
    code = "import sys; print('has it', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[lock.descriptor]
    ) as process:
        lock.release()
        assert process.stdout is not None
        process.stdout.readline()
        assert record.take() is None
        process.kill()
        process.wait()
        taken = record.take()
    assert taken is not None
    taken.release()


def test_pages() -> None:
    found = [{"Name": f"job-{n}", "Status": "Failed" if n == 2 else "Completed", "CreationTime": n} for n in range(5)]

    def names(**request: object) -> list[str]:
        return [each["Name"] for each in page(found, request, "Jobs", "Status", "Name")["Jobs"]]

    assert names() == ["job-4", "job-3", "job-2", "job-1", "job-0"]
    assert names(StatusEquals="Failed") == ["job-2"]
    assert names(NameContains="3") == ["job-3"]
    assert names(SortBy="Name", SortOrder="Ascending", MaxResults=2) == ["job-0", "job-1"]
    first = page(found, {"MaxResults": 3}, "Jobs", "Status", "Name")
    assert names(MaxResults=3, NextToken=first["NextToken"]) == ["job-1", "job-0"]
    assert "NextToken" not in page(found, {"MaxResults": 3, "NextToken": "3"}, "Jobs", "Status", "Name")


def test_paths_of_uris(tmp_path: Path) -> None:
    folder = tmp_path / "with blank, ümlaut #1"
    assert path(folder.as_uri()) == folder
    assert path(f"{folder.as_uri()}/") == folder
    for uri in ("s3://bucket/key", "/tmp", "file://host/tmp"):
        with pytest.raises(ServiceError, match="not on this machine"):
            path(uri)


def test_what_is_not_done_is_refused() -> None:
    refuse({"Autotune": None, "Other": 1}, "Autotune")
    with pytest.raises(ServiceError, match="has no Autotune"):
        refuse({"Autotune": {"Mode": "Enabled"}}, "Autotune")
