"""Reduce a TIFF to its first picture, as `classifier.containers` does for other formats (TIFF 6.0, and BigTIFF)."""

import os
import struct

from classifier.containers import MAX_PIXELS, MAX_PIXELS_SCANNED
from classifier.errors import PictureError, PictureTooLargeError

#: Strips or tiles a picture may have; each takes libtiff some microseconds, however small it is.
MAX_PARTS = 100_000

# libtiff's own limit for the scans of a JPEG inside a TIFF: read from the environment whenever it decodes one.
os.environ.setdefault("LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER", str(MAX_PIXELS_SCANNED // MAX_PIXELS))

_WIDTH, _LENGTH, _COMPRESSION, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 259, 322, 323
_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706
# What says where and how the pixels are stored; not the texts, profiles, previews and further directories.
_KEPT = frozenset((
    _WIDTH, _LENGTH, 258, _COMPRESSION, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320,
    _TILE_WIDTH, _TILE_LENGTH, 324, 325, 338, 339, 347, 529, 530, 531, 532,
))  # fmt: skip
# None, CCITT, LZW, JPEG, deflate (two codes), PackBits: what the programs write that people have.
_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32946, 32773)


def tiff(data: bytes) -> bytes:
    """Return the TIFF with a shorter directory, in place of its own, for the first picture alone.

    Raises `PictureError` for a camera's raw file, whose first picture is only its preview, and for a compression that
    hardly anybody uses; `PictureTooLargeError` for more strips or tiles than a picture has.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2 if order == "<" else 3] == 43
    count_code, entry, offset_code, offset_at = ("Q", "HHQ8s", "Q", 8) if big else ("H", "HHI4s", "I", 4)
    size = struct.calcsize(order + entry)
    (place,) = struct.unpack_from(order + offset_code, data, offset_at)
    (count,) = struct.unpack_from(order + count_code, data, place)
    start = place + struct.calcsize(order + count_code)
    if place < offset_at + struct.calcsize(offset_code):
        raise PictureError("the picture is damaged or incomplete (its directory begins within its header)")
    if count > 65_536:
        raise PictureError("the picture is a TIFF with more entries than there are kinds; save it again")
    kept: dict[int, bytes] = {}
    values: dict[int, int] = {}
    for position in range(start, start + count * size, size):
        tag, code, number, value = struct.unpack_from(order + entry, data, position)
        # A number that stands in the entry itself, of 16 or 32 bits.
        values.setdefault(tag, struct.unpack_from(order + ("H" if code == 3 else "I"), value)[0])
        if tag in _KEPT:
            kept.setdefault(tag, data[position : position + size])
            if number > MAX_PARTS:
                raise PictureTooLargeError(
                    f"the picture is a TIFF in {number} parts, and {MAX_PARTS} are read; save it again"
                )
    _check(values)
    directory = struct.pack(order + count_code, len(kept)) + b"".join(kept[tag] for tag in sorted(kept))
    # Not behind the data: what is missing there would be taken from it.
    directory += bytes(struct.calcsize(offset_code))
    view = memoryview(data)
    return b"".join((view[:place], directory, view[place + len(directory) :]))


def _check(values: dict[int, int]) -> None:
    """Raise `PictureError` for a picture that is not to be read; `values` are those of one number, by their tag."""
    if _DNG_VERSION in values or (_SUB_IFDS in values and values.get(_SUBFILE_TYPE, 0) & 1):
        raise PictureError("the data is a camera's raw picture, which is not read; save it as a JPEG")
    if values.get(_COMPRESSION, 1) not in _COMPRESSIONS:
        raise PictureError("the picture is a TIFF with a compression that is not read; save it with LZW or none")
    tile = max(1, values.get(_TILE_WIDTH, 1)), max(1, values.get(_TILE_LENGTH, 1))
    columns, rows = (-(-values.get(tag, 0) // side) for tag, side in zip((_WIDTH, _LENGTH), tile, strict=True))
    # Tiles are decoded whole, and may be far larger than the picture.
    if columns * tile[0] * rows * tile[1] > 2 * MAX_PIXELS:
        raise PictureTooLargeError(
            f"the picture's tiles have more than {2 * MAX_PIXELS // 1_000_000} million pixels; send a smaller one"
        )
