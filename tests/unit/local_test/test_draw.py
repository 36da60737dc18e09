"""The drawn pictures: the same each time, and laid out as training wants them."""

from pathlib import Path

from PIL import Image

from local_test.draw import CLASSES, SPLITS, draw_set


def contents(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*.jpg")}


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        draw_set(tmp_path / name, seed)
    first, again, other = (contents(tmp_path / name) for name in ("first", "again", "other"))
    assert first == again
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())


def test_every_split_has_the_same_classes_and_no_picture_twice(tmp_path: Path) -> None:
    draw_set(tmp_path)
    classes = [{folder.name for folder in (tmp_path / split).iterdir()} for split in ("train", "valid", "test")]
    assert classes[0] == classes[1] == classes[2]
    assert len(classes[0]) >= 4
    drawn = contents(tmp_path)
    assert len(set(drawn.values())) == len(drawn)


def test_the_pictures_are_colour_photographs_in_form(tmp_path: Path) -> None:
    draw_set(tmp_path)
    files = list(tmp_path.glob("test/*/*.jpg"))
    assert len(files) == len(CLASSES) * SPLITS["test"]
    for file in files:
        with Image.open(file) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (160, 120))
