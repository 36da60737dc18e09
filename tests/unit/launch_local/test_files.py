"""Files of this machine as containers see them."""

import os
import shutil
from pathlib import Path

import pytest

from byoc_vision.local.files import follow_links, links_out
from byoc_vision.local.results import Results
from byoc_vision.local.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one file, beside a pool of files."""
    for name in ("set/cat/0.jpg", "pool/1.jpg", "pool/more/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "set"


def test_links_that_stay_in_the_folder_are_the_containers_own(folder: Path) -> None:
    assert not links_out(folder)
    (folder / "cat" / "1.jpg").symlink_to("0.jpg")
    (folder / "cat" / "loop").symlink_to("loop")
    assert not links_out(folder)


@pytest.mark.parametrize("target", ["{}/pool/1.jpg", "../../pool/1.jpg", "{}/set/cat/0.jpg", "../../pool", "/nowhere"])
def test_links_that_a_container_could_not_follow(folder: Path, target: str) -> None:
    (folder / "cat" / "link.jpg").symlink_to(target.format(folder.parent))
    assert links_out(folder)


def test_links_are_followed_but_for_what_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "1.jpg").symlink_to(tmp_path / "pool" / "1.jpg")
    (folder / "dog").symlink_to("../pool")
    (folder / "cat" / "up").symlink_to("..")
    (folder / "cat" / "gone.jpg").symlink_to("/nowhere/gone.jpg")
    os.mkfifo(folder / "cat" / "pipe.jpg")
    follow_links(folder, tmp_path / "copy")
    files = {str(file.relative_to(tmp_path / "copy")): file for file in (tmp_path / "copy").rglob("*")}
    assert {name for name, file in files.items() if file.is_file() and not file.is_symlink()} == {
        "cat/0.jpg",
        "cat/1.jpg",
        "dog/1.jpg",
        "dog/more/2.jpg",
    }
    assert {name for name, file in files.items() if file.is_symlink()} == {"cat/gone.jpg", "cat/pipe.jpg", "cat/up"}
    assert files["dog/more/2.jpg"].read_text() == "pool/more/2.jpg"


def test_why_a_job_failed_is_read_from_a_file_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    record, lock = Store(tmp_path / "store").create("training-job", "job", {})
    lock.release()
    traceback = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no pictures\n\n'
    failure = tmp_path / "host" / "output" / "failure"
    for leave, said in (
        (lambda: None, ""),
        (lambda: failure.write_text("\n"), ""),
        (lambda: failure.write_text("no pictures\nhere"), "no pictures"),
        (lambda: failure.write_text(traceback), "ValueError: no pictures"),
        (lambda: failure.symlink_to(secret), ""),
        (lambda: os.mkfifo(failure), ""),
        (failure.mkdir, ""),
    ):
        shutil.rmtree(failure.parent, ignore_errors=True)
        failure.parent.mkdir(parents=True)
        leave()
        assert Results(record, [tmp_path / "host"]).failure() == said
