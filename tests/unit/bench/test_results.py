"""What a comparison found: turns, verdicts, the files it is kept in, and the page and plots made of them."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import page, plots
from bench.results import BenchError, Line, Result, Side, Table, alternate, at_least, at_most

SIDES = [Side("today's <script>", "baseline", [40.0, 42.0, 41.0]), Side("ours", "ours", [2.0], {"errors": "0"})]
TABLE = Table("Answers", ["kind", "400"], [["a | b", "7"]])
RESULT = Result(
    "Speed", "Eight epochs.", "s", SIDES, [at_least("times as fast", 20.5, 15)], tables=[TABLE], about={"cores": "2"}
)


def test_sides_take_turns_and_every_other_round_runs_backwards() -> None:
    calls: list[str] = []
    found = alternate({name: lambda name=name: calls.append(name) or name for name in "abc"}, 3, lambda line: None)
    assert "".join(calls) == "abccbaabc"
    assert found == {"a": ["a"] * 3, "b": ["b"] * 3, "c": ["c"] * 3}


def test_a_bar_counts_as_reached_at_its_value() -> None:
    assert at_least("", 1.5, 1.5).reached and not at_least("", 1.499, 1.5).reached
    assert at_most("", 2.5, 2.5).reached and not at_most("", 2.501, 2.5).reached


def test_a_saved_result_is_loaded_as_it_was(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "speed.json")
    loaded = Result.load(tmp_path / "speed.json")
    assert (loaded.sides, loaded.verdicts, loaded.tables) == (RESULT.sides, RESULT.verdicts, RESULT.tables)


def test_a_result_of_before_there_were_tables_is_loaded(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "speed.json")
    content = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    del content["tables"]
    (tmp_path / "speed.json").write_text(json.dumps(content), encoding="utf-8")
    assert Result.load(tmp_path / "speed.json").tables == []


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BenchError, match=r"speed\.json is no result of this version"):
        Result.load(tmp_path / "speed.json")


def test_the_page_has_medians_spread_and_verdicts_of_what_was_measured(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "speed.json")
    page.write(tmp_path, ["speed", "never-measured"])
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| today's <script> | 41 (40 – 42) | 3 |  |" in text
    assert "| [Speed](#speed) | times as fast | 20.50 | ≥ 15 | reached |" in text
    assert "\n### Answers\n\n| kind | 400 |\n| --- | --- |\n| a \\| b | 7 |\n" in text
    assert (tmp_path / "speed.svg").exists() and "never-measured" not in text


@pytest.mark.parametrize(
    "plot",
    [
        plots.bars(SIDES, "s"),
        plots.lines([Line("a & b", "ours", [(0, 0.0), (1, 0.3)]), Line("c", "limit", [(1, 1200.0)])], ("x", "y")),
    ],
)
def test_plots_are_well_formed(plot: str) -> None:
    assert ElementTree.fromstring(plot).tag.endswith("svg")


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.0123"), (9.876, "9.88"), (1234.5, "1,234"), (0.0, "0")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert plots.number(value) == text
