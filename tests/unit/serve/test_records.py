"""That a model's workers choose one form, that none dies of the same one twice, and what the next start is told."""

import fcntl
import io
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from serve import processor, records
from serve.records import Kept, Trials

CIRCUMSTANCES = {"model": "a digest", "processor": "a name", "forms": "float32, bfloat16"}


def test_one_worker_decides_for_all(tmp_path: Path) -> None:
    decisions = []

    def decide() -> tuple[str, str]:
        time.sleep(0.05)
        decisions.append(None)
        return "bfloat16", f"decision {len(decisions)}"

    results: list[tuple[str, str]] = []
    workers = [
        threading.Thread(target=lambda: results.append(records.once(tmp_path / "record", decide))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [("bfloat16", "decision 1")] * 4


def test_the_next_worker_decides_when_the_first_fails_or_dies(tmp_path: Path) -> None:
    def fail() -> tuple[str, str]:
        raise MemoryError

    def die() -> tuple[str, str]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    with pytest.raises(MemoryError):
        records.once(tmp_path / "record", fail)
    child = os.fork()
    if child == 0:
        try:
            records.once(tmp_path / "record", die)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert records.once(tmp_path / "record", lambda: ("float32", "")) == ("float32", "")


def test_what_the_models_own_code_forks_does_not_keep_the_file(tmp_path: Path) -> None:
    forked = []

    def fork() -> tuple[str, str]:
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        forked.append(child)
        return "bfloat16", ""

    records.once(tmp_path / "record", fork)
    try:
        with (tmp_path / "record").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(forked[0], signal.SIGKILL)
        os.waitpid(forked[0], 0)


def test_trials_are_told_before_and_after() -> None:
    told = io.StringIO()
    trials = Trials(told)
    with trials.of("float32"):
        assert told.getvalue() == '["trying", "float32"]\n'
    with pytest.raises(MemoryError), trials.of("bfloat16"):
        raise MemoryError
    assert [json.loads(line)[0] for line in told.getvalue().splitlines()] == ["trying", "tried"] * 2


def test_another_model_in_the_same_folder_has_a_file_of_its_own(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    first = records.shared(model, tmp_path)
    assert first == records.shared(model, tmp_path)
    model.rmdir()
    time.sleep(0.01)
    model.mkdir()
    assert records.shared(model, tmp_path) != first


def test_of_a_model_that_is_gone_no_file_is_left(tmp_path: Path) -> None:
    files = []
    for name in ("model", "model[1]"):
        (tmp_path / name).mkdir()
        files.append(records.shared(tmp_path / name, tmp_path))
        files[-1].touch()
    (tmp_path / "model[1]").rmdir()
    records.forget(tmp_path / "model[1]", tmp_path)
    assert [file.exists() for file in files] == [True, False]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setenv("BYOC_FORMS", str(tmp_path / "kept"))
    return Kept.under(CIRCUMSTANCES)


def test_what_was_chosen_is_kept_for_the_same_circumstances(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    assert kept.read() is None
    kept.write("bfloat16")
    assert Kept.under(dict(reversed(CIRCUMSTANCES.items()))).read() == "bfloat16"
    for name in CIRCUMSTANCES:
        assert Kept.under(CIRCUMSTANCES | {name: "another"}).read() is None
    assert caplog.records == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"bfloat16"',
        b"[" * 10_000,
        b"\xff\xfe",
        b"x" * 100_000,
        json.dumps({"form": "bfloat16"}).encode(),
        json.dumps({"circumstances": CIRCUMSTANCES}).encode(),
        json.dumps({"form": "bfloat16", "circumstances": CIRCUMSTANCES | {"processor": "another"}}).encode(),
    ],
)
def test_a_record_that_cannot_be_used_is_told_and_replaced(
    kept: Kept, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kept.file.parent.mkdir()
    kept.file.write_bytes(content)
    assert kept.read() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    kept.write("int8")
    assert kept.read() == "int8"


def test_a_record_that_was_cut_off_is_not_used(kept: Kept) -> None:
    kept.write("bfloat16")
    whole = kept.file.read_bytes()
    for length in range(len(whole)):
        kept.file.write_bytes(whole[:length])
        assert kept.read() is None


def test_a_record_that_is_no_file_is_not_used(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.file.parent.mkdir()
    os.mkfifo(kept.file)
    assert kept.read() is None
    kept.file.unlink()
    kept.file.mkdir()
    assert kept.read() is None
    kept.write("int8")
    assert "is not kept for the next start" in caplog.records[-1].message


def test_a_place_that_cannot_be_written_is_told(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.file.parent.write_text("a file, where a folder should be")
    kept.write("int8")
    assert "is not kept for the next start" in caplog.records[-1].message
    assert kept.read() is None


def test_a_processor_is_known_by_its_name_and_by_what_it_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(text: str) -> str:
        (tmp_path / "cpuinfo").write_text(text)
        return processor.name()

    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    full = name("model name\t: A CPU\nflags\t\t: avx2 avx512f\n\nmodel name\t: A CPU\nflags\t\t: avx2 avx512f\n")
    assert full.startswith("A CPU, ") and processor.instructions() == {"avx2", "avx512f"}
    assert name("model name\t: A CPU\nflags\t\t: avx2\n") != full
    assert name("nothing") == name("") != full
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert name("model name\t: A CPU\nflags\t\t: avx2 avx512f\n") != full
