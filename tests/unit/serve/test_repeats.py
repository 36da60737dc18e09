"""A kind of line is logged once, and then only counted."""

import logging

import pytest

from serve import repeats
from serve.repeats import Repeats


def passed(name: str, messages: list[str]) -> list[str]:
    """Return the lines that come through the filter."""
    lines = Repeats()
    records = [logging.LogRecord(name, logging.WARNING, "file", 1, message, None, None) for message in messages]
    return [record.getMessage() for record in records if lines.filter(record)]


def test_a_kind_is_told_once_then_counted() -> None:
    messages = [f"Corrupt EXIF data. Expecting {n} bytes\n  of b'tag{n}'" for n in range(1000)]
    assert passed("py.warnings", messages) == [
        "Corrupt EXIF data. Expecting 0 bytes of b'tag0'",
        "Corrupt EXIF data. Expecting 9 bytes of b'tag9' (10 times so far)",
        "Corrupt EXIF data. Expecting 99 bytes of b'tag99' (100 times so far)",
        "Corrupt EXIF data. Expecting 999 bytes of b'tag999' (1000 times so far)",
    ]


def test_kinds_are_told_apart() -> None:
    assert passed("PIL.TiffImagePlugin", ["one", "two", "one"]) == ["one", "two"]


def test_what_a_model_logs_is_not_held_back() -> None:
    assert passed("inference", ["the same"] * 3) == ["the same"] * 3


def test_the_kinds_that_are_remembered_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MAX_KINDS", 2)
    assert passed("PIL", ["one", "two", "three", "four"]) == ["one", "two", "three"]
