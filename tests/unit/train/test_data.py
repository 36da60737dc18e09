"""Channels in every layout users have, and every way the pictures can be wrong."""

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byoc_vision.contract.errors import DataError
from byoc_vision.contract.folders import Paths
from classifier.preprocessing import Preprocessing
from train import data
from train.data import Data
from train.pixels import Pixels
from train.stopping import Stopped, StopSignal


def find(**channels: Path) -> Data:
    return data.find(channels, validation_share=0.25, test_share=0.25, seed=0)


def readable(found: Data, limit: float = 1.0) -> tuple[Data, dict[str, str]]:
    return data.checked(found, limit, workers=2, stop=StopSignal())


def test_a_channel_for_each_split(draw_classes, tmp_path):
    for split in ("train", "validation", "test"):
        draw_classes(split, count=3)
    found = find(**{split: tmp_path / split for split in ("train", "validation", "test")})
    assert found.labels == ("blue", "green", "red")
    assert [len(split) for split in found.splits.values()] == [9, 9, 9]
    assert found.test.names[0] == "test/blue/blue0.png"
    assert found.test.targets == (0, 0, 0, 1, 1, 1, 2, 2, 2)


@pytest.mark.parametrize(("training", "validation"), [("train", "valid"), ("training", "validation"), ("train", "val")])
def test_one_channel_with_the_splits_inside(draw_classes, tmp_path, training, validation):
    for split in (training, validation, "test"):
        draw_classes(f"all/{split}", count=2)
    found = find(training=tmp_path / "all")
    assert [len(split) for split in found.splits.values()] == [6, 6, 6]
    assert found.validation.names[0] == f"{validation}/blue/blue0.png"


def test_one_channel_called_train_with_the_splits_inside(draw_classes, tmp_path):
    draw_classes("all/train")
    draw_classes("all/valid")
    assert find(train=tmp_path / "all").labels == ("blue", "green", "red")


def test_an_outer_folder_is_looked_through(draw_classes, tmp_path):
    draw_classes("archive/dogImages/train")
    draw_classes("archive/dogImages/valid")
    (tmp_path / "archive" / "__MACOSX").mkdir()
    assert find(training=tmp_path / "archive").validation.names[0] == "dogImages/valid/blue/blue0.png"


def test_class_folders_alone_are_divided_by_class_and_seed(draw_classes):
    root = draw_classes("plain", count=8)
    found = find(training=root)
    assert [len(split) for split in found.splits.values()] == [12, 6, 6]
    for split in found.splits.values():
        assert set(split.targets) == {0, 1, 2}
    names = [set(split.names) for split in found.splits.values()]
    assert len(set.union(*names)) == 24
    assert found == find(training=root)
    assert found != data.find({"training": root}, 0.25, 0.25, seed=5)


def test_a_missing_validation_split_is_drawn_from_training_and_the_test_left_alone(draw_classes, tmp_path):
    draw_classes("train", count=8)
    draw_classes("test", count=2)
    found = find(train=tmp_path / "train", test=tmp_path / "test")
    assert [len(split) for split in found.splits.values()] == [18, 6, 6]
    assert all(name.startswith("test/") for name in found.test.names)


def test_class_order_is_the_training_splits_whatever_other_splits_lack(draw_classes, tmp_path):
    draw_classes("train")
    draw_classes("validation", classes=("red",))
    found = find(train=tmp_path / "train", validation=tmp_path / "validation")
    assert set(found.validation.targets) == {2}


