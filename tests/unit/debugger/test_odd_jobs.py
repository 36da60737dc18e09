"""Reports of jobs that went oddly, or whose files are broken, or are those of a version before."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from byoc_vision.debugger import comparison, quality
from tests.unit.debugger.jobs import HOSTILE, whole_job, write_predictions, write_run, write_steps
from tests.unit.debugger.test_report import Page, report


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return the folder of a job's output, empty."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def described(out: Path, labels: list[str], **settings: Any) -> str:
    """Write a model's description; return its folder."""
    folder = out.parent / "model"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps({"labels": labels, "settings": settings}))
    return str(folder)


def test_a_class_without_test_pictures_is_named(out: Path) -> None:
    write_predictions(out, [("a.jpg", "cat", "cat", 0.9), ("b.jpg", "dog", "cat", 0.8)])
    facts, page, _ = report(out, "--model", described(out, ["cat", "dog", HOSTILE]))
    assert facts["untested"] == [HOSTILE]
    assert f"Without a test picture: {HOSTILE}." in page.text


def test_how_many_pictures_each_class_had(out: Path) -> None:
    counts = {"cat": {"train": 40, "validation": 5, "test": 0}, HOSTILE: {"train": 7, "validation": 5, "test": 6}}
    kinds = {"formats": {"JPEG": 50, HOSTILE: 13}, "modes": {"RGB": 63}, "shorter_sides": {"256": 60, "1024": 3}}
    content = {"pictures_of_classes": counts, "unreadable": {"a.jpg": "the file is empty"}, "kinds_of_pictures": kinds}
    content["left_out"] = ["not used: docs/"]
    (out / "metrics.json").write_text(json.dumps(content))
    facts, page, _ = report(out)
    assert facts["data"] == counts
    assert "Data" in page.text and "Without a test picture: cat." in page.text
    assert page.text.index(HOSTILE) < page.text.index("cat") and "47" in page.text
    assert "Pictures that could not be read: 1 (named" in page.text and "Not used: docs/." in page.text
    assert "256 to 511" in page.text and "1,024 to 2,047" in page.text and "RGB" in page.text
    broken = {"formats": [], "modes": {"RGB": math.nan}, "shorter_sides": {"x": 1, "9" * 5000: 1}}
    for kinds in (broken, 3, {"formats": {"JPEG": 0}}):
        (out / "metrics.json").write_text(json.dumps(content | {"kinds_of_pictures": kinds, "left_out": 3}))
        assert "Pixels of the shorter side" not in report(out)[1].text
    (out / "metrics.json").write_text(json.dumps({"pictures_of_classes": {"cat": [1], "dog": {"train": math.nan}}}))
    assert "The pictures that each class had" not in report(out)[1].text


def test_the_best_so_far_of_a_script_does_not_hide_its_curves(out: Path) -> None:
    (out / "profile").mkdir()
    (out / "profile" / "run.json").write_text(json.dumps({"program": "train.py"}))
    values = {"train_loss": (2, 1), "valid_loss": (3, 2), "valid_best_loss": (1e6, 3), "best_acc": (0, 0.5)}
    lines = [f"{name},{number},{value}" for name, both in values.items() for number, value in enumerate(both, 1)]
    (out / "profile" / "curves.csv").write_text("\n".join(["name,reading,value", *lines]))
    text = report(out)[1].text
    for kind in ("loss", "best loss", "best accuracy"):
        assert text.count(f"Printed: {kind}") == 1
    assert text.index("valid_loss") < text.index("Printed: best loss") < text.index("valid_best_loss")


def test_one_picture_of_each_class(out: Path) -> None:
    rows = [(f"{i}.jpg", f"class {i}", f"class {i}", 0.5) for i in range(12)]
    write_predictions(out, rows)
    facts, page, _ = report(out)
    assert facts["quality"]["accuracy"] == 1 and facts["quality"]["thresholds"] == []
    assert "21–100 %" in page.text and "The other" in page.text


def test_a_constant_predictor(out: Path) -> None:
    labels = [f"class {i}" for i in range(12)]
    write_predictions(out, [(f"{i}.jpg", label, labels[0], round(1 / 12, 6)) for i, label in enumerate(labels)])
    np.save(out / "probabilities.npy", np.full((12, 12), 1 / 12, np.float32))
    facts, page, _ = report(out, "--model", described(out, labels))
    # Of equal probabilities the first count, as where a model server lists the most probable ones.
    assert facts["quality"]["top_accuracy"] == pytest.approx(5 / 12)
    assert facts["quality"]["thresholds"] == []
    assert "41.7 %" in page.text and "top-5 accuracy" in page.text


