"""The report of whole, broken and hostile jobs, as a user gets it from the command line."""

import json
import math
import os
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from byoc_vision import __version__
from byoc_vision.debugger.__main__ import main
from byoc_vision.debugger.rules import DEFAULT
from tests.unit.debugger.jobs import (
    EVAL,
    HOSTILE,
    LOSS,
    TRAIN,
    Recorder,
    whole_job,
    write_predictions,
    write_run,
    write_steps,
    write_system,
)

STATUSES = {"NoIssuesFound", "IssuesFound", "Error"}


class Page(HTMLParser):
    """A page's text, its elements, and the addresses it loads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.open, self.seen = "", [], []
        self.addresses: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return the folder of a job's output, empty."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def report(out: Path, *options: str) -> tuple[dict, Page, str]:
    """Make a report as a user does; return its facts, its page and the page's source."""
    assert main([str(out), *options]) == 0
    html = (out / "report.html").read_text(encoding="utf-8")
    facts = json.loads((out / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert {rule["RuleEvaluationStatus"] for rule in facts["rules"]} <= STATUSES
    assert all(rule["StatusDetails"] for rule in facts["rules"])
    page = Page(html)
    assert "script" not in page.seen
    assert all(address.startswith("data:") for address in page.addresses)
    assert not list(out.glob(".*")), "something half written is left"
    return facts, page, html


def details(facts: dict) -> dict[str, tuple[str, str]]:
    return {
        rule["RuleConfigurationName"]: (rule["RuleEvaluationStatus"], rule["StatusDetails"]) for rule in facts["rules"]
    }


def test_a_whole_job(out: Path) -> None:
    whole_job(out)
    model, pictures = str(out.parent / "model"), str(out.parent / "pictures")
    facts, page, html = report(out, "--model", model, "--pictures", pictures)
    said = details(facts)
    assert list(said) == list(DEFAULT) and len(said) == 20
    assert said["VanishingGradient"][0] == "NoIssuesFound"
    assert said["LowGPUUtilization"] == ("NoIssuesFound", "Does not apply: The job had no GPU.")
    assert facts["missing"] == []
    for text in ("75.0 %", "3 of 3", "epoch 3, kept", "Loss", "Accuracy", "Confusion", "Utilisation", "2.5 s", "2.10"):
        assert text in page.text, text
    assert facts["version"] == __version__ and f"byoc-vision {__version__}" in page.text
    assert facts["settings"] == {
        "lr": "0.1",
        "arch": HOSTILE,
        "clip-gradient": "0",
        "export": "true",
        "workers": "preset",
    }
    assert facts["machine"] == {"cores": "2", "workers": "2", "device": "cpu", "precision": "float32"}
    assert facts["time"]["start_up"] == 2.5
    assert "phases" not in facts["time"]
    assert facts["time"]["train"]["seconds"] == pytest.approx(
        {"data": 0.9, "forward": 1.8, "backward": 2.7, "optimizer": 0.9}
    )
    assert facts["best_epoch"] == 3 and len(facts["history"]) == 3
    assert len(facts["step_losses"]["x"]) == 9
    assert page.text.count(HOSTILE) >= 3  # shown as it is called, in text
    assert HOSTILE not in html
    assert [row["file"] for row in facts["wrong"]] == ["../../secret.jpg", f"{HOSTILE}/a.jpg"]
    assert page.seen.count("img") == 1 and "no picture" in page.text  # what is outside the folder is not shown


def test_all_of_the_time_is_explained(out: Path) -> None:
    whole_job(out)
    began = time.time() - 100
    marks = [("reading the pictures", 5), ("features", 10), ("training", 60), ("evaluation", 61), ("report", 99)]
    phases = [(name, began + at) for name, at in marks]
    run = {"job": HOSTILE, "started": began, "first_step": began + 60, "phases": phases}
    work = {"pictures": 5000, "decoding": 20.0, "network": 80.0}
    write_run(out, **run, extraction=work, cores=2, gpus=[], device="cpu")
    facts, page, _ = report(out, "--within-job")
    names = ["start and imports", "reading the pictures", "features: decoding", "features: network"]
    assert [name for name, _ in facts["time"]["phases"]] == [*names, "training", "evaluation", "report"]
    assert dict(facts["time"]["phases"])["features: decoding"] == pytest.approx(10)
    assert sum(seconds for _, seconds in facts["time"]["phases"]) == pytest.approx(time.time() - began, abs=5)
    assert facts["identity"] == {"job": HOSTILE, "classes": 3, "pictures": 12, "started": began, "machine": "2 cores"}
    said = "Features took the longest, 50 % of the time: 5,000 pictures, 100 a second on 2 cores, and of that time "
    assert said + "the network 80 %." in page.text
    # Made again later, the report is no part of the job.
    facts, _, _ = report(out)
    assert sum(seconds for _, seconds in facts["time"]["phases"]) == pytest.approx(99)


def test_the_time_ends_when_the_pictures_are_drawn(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_job(out)
    write_run(out, started=1000.0, phases=[("report", 1001.0)], cores=2, gpus=[], device="cpu")
    order: list[str] = []

    def drawn(folder: Path, name: str) -> None:
        order.append(name)

    def now() -> float:
        order.append("the end")
        return 1003.0

    monkeypatch.setattr("byoc_vision.debugger.report.thumbnail", drawn)
    monkeypatch.setattr("byoc_vision.debugger.report.time", SimpleNamespace(time=now))
    facts, _, _ = report(out, "--pictures", str(out.parent / "pictures"), "--within-job")
    assert len(order) == 3 and order[-1] == "the end"
    assert dict(facts["time"]["phases"]) == {"start and imports": 1.0, "report": 2.0}


def test_copies_are_shown_with_their_pictures(out: Path) -> None:
    whole_job(out)
    pictures = out.parent / "pictures"
    for name in ("train/cat/a.png", os.fsdecode(b"test/dog/caf\xe9.png")):
        (pictures / name).parent.mkdir(parents=True)
        Image.new("RGB", (40, 30), "red").save(pictures / name)
    (pictures / "linked.png").symlink_to(out.parent / "secret.jpg")  # as data sets are made of links
    group = [
        {"file": "train/cat/a.png", "label": "cat", "split": "train"},
        {"file": "test/dog/caf\\xe9.png", "label": "dog", "split": "test"},
        {"file": "linked.png", "label": HOSTILE, "split": "train"},
        {"file": "../secret.jpg", "label": "cat", "split": "train"},
    ]
    metrics = json.loads((out / "metrics.json").read_text())
    copies = {"across_splits": 7, "label_conflicts": 1, "groups": [group], "partly": 1234}
    (out / "metrics.json").write_text(json.dumps(metrics | {"copies": copies}))
    facts, page, html = report(out, "--pictures", str(pictures))
    assert facts["copies"] == copies
    assert "Copies across splits and label conflicts" in page.text and "7 across splits, 1 with different" in page.text
    assert "1,234 pictures look so much like so many others" in page.text
    assert page.seen.count("img") == 1 + 3 and HOSTILE not in html
    assert "test/dog/caf\\xe9.png" in page.text


@pytest.mark.parametrize(
    "copies",
    [
        None,
        [],
        {"groups": []},
        {"across_splits": "x", "label_conflicts": 0, "groups": [[{}]]},
        {"groups": [[1]]},
        1e999,
    ],
)
def test_copies_that_are_none_or_broken_are_not_shown(out: Path, copies: object) -> None:
    out.mkdir(exist_ok=True)
    (out / "metrics.json").write_text(json.dumps({"copies": copies}))
    facts, page, _ = report(out)
    assert facts["copies"]["groups"] == [] and "Copies across" not in page.text


def test_that_a_search_which_found_no_copies_left_some_out_is_shown(out: Path) -> None:
    out.mkdir(exist_ok=True)
    counts = {"across_splits": 0, "label_conflicts": 0, "groups": [], "partly": 5}
    (out / "metrics.json").write_text(json.dumps({"copies": counts}))
    _, page, _ = report(out)
    assert "Copies across splits" in page.text and "5 pictures look so much like so many others" in page.text


def test_a_report_needs_neither_torch_nor_smdebug_nor_pandas(out: Path) -> None:
    whole_job(out)
    code = f"""
import sys
from pathlib import Path
from byoc_vision.debugger import report
assert report.make(Path({str(out)!r}), pictures=Path({str(out.parent / "pictures")!r}))["figures"]
print(*[name for name in ("torch", "smdebug", "pandas", "boto3", "google.protobuf", "scipy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n" and (out / "report.html").exists()


def test_an_issue_comes_with_evidence_and_advice(out: Path) -> None:
    recorder = Recorder(out / "debugger")
    for _ in range(3):
        recorder.save({"gradient/Net_fc.weight": np.zeros(4)}, TRAIN)
    facts, page, _ = report(out, "--rules", "VanishingGradient")
    [rule] = facts["rules"]
    assert rule["RuleEvaluationStatus"] == "IssuesFound"
    first = {"step": 0, "tensor": "gradient/Net_fc.weight", "value": 0.0, "threshold": 1e-7}
    assert rule["Findings"][0] == first | {"detail": "mean absolute value 0"}
    assert rule["FindingsCount"] == 3
    assert "gradient/Net_fc.weight at step 0: mean absolute value 0; threshold 1e-07 (the first of 3)." in page.text
    assert rule["Advice"] in page.text


def test_an_empty_folder_still_gets_its_report(out: Path) -> None:
    facts, page, _ = report(out)
    for name in (
        "metrics.json",
        "predictions.csv",
        "system.csv",
        "steps.csv",
        "run.json",
        "debugger recording",
        "model's",
    ):
        assert name in page.text
    assert all(status == "Error" for status, _ in details(facts).values())


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.95])
def test_every_file_broken_off(out: Path, share: float) -> None:
    whole_job(out)
    for file in [*out.rglob("*"), out.parent / "model" / "model.json"]:
        if file.is_file():
            file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    facts, page, _ = report(out, "--model", str(out.parent / "model"), "--pictures", str(out.parent / "pictures"))
    assert facts["missing"] and "What was missing" in page.text


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        '{"history": 3, "best_epoch": "x", "pictures": [], "labels": 7, "started": "now"}',
        '{"phases": [["a", "b"], 3], "started": 1, "job": 7, "gpus": 3}',
        '{"phases": [["features", 3], ["end", 9]], "started": 1, "extraction": {"pictures": "x"}}',
        '{"cores": NaN, "workers": "two", "gpu": [{}], "pictures": {"train": NaN}, "history": [[], {"train": ""}]}',
        "[" * 5000,
    ],
)
def test_files_with_something_else_in_them(out: Path, content: str) -> None:
    whole_job(out)
    for name in ("metrics.json", "profile/run.json", "profile/steps.csv", "profile/system.csv", "predictions.csv"):
        (out / name).write_text(content)
    (out.parent / "model" / "model.json").write_text(content)
    report(out, "--model", str(out.parent / "model"))


def test_a_run_of_one_step_and_one_epoch(out: Path) -> None:
    Recorder(out / "debugger").save({LOSS: np.float32(1)}, TRAIN)
    history = [{"train_loss": 1.0, "validation_loss": 1.0, "validation_accuracy": 0.5}]
    (out / "metrics.json").write_text(json.dumps({"history": history, "best_epoch": 1}))
    write_steps(out, [[0, 1, "train", 1.0, 0.1, 0.1, 0.1, 0.1]])
    write_system(out, {"time": [1.0], "cpu_0": [5], "iowait": [0], "memory": [1]})
    facts, page, _ = report(out)
    assert details(facts)["LossNotDecreasing"] == ("NoIssuesFound", "The job was too short to be judged.")
    assert details(facts)["Overfit"] == ("Error", "Losses of validation were not recorded.")
    assert "epoch 1, kept" in page.text


def test_tensors_of_nothing_but_nan(out: Path) -> None:
    recorder = Recorder(out / "debugger")
    for i in range(12):
        tensors = {"gradient/Net_fc.weight": np.full(3, np.nan), "relu_output_0": np.full((2, 3), np.nan)}
        recorder.save({LOSS: np.float32(math.nan)} | tensors, EVAL if i % 2 else TRAIN)
    history = [{"train_loss": math.nan, "validation_loss": math.nan, "validation_accuracy": 0.1}]
    (out / "metrics.json").write_text(json.dumps({"history": history, "best_epoch": 1}))
    facts, page, _ = report(out)
    assert details(facts)["ExplodingTensor"][0] == "IssuesFound"
    assert "NaN among its values" in page.text
    assert facts["rules"][1]["Findings"][0]["value"] == "nan"


def test_pictures_that_are_not(out: Path) -> None:
    folder = out.parent / "pictures"
    folder.mkdir()
    (folder / "text.jpg").write_text("no picture")
    (folder / "folder.jpg").mkdir()
    Image.new("L", (3, 3000)).save(folder / "thin.png")
    Image.new("RGBA", (50, 50), (1, 2, 3, 0)).save(folder / "alpha.png")
    names = ["text.jpg", "folder.jpg", "missing.jpg", "thin.png", "alpha.png", "", "\x01", "a" * 5000]
    write_predictions(out, [(name, "a", "b", 0.5) for name in names])
    _, page, _ = report(out, "--pictures", str(folder))
    assert page.seen.count("img") == 2


def test_rules_of_the_services_own_request(out: Path, tmp_path: Path) -> None:
    whole_job(out)
    request = [
        {"RuleConfigurationName": "mine", "RuleParameters": {"rule_to_invoke": "VanishingGradient", "threshold": "2"}},
        {"RuleConfigurationName": "Dataloader", "RuleParameters": {"max_threshold": "90"}},
        {"RuleConfigurationName": "wrong", "RuleParameters": {"rule_to_invoke": "Overfit", "patients": "3"}},
        {"RuleConfigurationName": "worse", "RuleParameters": {"rule_to_invoke": "Overfit", "patience": "few"}},
    ]
    (tmp_path / "rules.json").write_text(json.dumps(request))
    facts, page, _ = report(out, "--rules", str(tmp_path / "rules.json"))
    said = details(facts)
    assert said["mine"][0] == said["Dataloader"][0] == "IssuesFound"
    assert said["wrong"][1].startswith(
        "Overfit has no parameter patients; its parameters are tensor_regex, start_step,"
    )
    assert said["worse"] == ("Error", "Overfit: patience must be a number and is 'few'.")
    assert "mine (VanishingGradient)" in page.text


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("Overfitting", "there is no rule Overfitting; the rules are"),
        ("missing.json", "cannot be read"),
        ("", "wrote"),
        (",".join(DEFAULT), "wrote"),
    ],
)
def test_a_choice_of_rules_that_cannot_be_used(out, choice, said, capsys):
    assert main([str(out), "--rules", choice]) == (0 if said == "wrote" else 2)
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_class_imbalance_is_judged_on_the_predictions(out: Path) -> None:
    write_predictions(out, [("x", "cat", "cat", 0.9)] * 990 + [("y", "dog", "dog", 0.9)] * 10)
    facts, _, _ = report(out, "--rules", "ClassImbalance")
    assert details(facts)["ClassImbalance"] == (
        "IssuesFound",
        "labels: class cat is 99 times as frequent (990) as class dog (10); threshold 10."
        " Judged on the test split's predictions.",
    )


def test_a_long_job_with_many_classes_stays_small(out: Path) -> None:
    count = 100_000
    write_steps(out, [[i, 1, "train", i, 0.01, 0.02, 0.03, 0.001] for i in range(count)])
    at = np.arange(count) / 2
    write_system(out, {"time": at, "cpu_0": at % 100, "iowait": at % 7, "memory": at % 50})
    labels = [f"{i:03}.{HOSTILE}" for i in range(133)]
    write_predictions(out, [(f"{i}.jpg", labels[i % 133], labels[i % 131], 0.5) for i in range(20_000)])
    report(out)
    assert (out / "report.html").stat().st_size < 1_000_000
