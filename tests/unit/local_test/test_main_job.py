"""What the main job decides without containers."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.debugger.job import Prediction
from local_test import draw
from local_test.main_job import (
    TrialError,
    check_room,
    curl,
    hold,
    hyperparameters,
    main,
    make_room,
    read_output,
    spread,
    train,
)


def test_drawn_pictures_are_trained_from_scratch() -> None:
    assert hyperparameters(data=None, weights=None) == draw.HYPERPARAMETERS


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("mobilenet_v2-9dda7561.pth", {"arch": "mobilenet_v2"}),
        ("resnet50-11ad3fa6.safetensors", {"arch": "resnet50"}),
        ("my-own-weights.pth", {}),
        ("resnet18.pth", {}),
    ],
)
def test_the_weights_file_names_its_architecture_as_torchvision_does(weights: str, expected: dict[str, str]) -> None:
    assert hyperparameters(Path("pictures"), Path("folder") / weights) == expected


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--data", ""], 2, "--data: it is empty; name a folder or a file"),
        (["--data", "train/cat"], 1, "holds pictures without class folders"),
        (["--weights", "page.pth"], 1, "page.pth is an HTML page"),
        (["--out", "page.pth"], 1, "error: {out}: Not a directory; check the name"),
        (["--out", "page.pth/out"], 1, "error: {out}: Not a directory; check the name"),
    ],
)
def test_a_mistake_costs_no_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str],
    code: int, said: str,
) -> None:  # fmt: skip
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "0.jpg").write_bytes(b"picture")
    (tmp_path / "page.pth").write_text("<html></html>")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was started"))
    monkeypatch.setattr(sys, "argv", ["run.sh", "--out", str(tmp_path / "out"), *arguments])
    with pytest.raises(SystemExit) as ended:
        sys.exit(main())
    assert ended.value.code == code and said.format(out=tmp_path / arguments[1]) in capsys.readouterr().err


def test_own_pictures_without_weights_are_trained_by_the_defaults() -> None:
    assert hyperparameters(Path("pictures"), None) == {}


def test_the_pictures_asked_about_come_from_all_classes_in_turn() -> None:
    tested = [Prediction(f"{label}{i}", label, "x", 0.9) for label in "bac" for i in range(3)]
    assert [each.file for each in spread(tested, 7)] == ["a0", "b0", "c0", "a1", "b1", "c1", "a2"]
    assert len(spread(tested, 20)) == len(tested)


def test_the_job_takes_as_many_cores_as_the_caller_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Local:
        results = tmp_path / "results"

        def train(self, request: dict[str, Any], show: object) -> dict[str, datetime]:
            asked.append(request["Environment"])
            return dict.fromkeys(("TrainingStartTime", "TrainingEndTime"), datetime.now(UTC))

    asked: list[dict[str, str]] = []
    for threads in ("1", None):
        monkeypatch.setenv("OMP_NUM_THREADS", "1") if threads else monkeypatch.delenv("OMP_NUM_THREADS")
        train(Local(), "job", tmp_path, None, {}, tmp_path)  # type: ignore[arg-type]
    assert asked == [{"OMP_NUM_THREADS": "1"}, {}]


def test_data_without_test_pictures_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"validation_accuracy": 0.9}))
    with pytest.raises(TrialError, match="pictures has no test pictures"):
        read_output(tmp_path, Path("pictures"))


def test_curl_is_given_the_picture_as_it_is() -> None:
    assert "@/folder/a b.jpg" in curl(8080, Path("/folder/a b.jpg"))


def test_what_an_earlier_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    out, data = tmp_path / "out", tmp_path / "out" / "pictures"
    check_room(out)
    make_room(out)
    for folder in (data, out / "output"):
        (folder / "deeper").mkdir(parents=True)
    (out / "training.log").touch()
    with pytest.raises(TrialError, match=r"pictures lies in .*out, which is emptied first; name another folder"):
        check_room(out, data)
    check_room(out, tmp_path, None)
    make_room(out)
    assert not list(out.iterdir())
    (out / "thesis").mkdir()
    with pytest.raises(TrialError, match="holds thesis, which no trial has left"):
        check_room(out)


def test_two_trials_do_not_share_a_folder(tmp_path: Path) -> None:
    hold(tmp_path / "out")
    with pytest.raises(TrialError, match=r"another trial uses .*; wait for its end"):
        hold(tmp_path / "out")
    hold(tmp_path / "other")
