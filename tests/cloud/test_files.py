"""Files that are whole at any moment."""

from pathlib import Path

import pytest

from byoc_vision.contract.files import replacing, write_text


def _break_off(file: Path) -> None:
    with replacing(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_what_breaks_off_leaves_the_file_of_before_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    write_text(file, "old é\n")
    with pytest.raises(RuntimeError):
        _break_off(file)
    assert file.read_text(encoding="utf-8") == "old é\n"
    assert list(tmp_path.iterdir()) == [file]
    write_text(file, "new")
    assert file.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_two_who_write_one_file_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with replacing(file) as one, replacing(file) as other:
        one.write_text("one")
        other.write_text("other")
    assert file.read_text() == "one" and list(tmp_path.iterdir()) == [file]
