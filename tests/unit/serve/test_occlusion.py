"""Maps of what spoke for an answer: they find it, are made only where they are on and asked for, and change nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from byoc_vision.contract.errors import UserError
from serve import occlusion
from serve.errors import RequestError
from serve.settings import Settings
from tests.unit.serve.test_batching import GOOD, ask, loaded, without_rounding

ONE = GOOD[0]


def corner(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """A network that looks at the lower left corner only: what is bright there speaks for class 1."""
    bright = 1 / (1 + np.exp(-20 * inputs[:, :, 24:, :8].mean(axis=(1, 2, 3))))
    return np.stack([1 - bright, bright], axis=1).astype(np.float32)


@pytest.mark.parametrize("cells", [1, 4, 7])
def test_the_map_lies_on_what_the_network_looks_at(cells: int) -> None:
    picture = np.ones((1, 3, 32, 32), np.float32)
    rows = np.array(occlusion.heat_map(corner, picture, corner(picture)[0], cells))
    assert rows.shape == (cells, cells)
    assert rows.min() >= 0 and rows[-1, 0] == rows.max() == 255
    assert not rows[: cells // 2].any() and not rows[:, (cells + 1) // 2 + 1 :].any()


def test_what_nothing_speaks_for_has_an_empty_map() -> None:
    even = np.full((16, 2), 0.5, np.float32)
    picture = np.ones((1, 3, 32, 32), np.float32)
    assert not np.any(occlusion.heat_map(lambda inputs: even[: len(inputs)], picture, even[0], 7))


@pytest.mark.parametrize(
    ("accept", "asked"),
    [
        ("application/json;heat_map=true", True),
        ("text/csv;q=0.1, application/json ; q=1 ; Heat_Map=true", True),
        ("application/json", False),
        ("application/json;heat_map=false", False),
        ("heat_map=true", False),
        ('application/json; heat_map="true"', True),
    ],
)
def test_a_map_is_asked_for_with_the_accepted_type(accept: str, asked: bool) -> None:
    assert occlusion.asked(accept) is asked


@pytest.mark.parametrize("value", ["1", "yes", '"7"', ""])
def test_a_map_asked_for_in_other_words_is_refused(value: str) -> None:
    with pytest.raises(RequestError, match="accept application/json;heat_map=true, or leave it out") as refused:
        occlusion.asked(f"application/json;heat_map={value}")
    assert refused.value.status_code == 406


@pytest.mark.parametrize("kind", ["text/csv", "Application/x-npy", "text/*"])
def test_a_map_in_a_table_is_refused(kind: str) -> None:
    with pytest.raises(RequestError, match=r"holds no heat map; accept application/json;heat_map=true") as refused:
        occlusion.asked(f"application/json, {kind} ;heat_map=true")
    assert refused.value.status_code == 406


def test_the_answer_to_one_picture_has_its_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOC_HEAT_MAPS", "3")
    worker = loaded(tmp_path)
    body, kind, _ = ONE
    plain, explained = ask(worker, ONE)[0], ask(worker, (body, kind, "application/json;heat_map=true"))[0]
    assert (explained[0], explained[2]) == (200, "application/json")
    answer = json.loads(explained[1])
    rows = answer["predictions"][0].pop("heat_map")
    assert [len(row) for row in rows] == [3, 3, 3]
    assert without_rounding(json.dumps(answer)) == without_rounding(plain[1])
    several = next(request for request in GOOD if request[1] == "application/x-npy")
    status, sentence, *_ = ask(worker, (*several[:2], "application/json;heat_map=true"))[0]
    assert status == 400 and "one picture" in sentence


def test_no_map_is_made_where_they_are_off(tmp_path: Path) -> None:
    status, sentence, *_ = ask(loaded(tmp_path), (*ONE[:2], "application/json;heat_map=true"))[0]
    assert status == 406 and "BYOC_HEAT_MAPS" in sentence


@pytest.mark.parametrize("text", ["17", "-1", "yes", ""])
def test_a_number_of_cells_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"BYOC_HEAT_MAPS is .* from 0 to 16"):
        Settings.from_environment({"BYOC_HEAT_MAPS": text})