def test_losses_that_are_no_numbers(out: Path) -> None:
    history = [{"train_loss": math.nan, "validation_loss": math.inf, "validation_accuracy": 0.5}] * 3
    (out / "metrics.json").write_text(json.dumps({"history": history, "best_epoch": 1, "test_loss": math.nan}))
    facts, page, _ = report(out)
    assert facts["figures"] == {"best_epoch": 1} and facts["history"][0] == {"validation_accuracy": 0.5}
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize("content", ["truncated", "text", "other rows", "nan", "pickle"])
def test_a_table_of_probabilities_that_cannot_be_used(out: Path, content: str) -> None:
    labels = [f"class {i}" for i in range(10)]
    write_predictions(out, [(f"{i}.jpg", label, label, 0.5) for i, label in enumerate(labels)])
    file = out / "probabilities.npy"
    table = np.full((9 if content == "other rows" else 10, 10), np.nan if content == "nan" else 0.1, np.float32)
    np.save(file, table.astype(object) if content == "pickle" else table, allow_pickle=True)
    if content == "truncated":
        file.write_bytes(file.read_bytes()[:-200])
    elif content == "text":
        file.write_text("0.1,0.9")
    facts, page, _ = report(out, "--model", described(out, labels))
    said = [line for line in facts["missing"] if line.startswith("probabilities.npy, with the probabilities of all")]
    assert len(said) == 1 and said[0].endswith(" and is left out.")
    assert "top_accuracy" not in facts["quality"] and "top-5" not in page.text


@pytest.mark.parametrize(
    "maps",
    [
        "[]",
        "{",
        '{"crop": 2, "maps": {"b.jpg": [[1]]}}',
        '{"crop": 1, "maps": {"b.jpg": [[1], [1, 2]]}}',
        '{"crop": 1, "maps": {"b.jpg": [[999]]}}',
        '{"crop": 1, "maps": {"b.jpg": []}}',
        '{"crop": "x", "maps": []}',
    ],
)
def test_heat_maps_that_cannot_be_used(out: Path, maps: str) -> None:
    whole_job(out)
    (out / "heatmaps.json").write_text(maps)
    _, page, html = report(out, "--pictures", str(out.parent / "pictures"))
    assert "Most wrong about" in page.text and 'class="heat"' not in html


def test_heat_maps_lie_over_their_pictures(out: Path) -> None:
    whole_job(out)
    values = np.zeros((7, 7), int)
    values[0, 0] = 255
    file = f"{HOSTILE}/a.jpg"
    (out / "heatmaps.json").write_text(json.dumps({"crop": 0.875, "maps": {file: values.tolist(), "gone.jpg": [[1]]}}))
    _, page, html = report(out, "--pictures", str(out.parent / "pictures"))
    assert html.count('class="heat"') == 1 and page.seen.count("img") == 2
    assert 'alt="The network looked mostly at the upper left."' in html
    assert "Orange is what spoke for the answer" in page.text


def test_a_job_of_a_version_before(out: Path) -> None:
    # It left no phases, instance, digest, probabilities or heat maps, and its settings lack the newer ones.
    whole_job(out)
    facts, _, _ = report(out, "--model", str(out.parent / "model"))
    assert facts["missing"] == ["The pictures were not given, so that none is shown."]
    assert facts["cost"] == {} and "digest" not in facts["identity"]
    assert comparison.page({"old": facts, "new": facts}).count("<h2>") >= 2


def test_what_a_job_cost(out: Path) -> None:
    whole_job(out)
    marks = [("training", 100.0), ("report", 1800.0), ("end", 1800.0)]
    write_run(out, started=0.0, phases=marks, cores=4, gpus=[], instance="ml.m5.xlarge", hosts=2)
    facts, page, _ = report(out, "--price-per-hour", "0.2")
    assert facts["cost"] == pytest.approx({"price": 0.2, "hours": 1.0, "total": 0.2})
    assert "cost of the run time, at 0.2 an hour" in page.text
    assert facts["identity"]["machine"] == "2 hosts, ml.m5.xlarge, 4 cores"
    write_run(out, started=0.0, cores=4, gpus=[], instance="local", hosts=1)
    assert report(out)[0]["identity"]["machine"] == "4 cores"


def test_a_thousand_classes(out: Path) -> None:
    labels = [f"class_{i:04}_of_a_thousand" for i in range(1000)]
    rows = [(f"{i}.jpg", labels[i % 1000], labels[(i * 7) % 1000], 0.5) for i in range(3000)]
    write_predictions(out, rows)
    facts, page, html = report(out, "--model", described(out, [*labels, *(f"more {i}" for i in range(30))]))
    assert len(html) < 2_000_000 and len(facts["classes"]) == 1000
    assert "more 19 and 10 more." in page.text


def test_top_5_as_scikit_learn_has_it() -> None:
    generator = np.random.default_rng(3)
    table = generator.random((50, 12)).astype(np.float32)
    truth = generator.integers(0, 12, 50)
    labels = [f"{i}" for i in range(12)]
    found = quality.top_accuracy(table, labels, [labels[i] for i in truth])
    assert found == pytest.approx(0.44)  # sklearn.metrics.top_k_accuracy_score(truth, table, k=5, labels=range(12))


