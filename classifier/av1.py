"""How large the pictures in AV1 data are, which its decoder believes rather than what the file says around it.

AV1 Bitstream & Decoding Process Specification, sections 5.3 to 5.5.
"""

from collections.abc import Iterator

_SEQUENCE_HEADER = 1

#: Units that a still picture's data may have; an encoder writes two or three.
MAX_UNITS = 1000


def sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the width and height that each sequence header in `data` allows; raises `ValueError` for what is no AV1."""
    position = 0
    for _ in range(MAX_UNITS):
        if position >= len(data):
            return
        head = data[position]
        position += 2 if head & 4 else 1
        length = len(data) - position
        if head & 2:
            length, position = _leb128(data, position)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            yield _size(data[position : position + min(length, 200)])
        position += length
    raise ValueError("too many units of AV1")


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, the lowest first, and where it ends."""
    value = 0
    for i in range(8):
        value |= (data[position + i] & 0x7F) << 7 * i
        if data[position + i] < 0x80:
            return value, position + i + 1
    raise ValueError("a length of AV1 has no end")


class _Bits:
    """Reads numbers of so many bits, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def __call__(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & (1 << count) - 1


def _size(header: bytes) -> tuple[int, int]:
    bits = _Bits(header)
    bits(4)  # profile, and whether it is a still picture
    if bits(1):  # the short header of a still picture
        bits(5)
    else:
        delay_bits = _timing(bits) if bits(1) else 0
        delayed = bits(1)
        for _ in range(bits(5) + 1):  # operating points
            bits(12)
            if bits(5) > 7:  # its level
                bits(1)
            if delay_bits and bits(1):
                bits(2 * delay_bits + 1)
            if delayed and bits(1):
                bits(4)
    across, down = bits(4) + 1, bits(4) + 1
    return bits(across) + 1, bits(down) + 1


def _timing(bits: _Bits) -> int:
    """Skip the timing; return the bits of a delay where a model of the decoder follows, or 0."""
    bits(64)
    if bits(1):  # pictures at equal intervals: a number of 2n + 1 bits, n zeros first
        zeros = 0
        while not bits(1):
            zeros += 1
        bits(zeros)
    if not bits(1):
        return 0
    delay_bits = bits(5) + 1
    bits(42)
    return delay_bits
