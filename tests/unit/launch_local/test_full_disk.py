"""A disk that fills while results are written: nothing is half there, and the sentence says what to do."""

import errno
import shutil
import sys
from pathlib import Path

import pytest

from byoc_vision.contract import files
from byoc_vision.local import process, results, run_training
from byoc_vision.local.store import Record, Store
from byoc_vision.refusals import sentence

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_an_archive_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "token_hex", lambda _: "new")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(bytes(100_000))
    archive = tmp_path / "out" / "model.tar.gz"
    archive.parent.mkdir()
    archive.with_name(f".{archive.name}.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        results._pack(tmp_path / "model", archive, 0)
    assert list(archive.parent.iterdir()) == []
    assert "there is no room left for" in str(sentence(raised.value))


@pytest.mark.parametrize("error", [FULL, shutil.Error([("model", "results", str(FULL))])])
def test_a_jobs_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    store = Store(tmp_path / "local")
    record, lock = store.create("training-job", "job", {}, TrainingJobStatus="InProgress")
    lock.release()

    def fill(_: Record) -> None:
        raise error

    monkeypatch.setattr(run_training, "run", fill)
    monkeypatch.setattr(sys, "argv", ["process", str(store.root), "training-job", "job"])
    with pytest.raises(OSError, match="No space left"):
        process.main()
    assert record.status["TrainingJobStatus"] == "Failed"
    assert record.status["FailureReason"] == (
        "there is no room left for what is to be written; make some and try again"
    )
