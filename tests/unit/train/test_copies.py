"""The same picture twice: across splits, with two labels, as another size or format; and no others."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from train import copies, data
from train.data import Data
from train.stopping import StopSignal


def scene(seed: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """Return a picture of random ellipses."""
    numbers = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(numbers.integers(0, 256, 3).tolist()))
    for _ in range(8):
        x, y, width, height = (numbers.random(4) * (*size, *size)).tolist()
        ImageDraw.Draw(image).ellipse((x, y, x + width, y + height), tuple(numbers.integers(0, 256, 3).tolist()))
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a set with splits, whose pictures are all different."""
    seed = 0
    for split in ("train", "valid", "test"):
        for label in ("cat", "dog"):
            (tmp_path / "set" / split / label).mkdir(parents=True)
            for i in range(6):
                seed += 1
                scene(seed).save(tmp_path / "set" / split / label / f"{i}.jpg", quality=90)
    return tmp_path / "set"


def read(folder: Path, known: dict[bytes, bytes] | None = None) -> Data:
    found = data.find({"training": folder}, 0.2, 0.2, 0)
    return data.checked(found, 0, 1, StopSignal(), known)[0]


def files(group: list[dict[str, str]]) -> set[str]:
    return {each["file"] for each in group}


def test_a_clean_set_has_none(folder: Path) -> None:
    found = copies.find(read(folder))
    assert found == {"across_splits": 0, "label_conflicts": 0, "groups": [], "partly": 0}
    assert list(copies.lines(found)) == []


def test_the_same_bytes_across_splits(folder: Path) -> None:
    (folder / "test" / "cat" / "copy.jpg").write_bytes((folder / "train" / "cat" / "0.jpg").read_bytes())
    found = copies.find(read(folder))
    assert (found["across_splits"], found["label_conflicts"]) == (1, 0)
    assert found["groups"] == [
        [
            {"file": "train/cat/0.jpg", "label": "cat", "split": "train"},
            {"file": "test/cat/copy.jpg", "label": "cat", "split": "test"},
        ]
    ]
    (said,) = copies.lines(found)
    assert "1 across splits, 0 with different labels, such as train/cat/0.jpg (cat) and test/cat/copy" in said


def test_copies_within_a_class_of_a_split_do_no_harm(folder: Path) -> None:
    (folder / "train" / "cat" / "copy.jpg").write_bytes((folder / "train" / "cat" / "0.jpg").read_bytes())
    assert copies.find(read(folder))["groups"] == []


def test_a_label_conflict_comes_first(folder: Path) -> None:
    (folder / "test" / "cat" / "copy.jpg").write_bytes((folder / "train" / "cat" / "0.jpg").read_bytes())
    (folder / "train" / "dog" / "wrong.jpg").write_bytes((folder / "train" / "cat" / "3.jpg").read_bytes())
    found = copies.find(read(folder))
    assert (found["across_splits"], found["label_conflicts"]) == (1, 1)
    assert files(found["groups"][0]) == {"train/cat/3.jpg", "train/dog/wrong.jpg"}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("side", [100, 150, 777])
def test_a_copy_of_another_size_and_format(folder: Path, form: str, side: int) -> None:
    image = Image.open(folder / "train" / "cat" / "0.jpg")
    image.resize((side, round(side * 3 / 4))).save(folder / "test" / "cat" / "copy", form, quality=75)
    found = copies.find(read(folder))
    assert [files(group) for group in found["groups"]] == [{"train/cat/0.jpg", "test/cat/copy"}]


def test_many_plain_and_noisy_pictures_are_no_copies(draw_classes) -> None:
    root = draw_classes("noise", count=30)
    for i in range(30):
        Image.new("RGB", (40, 40), (i, 200, 200)).save(root / "red" / f"plain{i}.png")
    assert copies.find(read(root))["groups"] == []


def test_pictures_too_small_to_tell_apart_are_copies_by_their_bytes_alone(tmp_path: Path) -> None:
    for i, text in enumerate("0O0O33BB"):
        image = Image.new("L", (28, 28))
        ImageDraw.Draw(image).text((10, 8), text, fill=200 + i)
        (tmp_path / text).mkdir(exist_ok=True)
        image.save(tmp_path / text / f"{i}.png")
    assert copies.find(read(tmp_path))["groups"] == []
    (tmp_path / "O" / "copy.png").write_bytes((tmp_path / "B" / "6.png").read_bytes())
    assert copies.find(read(tmp_path))["label_conflicts"] == 1


def test_real_photographs_have_none_but_those_planted(real_data: Path, tmp_path: Path) -> None:
    photographs = sorted((real_data / "data" / "trashnet6").rglob("*.jpg"))[::24]
    for i, photograph in enumerate(photographs):
        (tmp_path / photograph.parent.name).mkdir(exist_ok=True)
        (tmp_path / photograph.parent.name / f"{i}.jpg").symlink_to(photograph)
    (tmp_path / "other").mkdir()
    planted = {}
    for i, width in enumerate((90, 224, 320, 1000)):
        image = Image.open(photographs[5 * i])
        image.resize((width, round(width * image.height / image.width))).save(tmp_path / "other" / f"{width}.png")
        planted[f"other/{width}.png"] = f"{photographs[5 * i].parent.name}/{5 * i}.jpg"
    found = copies.find(read(tmp_path))
    assert sorted(map(sorted, map(files, found["groups"]))) == sorted(map(sorted, planted.items()))
    assert found["label_conflicts"] == 4


