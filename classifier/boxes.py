"""Reduce a HEIF or AVIF file to its primary picture, as `classifier.containers` does for other formats.

Both are boxes of the ISO base media file format (ISO/IEC 14496-12) that hold items (ISO/IEC 23008-12): coded pictures,
grids of them, masks, metadata. Offsets are absolute, so nothing is cut out: what is not to be read gets another name,
that of a box which readers skip.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from classifier import av1
from classifier.containers import MAX_PIXELS
from classifier.errors import PictureError, PictureTooLargeError

#: The codings that are read -> Pillow's name of the format, and the brand by which its decoder knows it.
_CODINGS = {b"hvc1": ("HEIF", b"heic"), b"av01": ("AVIF", b"avif")}

#: Items and references a file may have; 48 megapixels of a phone are 200 tiles. And pieces an item may be in.
MAX_ITEMS, MAX_EXTENTS = 4096, 16


@dataclass
class _Items:
    """The items of a file by number; `patches` are where the names of boxes stand that are to be skipped."""

    primary: int = 0
    types: dict[int, bytes] = field(default_factory=dict)
    tiles: dict[int, list[int]] = field(default_factory=dict)
    properties: list[tuple[int, int]] = field(default_factory=list)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    alphas: set[int] = field(default_factory=set)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    patches: list[int] = field(default_factory=list)


def primary(data: bytes) -> tuple[str, bytes]:
    """Return Pillow's name of the format, and the file without films and metadata; a picture's turn is not in these.

    Raises `PictureError` where the primary picture is neither coded by itself nor a grid of coded pictures, and
    `PictureTooLargeError` where its tiles have more pixels than a picture may.
    """
    items = _Items()
    for name, start, end in _boxes(data, 0, len(data)):
        if name == b"meta":
            _read_meta(data, start + 4, end, items)
        elif name == b"moov":
            items.patches.append(start - 4)
        elif name == b"ftyp":
            brands = slice(start, end)
    kind = items.types.get(items.primary)
    parts = items.tiles.get(items.primary, []) if kind == b"grid" else [items.primary]
    codings = {items.types.get(part, b"") for part in parts}
    if len(codings) != 1 or not codings <= _CODINGS.keys():
        raise PictureError("the picture is coded in a way that is not read; save it as a JPEG")
    pixels = sum(width * height for width, height in (items.sizes.get(part, (0, 0)) for part in parts))
    if pixels > 2 * MAX_PIXELS:
        raise PictureTooLargeError(
            f"the picture's tiles have more than {2 * MAX_PIXELS // 1_000_000} million pixels; send a smaller one"
        )
    form, brand = _CODINGS[codings.pop()]
    if form == "AVIF":
        alphas = {part for alpha in items.alphas for part in items.tiles.get(alpha, [alpha])}
        _check_av1(data, items, {*parts, *alphas})
    patched = bytearray(data)
    # And not as films by their brand: libavif would look for these.
    patched[brands] = brand + data[brands].replace(b"avis", b"avif")[4:]
    for position in items.patches:
        patched[position : position + 4] = b"skip"
    return form, bytes(patched)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each box in data[start:end], and where its content starts and ends."""
    while start + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = start + length if length else end
        if not content <= stop <= end:
            raise EOFError
        yield name, content, stop
        start = stop


def _read_meta(data: bytes, start: int, end: int, items: _Items) -> None:
    for name, begin, stop in _boxes(data, start, end):
        if name == b"pitm":
            (items.primary,) = struct.unpack_from(">I" if data[begin] else ">H", data, begin + 4)
        elif name == b"iinf":
            for _, at, _ in _boxes(data, begin + (8 if data[begin] else 6), stop):
                code = ">IH4s" if data[at] == 3 else ">HH4s"
                number, _, kind = struct.unpack_from(code, data, at + 4)
                items.types.setdefault(number, kind)
        elif name == b"iref":
            _read_references(data, begin, stop, items)
        elif name == b"iloc":
            _read_locations(data[begin:stop], items)
        elif name == b"iprp":
            _read_properties(data, begin, stop, items)
        if len(items.types) > MAX_ITEMS:
            raise PictureTooLargeError(f"the file holds more than {MAX_ITEMS} items; save the picture as a JPEG")


