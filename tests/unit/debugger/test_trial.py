"""Recordings in whatever state a job left them, and smdebug's own reading beside ours."""

from pathlib import Path

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError
from smdebug.core.modes import ModeKeys
from smdebug.trials import create_trial

from byoc_vision.debugger.finished_trial import KEPT, FinishedTrial, RecordingError, recorded
from byoc_vision.debugger.rules.tensors import VanishingGradient
from byoc_vision.debugger.smdebug_adapter import SmdebugTrial
from byoc_vision.debugger.trial import Mode
from tests.unit.debugger.jobs import EVAL, GLOBAL, LOSS, REDUCTIONS, TRAIN, Recorder

GRADIENT = "gradient/Net_fc.weight"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return a recording of six steps, two of them of evaluation."""
    folder = tmp_path / "debugger"
    recorder = Recorder(folder)
    for i in range(6):
        mode = EVAL if i % 3 == 2 else TRAIN
        gradient = np.full((2, 3), i + 0.5)
        big = np.arange(KEPT // 4 + 1, dtype=np.float32) + i
        recorder.save({LOSS: np.float32(1 / (i + 1)), GRADIENT: gradient, "big": big}, mode)
        recorder.save({"reduced": gradient}, mode, reduced=True)
    recorder.end()
    return folder


def test_reads_the_same_as_smdebug(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_END_DELAY_REFRESH", "0")
    ours, theirs = FinishedTrial(recording), create_trial(str(recording))
    assert ours.notes == []
    assert list(ours.steps) == theirs.steps() == list(range(12))
    numbers = {mode: [n for its, n in map(ours.mode_step, ours.steps) if its is mode] for mode in (TRAIN, EVAL)}
    assert numbers[EVAL] == theirs.steps(mode=ModeKeys.EVAL)
    assert sorted(ours.steps[0]) == theirs.tensor_names(step=0)
    assert ours.modes == {Mode(mode.value) for mode in theirs.modes()} == {TRAIN, EVAL}
    for name in (LOSS, GRADIENT, "big"):
        assert [step for step in ours.steps if name in ours.steps[step]] == theirs.tensor(name).steps()
        for step in theirs.tensor(name).steps():
            one, other = ours.value(name, step), theirs.tensor(name).value(step)
            assert one.dtype == other.dtype and np.array_equal(one, other)
            mode, number = theirs.mode_modestep(step)
            assert ours.mode_step(step) == (Mode(mode.value), number)
    for reduction, absolute in (("mean", False), ("mean", True), ("std", False)):
        value = theirs.tensor("reduced").reduction_value(1, reduction, abs=absolute)
        assert ours.reduction("reduced", 1, reduction, absolute) == value
    evaluated = {number: step for step in ours.steps for mode, number in [ours.mode_step(step)] if mode is EVAL}
    losses = {number: ours.value(LOSS, step) for number, step in evaluated.items() if LOSS in ours.steps[step]}
    assert losses == theirs.tensor(LOSS).values(mode=ModeKeys.EVAL)
    before = [step for step in ours.steps if step <= 7 and LOSS in ours.steps[step]]
    assert before[-2:] == theirs.tensor(LOSS).prev_steps(7, 2)
    assert sorted(ours.workers) == theirs.tensor(LOSS).workers(2, mode=ModeKeys.TRAIN)
    assert ours.value(GRADIENT, 2).shape == theirs.tensor(GRADIENT).shape(2)
    assert ours.reduction(GRADIENT, 2, "max") == theirs.tensor(GRADIENT).reduction_value(2, "max")
    [first] = [step for step in ours.steps if ours.mode_step(step) == (TRAIN, 1)]
    assert sorted(ours.steps[first]) == theirs.tensor_names(step=1, mode=ModeKeys.TRAIN)
    names = {name for step in evaluated.values() for name in ours.steps[step]}
    assert sorted(names) == theirs.tensor_names(mode=ModeKeys.EVAL)
    assert ours.value("reduced", 1) is None
    assert all(ours.reduction("reduced", 1, *reduction) is not None for reduction in REDUCTIONS)


def test_rules_read_a_trial_of_smdebugs_own_alike(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_END_DELAY_REFRESH", "0")
    trial = create_trial(str(recording))
    ours, theirs = FinishedTrial(recording), SmdebugTrial(trial)
    assert trial.steps() == list(ours.steps) and theirs.ended  # now that it has looked for more
    assert {step: set(names) for step, names in theirs.steps.items()} == ours.steps
    assert theirs.modes == ours.modes
    for step, names in ours.steps.items():
        assert theirs.mode_step(step) == ours.mode_step(step)
        for name in names:
            np.testing.assert_equal(theirs.value(name, step), ours.value(name, step))
            for reduction in (("mean", False), ("mean", True), ("std", False), ("min", False)):
                assert theirs.reduction(name, step, *reduction) == ours.reduction(name, step, *reduction)
    assert set(theirs.collections) == set(ours.collections) > {"gradients", "losses"}
    for name, collection in ours.collections.items():
        assert list(collection.include_regex) == list(theirs.collections[name].include_regex)
        assert collection.tensor_names == theirs.collections[name].tensor_names


def test_events_of_one_tensor_that_differ_in_form(tmp_path: Path) -> None:
    recorder, name = Recorder(tmp_path), "layer." * 50
    values = [np.zeros(3), np.ones(3, np.float32), np.ones((3, 1), np.int64), np.float32(7), np.array([]), np.ones(3)]
    for mode, value in zip((TRAIN, EVAL, GLOBAL) * 2, values, strict=True):
        recorder.save({name: value, "loss": np.float32(1)}, mode)
    trial = FinishedTrial(tmp_path)
    for step, value in enumerate(values):
        read = trial.value(name, step)
        assert read.dtype == value.dtype and np.array_equal(read, value)
    assert [trial.mode_step(step)[0] for step in range(6)] == [TRAIN, EVAL, GLOBAL] * 2


def test_every_place_to_break_off_leaves_what_came_before(recording: Path) -> None:
    last = sorted(recording.glob("events/*/*.tfevents"))[10]
    content = last.read_bytes()
    for end in (0, 5, 11, 200, len(content) // 2, len(content) - 1):
        last.write_bytes(content[:end])
        trial = FinishedTrial(recording)
        assert bool(trial.notes) is (end > 0)
        assert [step for step in trial.steps if LOSS in trial.steps[step]][:5] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("junk", [b"junk" * 100, b"\x01" * 64, b"\xff" * 1000, bytes(50)])
def test_a_file_of_something_else_is_said_to_be_damaged(recording: Path, junk: bytes) -> None:
    (recording / "events" / "000000000099").mkdir()
    (recording / "events" / "000000000099" / "000000000099_worker_0.tfevents").write_bytes(junk)
    trial = FinishedTrial(recording)
    assert trial.notes == ["Event files are damaged (1); what could be read of them counts."]
    assert list(trial.steps) == list(range(12))


def test_without_its_collections_tensors_are_told_apart_by_name(recording: Path) -> None:
    for file in recording.glob("collections/*/*"):
        file.write_text('{"collections": ')
    trial = FinishedTrial(recording)
    assert "No collection file" in trial.notes[-1]
    rule = VanishingGradient(trial, threshold=1)
    assert rule.invoke_at_step(0) and not rule.invoke_at_step(2)


def test_workers_that_recorded_different_steps(recording: Path) -> None:
    other = Recorder(recording, "worker_1")
    other.save({LOSS: np.float32(9)}, TRAIN, at=0)
    other.save({LOSS: np.float32(9)}, TRAIN, at=20)
    trial = FinishedTrial(recording)
    assert "2 workers" in trial.notes[0]
    assert trial.value(LOSS, 0) == 1 and trial.value(LOSS, 20) == 9
    assert list(trial.steps)[-1] == 20


def test_nothing_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with recorded(str(tmp_path / "empty")) as trial:
        assert trial.steps == {} and "holds no tensors" in trial.notes[-1]
    with pytest.raises(RecordingError, match="left no debugger recording"), recorded(str(tmp_path / "missing")):
        pass


class Bucket:
    """The two calls of an S3 client that fetching makes."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder, self.error = folder, error

    def get_paginator(self, _: str) -> "Bucket":
        return self

    def paginate(self, Bucket: str, Prefix: str):  # noqa: N803
        assert Bucket == "bucket" and Prefix == "job/debug-output/"
        if self.error:
            raise self.error
        files = (file for file in self.folder.rglob("*") if file.is_file())
        yield {"Contents": [{"Key": Prefix + str(file.relative_to(self.folder))} for file in files]}
        yield {"Contents": [{"Key": Prefix + "events/../../../outside"}, {"Key": Prefix + "claim.smd"}]}

    def download_file(self, bucket: str, key: str, target: str) -> None:
        Path(target).write_bytes((self.folder / key.removeprefix("job/debug-output/")).read_bytes())


def test_a_recording_in_s3_is_fetched(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "client", lambda _: Bucket(recording))
    with recorded("s3://bucket/job/debug-output") as trial:
        assert list(trial.steps) == list(range(12))
        assert trial.value(LOSS, 0) == 1


def test_a_recording_in_s3_without_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListObjectsV2")
    monkeypatch.setattr(boto3, "client", lambda _: Bucket(tmp_path, denied))
    with (
        pytest.raises(RecordingError, match=r"s3://bucket/job/debug-output could not be read: .*AccessDenied"),
        recorded("s3://bucket/job/debug-output"),
    ):
        pass
