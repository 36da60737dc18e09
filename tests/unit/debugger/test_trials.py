"""The page of a tuning job."""

import json

import pytest

from byoc_vision.debugger import trials
from byoc_vision.debugger.trials import Search, Trial
from tests.unit.debugger.jobs import HOSTILE
from tests.unit.debugger.test_report import Page


def search(count: int, maximize: bool = True, **settings: str) -> Search:
    """Return a search whose trial number n has the objective n / count and lr 10**-n."""
    made = [
        Trial(
            f"trial-{n}", "Completed", n / count, {"lr": f"{10.0 ** -(n % 5)}", "optimizer": "adam", **settings}, 60.0
        )
        for n in range(1, count + 1)
    ]
    return Search("search", "Completed", "validation_accuracy", maximize, tuple(made))


def shown(found: Search) -> Page:
    """Return the page, whose facts are JSON."""
    json.dumps(trials.facts(found), allow_nan=False)
    page = Page(trials.page(found))
    assert "script" not in page.seen
    return page


def test_the_best_trial_and_its_settings() -> None:
    found = search(7)
    assert trials.facts(found)["best"]["name"] == "trial-7"
    assert trials.facts(search(7, maximize=False))["best"]["name"] == "trial-1"
    assert '"lr": "0.01"' in shown(found).text and "best validation_accuracy" in shown(found).text


def test_long_names_and_values_are_short_in_the_table_and_whole_when_pointed_at() -> None:
    made = (
        Trial("tuned-001-ab", "Completed", 0.5, {"lr": "0.0010591689939940829", "seed": "123456789"}),
        Trial("other", "Completed", 0.4, {"lr": "0.25", "seed": HOSTILE}),
    )
    html = trials.page(Search("tuned", "Completed", "validation_accuracy", True, made, option="--local"))
    rows = Page("<section>" + html[html.index("<h2>Trials") : html.index("</body>")]).text
    for text in ("001-ab", "other", "0.001059", "0.25", "123456789", HOSTILE):
        assert text in rows
    assert "tuned-" not in rows and "0.00105916" not in rows
    assert 'title="tuned-001-ab"' in html and 'title="0.0010591689939940829"' in html
    assert "byoc train --hyperparameters tuned --data … --local" in Page(html).text


def test_rank_correlation_as_scipy_has_it() -> None:
    """spearmanr of SciPy, with equal values."""
    values = [(0.1, 1.0), (0.2, 3.0), (0.2, 2.0), (0.4, 5.0), (0.3, 4.0)]
    made = tuple(Trial(str(n), "Completed", value, {"lr": str(lr)}) for n, (lr, value) in enumerate(values))
    found = trials.correlation(Search("s", "Completed", "loss", True, made), "lr")
    assert found == pytest.approx(0.9746794344808963)


def test_what_cannot_be_ordered_has_no_correlation() -> None:
    facts = trials.facts(search(7))
    assert facts["correlation"]["optimizer"] is None and isinstance(facts["correlation"]["lr"], float)
    same = Search("s", "Completed", "loss", True, tuple(Trial(str(n), "Completed", 1.0, {"lr": "1"}) for n in range(5)))
    assert trials.facts(same)["correlation"] == {"lr": None}


@pytest.mark.parametrize(
    "made",
    [
        (),
        (Trial("only", "InProgress", None, {"lr": "0.1"}),),
        (Trial("only", "Completed", 0.5, {"lr": "0.1", "wd": "1"}, 3.0),),
        (
            Trial("a", "Failed", None, {}),
            Trial("b", "Stopped", float("nan"), {"lr": "nan"}),
            Trial("c", "Completed", 1.0, {}),
        ),
        tuple(Trial(f"{n}", "Completed", n * 5e-324, {"lr": f"{n}e-322", "wd": f"{n}e38"}) for n in range(4)),
        tuple(Trial(f"{HOSTILE}{n}", HOSTILE, n / 9, {HOSTILE: HOSTILE, "x": str(n)}) for n in range(9)),
    ],
)
def test_odd_trials(made: tuple[Trial, ...]) -> None:
    page = shown(Search(HOSTILE, "Completed", HOSTILE, False, made))
    assert HOSTILE in page.text


def test_many_trials_stay_small() -> None:
    page = trials.page(search(200, batch="32"))
    assert len(page) < 300_000 and page.count("trial-7<") == 1


def test_curves_and_what_mattered_are_shown() -> None:
    found = search(12).with_more({"lr": 0.9, HOSTILE: 0.1}, {"trial-12": [0.5, 0.9, 1.0], "trial-11": [0.4, 0.8]})
    page = shown(found)
    assert "The best trials while they ran" in page.text and "one of the 2 best trials" in page.text
    assert "What mattered" in page.text and "90 %" in page.text and HOSTILE in page.text
    assert trials.facts(found, price=2.0)["cost"] == pytest.approx({"price": 2.0, "hours": 0.2, "total": 0.4})
    assert "cost of that time, at 2 an hour" in trials.page(found, trials.facts(found, 2.0)["cost"])


def test_of_many_hyperparameters_those_that_mattered_are_drawn_together() -> None:
    names = [f"setting-{number:02}" for number in range(20)]
    made = tuple(
        Trial(f"{n}", "Completed", n / 30, {name: str((n * (k + 3)) % 31) for k, name in enumerate(names)})
        for n in range(30)
    )
    known = {name: float(number) for number, name in enumerate(names)}
    html = trials.page(Search("many", "Completed", "validation_accuracy", True, made).with_more(known, {}))
    drawn = html[html.index("All trials at once") : html.index("What mattered")]
    assert [name for name in names if f">{name}<" in drawn] == names[-6:]
    assert "the 6 hyperparameters that mattered most" in drawn and "its hyperparameters" not in drawn


def test_long_words_are_short_and_whole_when_pointed_at() -> None:
    words = "x" * 300
    html = trials.page(search(3, note=words))
    assert html.count(words) == html.count(f'title="{words}"') + 1  # the best trial's settings, to be pasted


def test_one_trial() -> None:
    page = shown(search(1))
    assert "trial-1" in page.text and "What mattered" not in page.text and "All trials at once" not in page.text


def test_trials_that_failed_or_were_stopped() -> None:
    made = tuple(Trial(f"trial-{state}", state, None, {"lr": "0.1"}) for state in ("Failed", "Stopped", "InProgress"))
    page = shown(Search("search", "Stopped", "validation_loss", False, made))
    assert "No trial has left a value." in page.text
    assert all(trial.name in page.text for trial in made)


def test_why_trials_failed_is_said_once_for_each_reason() -> None:
    made = tuple(Trial(f"{n}", "Failed", None, {}, reason=("lr is too high", HOSTILE)[n > 7]) for n in range(10))
    page = shown(Search("search", "Failed", "validation_loss", False, made))
    assert "8 failed: lr is too high" in page.text and f"2 failed: {HOSTILE}" in page.text
