"""AV1 data says how large its pictures are."""

import pytest

from classifier import av1


def unit(kind: int, *fields: tuple[int, int]) -> bytes:
    """Return a unit with its length; its content is of (number, bits)."""
    text = "".join(f"{number:0{bits}b}" for number, bits in fields)
    text += "0" * (-len(text) % 8)
    content = int(text, 2).to_bytes(len(text) // 8)
    return bytes((kind << 3 | 2, len(content))) + content


SIZE = ((11, 4), (10, 4), (3999, 12), (1999, 11))
SHORT = unit(1, (0, 3), (1, 1), (1, 1), (5, 5), *SIZE)
PLAIN = unit(1, (0, 3), (0, 1), (0, 1), (0, 1), (0, 1), (0, 5), (0, 12), (8, 5), (1, 1), *SIZE)
TIMED = unit(
    1, (0, 3), (0, 1), (0, 1),
    (1, 1), (1, 32), (30, 32), (1, 1), (0, 2), (1, 1), (3, 2),  # timing, with an interval of 2 zeros, 1, and 2 bits
    (1, 1), (9, 5), (0, 42),  # a model of the decoder, with delays of 10 bits
    (1, 1), (1, 5),
    (0, 12), (4, 5), (1, 1), (0, 21), (1, 1), (7, 4),
    (0, 12), (9, 5), (0, 1), (0, 1), (0, 1),
    *SIZE,
)  # fmt: skip


@pytest.mark.parametrize("header", [SHORT, PLAIN, TIMED])
def test_each_header_tells_the_size(header: bytes) -> None:
    delimiter, frame = bytes((2 << 3 | 2, 0)), bytes((6 << 3, 1, 2, 3))
    assert list(av1.sizes(delimiter + header + frame)) == [(4000, 2000)]
    assert list(av1.sizes(header + header)) == [(4000, 2000)] * 2


def test_units_are_limited() -> None:
    with pytest.raises(ValueError, match="too many"):
        list(av1.sizes(bytes((2 << 3 | 2, 0)) * 10_000))


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x01\xff", b"\x0a" + b"\xff" * 20, SHORT[:4]])
def test_a_header_that_ends_too_early(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError, EOFError)):
        list(av1.sizes(data))