def test_nested_folders_spaces_and_letters_of_any_script(draw_classes, tmp_path):
    draw_classes("train", classes=("Hund mit Hut", "犬", "Çã"))
    deep = tmp_path / "train" / "犬" / "2024" / "ete é"
    deep.mkdir(parents=True)
    shutil.copy(tmp_path / "train" / "犬" / "犬0.png", deep / "ein Bild.png")
    (tmp_path / "train" / "犬" / ".hidden").mkdir()
    (tmp_path / "train" / "犬" / ".DS_Store").write_text("litter")
    found, unreadable = readable(data.find({"train": tmp_path / "train"}, 0.25, 0, seed=0))
    assert found.labels == ("Hund mit Hut", "Çã", "犬")
    assert len(found.train) + len(found.validation) == 13
    assert not unreadable
    assert "犬" in found.counts()


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({}, r"no training pictures.*\(it has none\)"),
        ({"validation": "train"}, r"no training pictures.*\(it has validation\)"),
        ({"training": "train", "test": "train"}, "channels training and test do not go together; name the first train"),
        ({"training": "nowhere"}, "is not a folder"),
        ({"training": "empty"}, r"0 class folder\(s\)"),
        ({"train": "single", "validation": "single"}, r"1 class folder\(s\)"),
        ({"train": "hollow", "validation": "train"}, "hollow/red holds no picture"),
        ({"train": "train", "validation": "more"}, "validation split has the class 'yellow'"),
        ({"training": "lonely"}, "single picture"),
    ],
)
def test_wrong_data_is_one_sentence(draw_classes, tmp_path, channels, message):
    draw_classes("train")
    draw_classes("single", classes=("red",))
    draw_classes("more", classes=("red", "yellow"))
    draw_classes("lonely", count=1)
    draw_classes("hollow")
    shutil.rmtree(tmp_path / "hollow" / "red")
    (tmp_path / "hollow" / "red").mkdir()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message) as raised:
        find(**{name: tmp_path / folder for name, folder in channels.items()})
    assert "\n" not in str(raised.value)


