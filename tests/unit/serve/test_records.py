"""That a model's workers choose one form, that none dies of the same one twice, and what the next start is told."""

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

    def decide(_: Trials) -> tuple[str, str]:
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


def test_the_next_worker_decides_when_the_first_fails(tmp_path: Path) -> None:
    def fail(trials: Trials) -> tuple[str, str]:
        with trials.of("float32"):
            raise MemoryError

    with pytest.raises(MemoryError):
        records.once(tmp_path / "record", fail)
    assert records.once(tmp_path / "record", lambda trials: ("float32", str([*trials.ended]))) == ("float32", "[]")


def test_the_next_worker_is_told_which_form_has_ended_the_first(tmp_path: Path) -> None:
    def end(trials: Trials) -> tuple[str, str]:
        with trials.of("float32"):
            pass
        with trials.of("bfloat16"):
            os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    model, folder = tmp_path / "model", tmp_path / "forms"
    assert records.ended(model, folder) == frozenset()
    model.mkdir()
    assert records.ended(model, folder) == frozenset()
    folder.mkdir()
    child = os.fork()
    if child == 0:
        try:
            records.once(records.shared(model, folder), end)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert records.ended(model, folder) == {"bfloat16"}
    told = records.once(records.shared(model, folder), lambda trials: ("float32", " ".join(trials.ended)))
    assert told == ("float32", "bfloat16")
    assert records.ended(model, folder) == {"bfloat16"}


def test_another_model_in_the_same_folder_has_a_file_of_its_own(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    first = records.shared(model, tmp_path)
    assert first == records.shared(model, tmp_path)
    model.rmdir()
    time.sleep(0.01)
    model.mkdir()
    assert records.shared(model, tmp_path) != first


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