def _read_references(data: bytes, start: int, end: int, items: _Items) -> None:
    code = "I" if data[start] else "H"
    for name, begin, stop in _boxes(data, start + 4, end):
        if name == b"cdsc":  # what describes a picture: EXIF, XMP
            items.patches.append(begin - 4)
        elif name == b"auxl":
            items.alphas.add(struct.unpack_from(f">{code}", data, begin)[0])
        elif name == b"dimg":
            number, count = struct.unpack_from(f">{code}H", data, begin)
            if count > MAX_ITEMS:
                raise PictureTooLargeError(f"the picture has more than {MAX_ITEMS} tiles; save it as a JPEG")
            _, _, *tiles = struct.unpack_from(f">{code}H{count}{code}", data[begin:stop])
            items.tiles.setdefault(number, tiles)


def _read_locations(box: bytes, items: _Items) -> None:
    """Note where the content of each item stands in the file."""
    version, code, position = box[0], ("I" if box[0] == 2 else "H"), 6
    offset, length, base, index = box[4] >> 4, box[4] & 15, box[5] >> 4, (box[5] & 15 if version else 0)

    def number(size: int) -> int:
        nonlocal position
        position += size
        if position > len(box):
            raise EOFError
        return int.from_bytes(box[position - size : position])

    for _ in range(number(struct.calcsize(code))):
        item = number(struct.calcsize(code))
        method = number(2) & 15 if version else 0
        number(2)
        start = number(base)
        extents = number(2)
        if extents > MAX_EXTENTS:
            raise PictureError(f"the picture's file is in more than {MAX_EXTENTS} pieces; save it again")
        for _ in range(extents):
            number(index)
            begin = start + number(offset)
            # Those that stand elsewhere than in the file itself are left out.
            extent = (begin, begin + number(length))
            if method == 0:
                items.extents.setdefault(item, []).append(extent)


def _check_av1(data: bytes, items: _Items, parts: set[int]) -> None:
    """Raise `PictureError` where a coded part is not as small as the file says: memory is foreseen for that."""
    extents = {part: items.extents.get(part, []) for part in parts if items.types.get(part) == b"av01"}
    # Parts that share their content would be read again and again.
    if sum(end - start for pieces in extents.values() for start, end in pieces) > len(data):
        raise PictureError("the picture's parts overlap in its file; save it again")
    for part, pieces in extents.items():
        sizes = list(av1.sizes(b"".join(data[start:end] for start, end in pieces)))
        width, height = items.sizes.get(part, (0, 0))
        if not sizes or any(across > width or down > height for across, down in sizes):
            raise PictureError("the picture is not of the size that its file says; save it again")


def _read_properties(data: bytes, start: int, end: int, items: _Items) -> None:
    for name, begin, stop in _boxes(data, start, end):
        if name == b"ipco":
            for kind, at, _ in _boxes(data, begin, stop):
                size = struct.unpack_from(">II", data, at + 4) if kind == b"ispe" else (0, 0)
                items.properties.append((size[0], size[1]))
        elif name == b"ipma":
            _read_associations(data[begin:stop], items)


def _read_associations(box: bytes, items: _Items) -> None:
    """Note the size of each item: the one of its properties that is one."""
    item, wide = ("I" if box[0] else "H"), box[3] & 1
    (entries,) = struct.unpack_from(">I", box, 4)
    position = 8
    for _ in range(entries):
        number, count = struct.unpack_from(f">{item}B", box, position)
        position += struct.calcsize(f">{item}B")
        for index in struct.unpack_from(f">{count}{'H' if wide else 'B'}", box, position):
            place = (index & (0x7FFF if wide else 0x7F)) - 1
            if 0 <= place < len(items.properties) and items.properties[place] != (0, 0):
                items.sizes[number] = items.properties[place]
        position += count * (2 if wide else 1)