def spoil(folder: Path) -> None:
    """Put into `folder` one picture of each kind that cannot be read."""
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    whole = (folder / "red0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (10_000, 10_000)).save(folder / "huge.png")


def test_unreadable_pictures_are_counted_named_and_left_out(draw_classes):
    root = draw_classes("plain", count=8)
    spoil(root / "red")
    found, unreadable = readable(find(training=root))
    assert {name: why.split()[0] for name, why in unreadable.items()} == dict.fromkeys(
        ["red/text.jpg", "red/empty.jpg", "red/cut.png", "red/huge.png"], "the"
    )
    assert "million pixels" in unreadable["red/huge.png"]
    assert sum(len(split) for split in found.splits.values()) == 24
    assert not any("cut" in name for split in found.splits.values() for name in split.names)


def test_pictures_get_their_place_where_their_pixels_are_wanted_again(draw_classes):
    kept = Pixels.of(Preprocessing(16, 16, (0.5,) * 3, (0.5,) * 3), 20, 1, math.inf)
    read, _ = readable(find(training=draw_classes("plain", count=8)).keeping(kept, "train"))
    for name, split in read.splits.items():
        for digest in split.digests:
            assert kept.get(digest) is None
            kept.put(digest, np.ones((3, 16, 16), np.uint8))
            assert (kept.get(digest) is not None) == (name == "train")


def test_pictures_are_known_as_they_are_stored(draw_classes):
    root = draw_classes("plain", count=8)
    Image.new("L", (700, 90)).save(root / "red" / "grey.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    first, _ = readable(find(training=root))
    seen: dict[bytes, bytes] = {}
    for split in first.splits.values():
        seen |= zip(split.digests, split.looks, strict=True)
    for known in ({}, seen):  # what was read before is not decoded again
        found, _ = data.checked(find(training=root), 0, 2, StopSignal(), known)
        assert found.kinds == {"JPEG L 64": 1, "PNG RGB 32": 24}


def test_what_is_no_picture_by_its_name_is_counted_apart(draw_classes):
    root = draw_classes("plain", count=8)
    for name in ("notes.txt", "film.mov", "Thumbs.db", "._red0.png"):
        (root / "red" / name).write_text("not a picture")
    found, unreadable = readable(find(training=root), limit=0)
    assert not unreadable
    assert found.lines == (
        "left out: 2 files that are no picture (film.mov, notes.txt) and "
        "2 entries that desktops and volumes leave (.DS_Store, Thumbs.db, …)",
    )


def test_links_that_lead_nowhere_and_pipes_are_unreadable_pictures(draw_classes):
    root = draw_classes("plain", count=8)
    (root / "red" / "gone.png").symlink_to("/nowhere/gone.png")
    (root / "red" / "up").symlink_to("..")
    os.mkfifo(root / "red" / "pipe.png")
    _, unreadable = readable(find(training=root))
    assert unreadable == {
        "red/gone.png": "the file that the link leads to cannot be read (No such file or directory)",
        "red/up": "it is no file",
        "red/pipe.png": "it is no file",
    }
    with pytest.raises(DataError, match="3 of 27 pictures cannot be read"):
        readable(find(training=root), limit=0.1)


def test_links_to_elsewhere_are_followed(draw_classes, tmp_path):
    root, pool = draw_classes("plain", count=4), draw_classes("pool", count=3)
    for i in range(3):
        (root / "red" / f"linked{i}.png").symlink_to(pool / "red" / f"red{i}.png")
    (root / "grey").symlink_to(pool / "green")
    found, unreadable = readable(find(training=root))
    assert not unreadable and found.labels == ("blue", "green", "grey", "red")
    assert sum(len(split) for split in found.splits.values()) == 18


def test_names_of_any_bytes_are_text(draw_classes):
    root = draw_classes("plain", count=4)
    (root / "red").rename(root / os.fsdecode(b"caf\xe9"))
    (root / "blue" / "blue0.png").rename(root / "blue" / os.fsdecode(b"\xff\n.png"))
    found, unreadable = readable(find(training=root))
    assert not unreadable and found.labels == ("blue", "caf\\xe9", "green")
    assert "blue/\\xff\\x0a.png" in [name for split in found.splits.values() for name in split.names]


def test_names_of_255_bytes(draw_classes):
    root = draw_classes("plain", count=4)
    (root / "red").rename(root / ("r" * 255))
    (root / "blue" / "blue0.png").rename(root / "blue" / ("é" * 125 + ".png"))
    assert readable(find(training=root))[0].labels[2] == "r" * 255


def test_many_thousand_empty_files_are_one_sentence(tmp_path):
    (tmp_path / "pool").mkdir()
    for i in range(1000):
        (tmp_path / "pool" / f"{i}.jpg").touch()
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "set" / label / f"{label}{i}").symlink_to(tmp_path / "pool")
    with pytest.raises(DataError, match=r"4000 of 4000 pictures cannot be read") as raised:
        readable(find(training=tmp_path / "set"), limit=0.1)
    assert len(str(raised.value)) < 600


def test_odd_but_readable_pictures_are_kept(draw_classes):
    root = draw_classes("plain", count=4)
    picture = Image.open(root / "red" / "red0.png")
    picture.convert("CMYK").save(root / "red" / "cmyk.jpg")
    picture.convert("L").save(root / "red" / "grey.png")
    picture.convert("P").save(root / "red" / "palette.gif")
    picture.convert("I;16").save(root / "red" / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(root / "red" / "turned.jpg", exif=exif)
    found, unreadable = readable(find(training=root))
    assert not unreadable
    assert sum(len(split) for split in found.splits.values()) == 17


def test_too_many_unreadable_pictures_end_the_job(draw_classes):
    root = draw_classes("plain", count=8)
    spoil(root / "red")
    with pytest.raises(DataError, match=r"4 of 28 pictures cannot be read.*red/.*raise max-unreadable"):
        readable(find(training=root), limit=0.1)


def test_a_kind_of_picture_that_is_not_read_is_told_once(tmp_path):
    for label in ("s1", "s2"):
        (tmp_path / label).mkdir()
        for number in range(4):
            Image.new("L", (8, 8)).save(tmp_path / label / f"{number}.pgm", "PPM")
    with pytest.raises(DataError, match=r"^8 of 8 .*s[12]/\d.pgm and 7 more: the data is a PNM .*; convert, repair or"):
        readable(find(training=tmp_path), limit=0.1)


def test_a_class_without_one_readable_training_picture_ends_the_job(draw_classes):
    root = draw_classes("plain", count=8)
    for file in (root / "red").iterdir():
        file.write_text("no")
    with pytest.raises(DataError, match="no training picture of class 'red'"):
        readable(find(training=root))


def test_a_stop_is_heard_while_pictures_are_checked(draw_classes):
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(Stopped):
        data.checked(find(training=draw_classes("plain")), 1.0, 2, stop)


def test_of_thousands_of_classes_the_log_lists_those_with_the_fewest_pictures() -> None:
    count = data.CLASSES_SHOWN + 1
    targets = tuple(number for number in range(count) for _ in range(2 if number == 7 else 3))
    names = ("x",) * len(targets)
    split = data.Split(Paths(Path(), names), targets, names)
    lines = Data(tuple(f"class {number}" for number in range(count)), split, split, data.Split()).counts().splitlines()
    assert len(lines) == 1 + data.FEWEST_SHOWN + 2
    assert lines[1].split() == ["class", "7", "2", "2", "0"]
    assert lines[-2].startswith(f"{count - data.FEWEST_SHOWN} more")
    assert lines[-1].split() == ["all", "classes", *[str(len(targets))] * 2, "0"]