def test_looks_are_kept_and_pictures_that_have_one_not_decoded_again(folder: Path, tmp_path: Path, monkeypatch) -> None:
    found = read(folder)
    looks = dict(zip(found.train.digests, found.train.looks, strict=True))
    copies.keep(tmp_path / "kept", looks.items())
    with (tmp_path / "kept" / "seen").open("ab") as file:
        file.write(b"what a killed run has left")
    known = copies.known(tmp_path / "none", None, tmp_path / "kept")
    assert known == looks
    decoded: list[str] = []

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(data.pictures, name)
        return lambda *args: decoded.append(name) or real(*args)

    for name in ("decode", "kind"):
        monkeypatch.setattr(data.pictures, name, watched(name))
    assert read(folder, known) == found
    assert decoded == ["decode", "kind"] * (len(found.validation) + len(found.test))


def photographs(generator: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return looks as of photographs: neighbouring pixels are alike."""
    grids = generator.integers(0, 256, (count, 2, 2, 3)).astype(np.float32)
    looks = grids.repeat(4, axis=1).repeat(4, axis=2) + generator.normal(0, 8, (count, 8, 8, 3))
    return np.clip(looks, 0, 255).astype(np.uint8).reshape(count, -1)


def frames(generator: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return looks as of one scene, a little more apart than copies."""
    scene = generator.integers(40, 216, copies.LOOK_BYTES)
    return (scene + generator.integers(-9, 10, (count, copies.LOOK_BYTES))).astype(np.uint8)


def merged(pairs: Iterable[tuple[int, int]], count: int) -> list[int]:
    """Return of each of `count` looks the first in its group."""
    leader = list(range(count))
    for pair in pairs:
        old, new = sorted((leader[pair[0]], leader[pair[1]]), reverse=True)
        if old != new:
            leader = [new if each == old else each for each in leader]
    return leader


def joined(looks: NDArray[np.uint8]) -> tuple[list[int], int]:
    """Return of each look the first in its group, and how many were not compared with all that are near."""
    cut = np.zeros(len(looks), bool)
    return merged(copies._alike(looks, cut), len(looks)), int(np.count_nonzero(cut))


def test_groups_are_those_that_comparing_each_with_each_finds(monkeypatch) -> None:
    monkeypatch.setattr(copies, "_TOGETHER", 32)
    generator = np.random.default_rng(0)
    looks = photographs(generator, 400)
    noise = generator.integers(-3, 4, (100, copies.LOOK_BYTES))
    looks = np.concatenate((looks, np.clip(looks[:100].astype(int) + noise, 0, 255).astype(np.uint8), looks[100:150]))
    limits = np.minimum(copies.SHARE * copies._contrast(looks), copies.LEVELS)
    pairs = []
    for i in range(len(looks)):
        apart = np.sqrt(((looks[i].astype(float) - looks) ** 2).mean(axis=1))
        pairs += [(i, int(j)) for j in np.nonzero(apart <= np.minimum(limits[i], limits))[0]]
    assert len(pairs) >= len(looks) + 2 * 140
    assert joined(looks) == (merged(pairs, len(looks)), 0)


def test_as_many_groups_as_a_report_shows_are_listed(folder: Path) -> None:
    buffer = io.BytesIO()
    for i in range(40):
        buffer.seek(0)
        scene(1000 + i, (70, 70)).save(buffer, "PNG")
        for label in ("cat", "dog"):
            (folder / "train" / label / f"conflict{i}.png").write_bytes(buffer.getvalue())
    found = copies.find(read(folder))
    assert found["label_conflicts"] == 40 and len(found["groups"]) == copies.COPY_GROUPS_SHOWN


@pytest.mark.parametrize("draw", [photographs, frames])
def test_what_is_compared_is_bounded_whatever_the_pictures_are(draw, monkeypatch) -> None:
    monkeypatch.setattr(copies, "_TOGETHER", 64)
    monkeypatch.setattr(copies, "_WHOLE", 128)
    looks = draw(np.random.default_rng(0), 8000)
    places = looks.astype(np.float32) @ copies._directions(looks)
    cut = np.zeros(len(looks), bool)
    parts = list(copies._near(places, np.full(len(looks), copies.LEVELS, np.float32), cut))
    assert set(np.concatenate(parts).tolist()) == set(range(len(looks)))
    assert sum(map(len, parts)) <= copies._PARTS * len(looks) and max(map(len, parts)) <= copies._WHOLE
    assert cut.any() == (draw is frames)


def test_of_too_many_that_are_alike_the_nearest_are_found_and_the_others_told_of(monkeypatch) -> None:
    monkeypatch.setattr(copies, "_TOGETHER", 64)
    monkeypatch.setattr(copies, "_WHOLE", 128)
    looks = frames(np.random.default_rng(0), 1000)
    looks[900:] = looks[:100]
    looks[800:900] = looks[100:200] + np.random.default_rng(1).integers(-1, 2, (100, copies.LOOK_BYTES))
    leader, cut = joined(looks)
    assert leader[900:] == list(range(100))
    assert sum(a == b for a, b in zip(leader[800:900], range(100, 200), strict=True)) > 90
    assert cut > 500
    (said,) = copies.lines({"groups": [], "partly": cut})
    assert said.startswith(f"{cut} pictures look so much like so many others")


def test_pictures_that_are_all_alike_are_one_group(monkeypatch) -> None:
    monkeypatch.setattr(copies, "_WHOLE", 256)
    generator = np.random.default_rng(0)
    scene = generator.integers(40, 216, copies.LOOK_BYTES)
    looks = (scene + generator.integers(-2, 3, (700, copies.LOOK_BYTES))).astype(np.uint8)
    assert set(joined(looks)[0]) == {0}


def test_a_long_search_is_told_of_before(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(copies, "_MANY", 10)
    said: list[str] = []
    copies.look_for(read(folder), {}, tmp_path / "kept", said.append)
    assert said and said[0].startswith("looking for copies among ")