def test_thresholds_name_what_answers_most() -> None:
    covered = [[0.25, 1.0, 0.9], [0.5, 1.0, 0.8], [0.75, 0.92, 0.6], [1.0, 0.85, 0.3]]
    assert quality.thresholds(covered) == [
        [0.9, 0.6, 0.75, 0.92],
        *([goal, 0.8, 0.5, 1.0] for goal in (0.95, 0.98, 0.99)),
    ]


def test_jobs_side_by_side(out: Path) -> None:
    whole_job(out)
    (out / "heatmaps.json").unlink(missing_ok=True)
    facts, _, _ = report(out, "--model", str(out.parent / "model"))
    other = facts | {"settings": facts["settings"] | {"lr": "0.2", "new": HOSTILE}, "classes": facts["classes"][:1]}
    page = Page(comparison.page({"one": facts, HOSTILE: other}))
    assert "script" not in page.seen and "lr" in page.text and "0.2" in page.text
    assert comparison.differing({"a": {"x": "1", "y": "2"}, "b": {"x": "1"}}) == {"y": {"a": "2", "b": "–"}}
    assert comparison.facts({"one": facts, "two": other})["jobs"]["one"]["test accuracy"] == 0.75


#: A name that turns the direction of what follows, and one that is written from right to left.
TURNED, HEBREW = "a\u202egpj.exe", "\u05db\u05dc\u05d1"


def test_names_of_any_direction_leave_the_figures_as_they_are(out: Path) -> None:
    rows = [("a.jpg", TURNED, HEBREW, 0.9), ("b.jpg", HEBREW, HEBREW, 0.9), ("\U0001f436 " + "x" * 4000, "c", "d", 0.9)]
    write_predictions(out, rows)
    facts, page, html = report(out, "--model", described(out, [TURNED, HEBREW, "c"], arch=TURNED))
    assert facts["confusion"]["labels"] == [TURNED, HEBREW, "c", "d"]  # plain data have them as they are
    assert "a\\u202egpj.exe" in page.text and "\u202e" not in html
    assert f"taken for <bdi>{HEBREW}</bdi>, 90" in html
    assert "x" * 4000 not in page.text and 'title="\U0001f436 xxx' in html


def test_a_table_that_a_spreadsheet_has_stored_again(out: Path) -> None:
    lines = ["file,label,predicted,probability", "a.jpg,cat,dog,0.9", '"b, 2.jpg",dog,dog,0.8', ""]
    (out / "predictions.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    facts, _, _ = report(out)
    assert facts["quality"]["pictures"] == 2 and not any("predictions.csv" in line for line in facts["missing"])


def test_rows_without_a_name_are_left_out(out: Path) -> None:
    (out / "predictions.csv").write_text("probability,predicted,label,file\n0.9,cat,cat,a.jpg\n0.9,cat,cat\n0.9,cat\n")
    facts, _, _ = report(out)
    assert facts["quality"]["pictures"] == 1 and "predictions.csv: 2 rows are broken and left out." in facts["missing"]


@pytest.mark.parametrize("started", [1e300, -5e12, 9e11, True, "yesterday"])
def test_a_date_that_is_none(out: Path, started: object) -> None:
    whole_job(out)
    write_run(out, started=started, phases=[["", 2.0], ["report", 3.0]], cores=2, gpus=3)
    assert "started" not in report(out, "--within-job")[0]["identity"]


def test_step_times_that_are_no_numbers(out: Path) -> None:
    write_steps(out, [[i, 1, "train", i, "inf" if i == 3 else 0.1, "-inf", "1e999", 0.1] for i in range(9)])
    facts, page, _ = report(out)
    assert facts["time"]["train"]["seconds"] == pytest.approx(
        {"data": 0.8, "forward": 0, "backward": 0, "optimizer": 0.9}
    )
    assert "Training steps, ms" in page.text


@pytest.mark.parametrize(
    ("data", "run", "said"),
    [
        (0.1, {"gpus": []}, "3 epochs, 6 pictures a second on 2 cores, and of the steps' time the network 92 %."),
        (9.9, {"gpus": ["T4"]}, "6 pictures a second on a GPU, and of the steps' time the wait for data 89 %."),
        (0.1, {"gpus": ["T4"] * 4}, "6 pictures a second on 4 GPUs, and"),
        (0.1, {"gpus": [], "hosts": 2}, "6 pictures a second on 2 hosts with 2 cores each, and"),
    ],
)
def test_the_bottleneck_of_training_is_named(out: Path, data: float, run: dict[str, Any], said: str) -> None:
    whole_job(out)
    write_steps(out, [[i, 1, "train", i, data, 0.4, 0.5, 0.3] for i in range(5)])
    write_run(out, started=100.0, phases=[["training", 101.0], ["report", 107.0]], cores=2, **run)
    assert said in report(out)[1].text
