"""What breaks in one group of the GPU checks costs that group alone, and is a row of the table."""

import sys
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import page
from bench.gpu import groups
from bench.gpu.setting import Setting
from bench.results import BenchError, Result

GROUPS = {
    "good": """
def a_check(setting):
    yield rows.at_least("speed", 2.0, 1)
    yield rows.Row("memory", "3 GiB")
    yield rows.needs_gpu("balance", 2)
def another(setting):
    raise ZeroDivisionError("no speed\\nat all")
def the_last(setting):
    yield rows.at_most("difference", float("nan"), 1)
CHECKS = (a_check, another, the_last)
""",
    "crashing": """
import os
def a_check(setting):
    yield rows.Row("the first", "yes", "yes", True)
    print("Illegal instruction", file=sys.stderr, flush=True)
    os._exit(3)
CHECKS = (a_check,)
""",
    "hanging": """
import subprocess
def a_check(setting):
    print("noise")
    subprocess.run(["sleep", "1000"])
    yield rows.Row("never", "")
CHECKS = (a_check,)
""",
}


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    for name, source in GROUPS.items():
        head, tail = "import sys\nfrom bench.gpu import rows\n", "\nrows.main(CHECKS)\n"
        (tmp_path / f"group_{name}.py").write_text(head + source + tail)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(groups, "MODULE", "group_{}")
    monkeypatch.setattr(groups, "NEEDED", {})
    monkeypatch.setattr(groups, "PATIENCE", 1)
    monkeypatch.setattr(groups, "GROUPS", {"good": 60, "crashing": 60, "hanging": 2})
    return Setting(tmp_path, tmp_path / "scratch").dry()


def test_each_row_is_told_and_what_breaks_is_a_row(setting: Setting, tmp_path: Path) -> None:
    said: list[str] = []
    found = groups.check(setting, said.append, list(groups.GROUPS))
    assert [(verdict.what, verdict.figure, verdict.reached) for verdict in found.verdicts] == [
        ("good: speed", "2.00", True),
        ("good: another", "ZeroDivisionError: no speed", False),
        ("good: difference", "nan", False),
        ("crashing: the first", "yes", True),
        ("crashing: the group's process", "ended with status 3: Illegal instruction", False),
        ("hanging: the group's process", "took more than 2 s", False),
    ]
    assert [row[2] for row in found.tables[0].rows if not row[4]] == ["3 GiB", "needs 2 GPUs"]
    assert len(said) == len(found.tables[0].rows) and said[0].startswith("ok    good      speed: 2.00 (bar ≥ 1)")
    found.save(tmp_path / "results" / "gpu.json")
    assert Result.load(tmp_path / "results" / "gpu.json").verdicts == found.verdicts
    page.write(tmp_path / "results", ["gpu"])
    assert "ZeroDivisionError: no speed" in (tmp_path / "results" / "README.md").read_text(encoding="utf-8")


def test_what_is_not_begun_in_time_is_wrong(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "ALL", 0.0)
    found = groups.check(setting, lambda line: None, ["good"])
    assert [(verdict.what, verdict.reached) for verdict in found.verdicts] == [("good: all", False)]


def test_a_package_that_is_missing_is_named(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "NEEDED", {"json": "json", "no_such_module": "its-package"})
    with pytest.raises(BenchError, match="has no its-package; install them with pip install its-package"):
        groups.check(setting, print)


def test_the_status_says_whether_all_was_right(setting: Setting, monkeypatch, capsys) -> None:
    monkeypatch.setattr(groups, "GROUPS", {"good": 60})
    monkeypatch.setattr(sys, "argv", ["bench", "gpu", "--here", "--dry-run"])
    assert bench.main() == 1
    assert "1 right, 2 wrong" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["bench", "gpu", "--here", "--out", str(setting.scratch / "results")])
    assert bench.main() == 1
    assert "there is no GPU here; --dry-run tries the same checks" in capsys.readouterr().err
