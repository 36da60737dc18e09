"""What a worker's output looks like to multi-model-server."""

import io

import pytest

from serve.lines import LONGEST, Lines


def passed(*texts: str) -> str:
    stream = io.StringIO()
    lines = Lines(stream)
    for text in texts:
        assert lines.write(text) == len(text)
    return stream.getvalue()


def test_whole_lines_are_passed_on() -> None:
    assert passed("a\nb", "", "c\n", "d") == "a\nbc\n"
    print("x", "y", file=Lines(stream := io.StringIO()))
    assert stream.getvalue() == "x y\n"


@pytest.mark.parametrize("pieces", [1, 7])
def test_long_lines_are_cut(pieces: int) -> None:
    texts = ["x" * 10_000_000] * pieces
    assert passed(*texts, "\nnext\n") == f"{'x' * LONGEST}… ({pieces * 10_000_000 - LONGEST} more characters)\nnext\n"
