"""The sets that are measured on."""

from pathlib import Path

import pytest
from PIL import Image

from bench import pictures, scale
from bench.results import BenchError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.draw_set(tmp_path_factory.mktemp("pictures") / "drawn", classes=2, train=3, others=1)


def test_a_drawn_set_has_all_splits_of_photograph_size(drawn: Path) -> None:
    pictures.check(drawn)
    assert len(pictures.files(drawn / "train")) == 6
    assert Image.open(pictures.files(drawn)[0]).size == pictures.SIZE


def test_a_set_is_repeated_where_more_is_asked_for(drawn: Path, tmp_path: Path) -> None:
    pictures.sized(drawn, tmp_path, train=9, others=2)
    assert len(pictures.files(tmp_path / "train")) == 9
    assert len(pictures.files(tmp_path / "valid")) == len(pictures.files(tmp_path / "test")) == 2


def test_repeated_pictures_can_differ_in_bytes_and_not_in_pixels(drawn: Path, tmp_path: Path) -> None:
    pictures.distinct(drawn, tmp_path, 20)
    files = pictures.files(tmp_path / "train")
    assert len({file.read_bytes() for file in files}) == len(files) == 20
    assert len({Image.open(file).convert("RGB").tobytes() for file in files}) == 6


def test_a_set_without_a_split_is_refused(drawn: Path) -> None:
    with pytest.raises(BenchError, match="has no train/"):
        pictures.check(drawn / "train")


def test_tiny_pictures_for_a_test_of_scale_are_each_another(tmp_path: Path) -> None:
    drawn = sorted(scale.draw(tmp_path / "set", 10, 3).rglob("*.jpg"))
    assert [len(list(folder.iterdir())) for folder in sorted((tmp_path / "set").iterdir())] == [4, 3, 3]
    assert len({file.read_bytes() for file in drawn}) == 10
    assert {Image.open(file).size for file in drawn} == {(scale.SIDE, scale.SIDE)}
