"""Reduce a file to what its first picture is made of, before a decoder sees it.

A picture's file holds more than the picture: comments, profiles, previews, further frames, texts that unpack to a
thousand times their size. Decoders read all of it, some in time that grows with its square. Here the file is walked
once, cheaply, and what shows the picture is kept: what no decoder sees needs no limit. What remains costs time in
proportion to the picture's pixels, times the scans of a JPEG, and these are limited here.

JPEG: ITU-T T.81. PNG: w3.org/TR/png-3. GIF: w3.org/Graphics/GIF/spec-gif89a.txt. WebP: RFC 9649. BMP: Microsoft's
BITMAPINFOHEADER. TIFF is in `classifier.tiff`; HEIF and AVIF are in `classifier.boxes`.
"""

import re
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from classifier.errors import PictureError, PictureTooLargeError

#: Pixels a picture may have (89 million: Pillow's own line between a photograph and a decompression bomb).
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 0

#: Scans a JPEG may have. Encoders write up to 15; each takes the time to visit every pixel once.
MAX_SCANS = 100
#: Scans times pixels: a picture with `MAX_PIXELS` may have 16 scans.
MAX_PIXELS_SCANNED = 16 * MAX_PIXELS
#: Bytes of tables before a JPEG's first scan: four of each kind, as many as can be used at a time, are 2 kB.
MAX_JPEG_TABLES = 65_536
#: Pixels of a run-length-coded BMP, which Pillow decodes in Python.
MAX_RLE_PIXELS = 16_000_000

_SOF0, _SOF2, _DHT, _EOI, _SOS, _COM = 0xC0, 0xC2, 0xC4, 0xD9, 0xDA, 0xFE
# The application segments that say how a picture is to be shown: its colour space and orientation.
_JPEG_KEPT = {0xE0: b"JFIF\0", 0xE1: b"Exif\0\0", 0xEE: b"Adobe"}
# A byte of entropy-coded data that looks like a marker is followed by 0; the markers without a segment are left out.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)

# Channels by the kind of colour; and the first column and row of each pass, and the steps to the next ones.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# Bytes that are unpacked at a time: they may become a thousand times as many.
_PART = 4096

_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"eXIf")
_WEBP_KEPT = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L", b"EXIF")


def jpeg(data: bytes) -> bytes:
    """Return the JPEG without comments, profiles and previews; raises `PictureTooLargeError` for too many scans.

    Raises `PictureError` for any process but the two that photographs are saved with, sequential and progressive DCT
    with Huffman codes, and for more than 8 bits a channel.
    """
    kept, tables, wanted = [data[:2]], 0, dict(_JPEG_KEPT)
    frame = b""
    for marker, start, end in _jpeg_segments(data):
        segment = data[start:end]
        if marker == _SOS:
            break
        if 0xE0 <= marker <= 0xEF or marker == _COM:
            if marker in wanted and segment.startswith(wanted[marker], 4):
                del wanted[marker]
                kept.append(segment)
            continue
        if 0xC0 <= marker <= 0xCF and marker != _DHT:
            if frame or marker > _SOF2 or data[start + 4] != 8:
                raise PictureError("the picture is a JPEG of a kind that is not read; save it as an ordinary JPEG")
            frame = segment
        tables += len(segment)
        if tables > MAX_JPEG_TABLES:
            raise PictureTooLargeError("the picture has more tables than a JPEG can use; save it again")
        kept.append(segment)
    else:
        raise EOFError
    reduced = b"".join((*kept, memoryview(data)[start:]))
    if jpeg_is_buffered(reduced):
        height, width = struct.unpack_from(">HH", frame, 5)
        _check_scans(reduced, width * height)
    return reduced


def jpeg_is_buffered(data: bytes) -> bool:
    """Whether the picture comes in several scans: a decoder then keeps all its coefficients until the last one."""
    progressive, components = False, 0
    for marker, start, _ in _jpeg_segments(data):
        if _SOF0 <= marker <= _SOF2:
            progressive, components = marker == _SOF2, data[start + 9]
        if marker == _SOS:
            return progressive or data[start + 4] < components
    raise EOFError


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each segment's marker, start and end; raises `EOFError` where the picture's end is missing."""
    position = 2
    while match := _JPEG_MARKER.search(data, position):
        marker, start = data[match.start() + 1], match.start()
        if marker == _EOI:
            return
        position = start + 2 + max(2, struct.unpack_from(">H", data, start + 2)[0])
        yield marker, start, position
    raise EOFError


def _check_scans(data: bytes, pixels: int) -> None:
    most = min(MAX_SCANS, MAX_PIXELS_SCANNED // max(1, pixels))
    scans = data.count(b"\xff\xda")
    # That took a millisecond, but also counts such bytes in tables and behind the picture's end.
    if scans > most:
        scans = sum(marker == _SOS for marker, _, _ in _jpeg_segments(data))
    if scans > most:
        raise PictureTooLargeError(
            f"the picture is a JPEG of {pixels / 1e6:.1f} million pixels in {scans} scans, and {most} are read; "
            "save it as an ordinary JPEG"
        )


def png(data: bytes) -> bytes:
    """Return the PNG without texts, profiles and further frames, its pixels in one chunk however many there were."""
    view, position = memoryview(data), 8
    chunks: dict[bytes, memoryview] = {}
    pixels = bytearray()
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if name == b"IDAT":
            pixels += view[position + 8 : end - 4]
        elif name == b"IEND":
            break
        elif name in _PNG_KEPT:
            chunks.setdefault(name, view[position:end])
        position = end
    # Pillow, as most decoders, takes no notice of the pixels' checksum: their compression has one of its own.
    begin = struct.pack(">I4s", len(pixels), b"IDAT")
    return b"".join((view[:8], *chunks.values(), begin, pixels, bytes(4), b"\0\0\0\0IEND\xae\x42\x60\x82"))


def png_has_all_rows(data: bytes) -> bool:
    """Tell whether what `png` has returned holds all rows of pixels; Pillow leaves those at zero that are not there."""
    chunks, position = {}, 8
    while b"IDAT" not in chunks:
        length, name = struct.unpack_from(">I4s", data, position)
        chunks[name] = memoryview(data)[position + 8 : position + 8 + length]
        position += 12 + length
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    missing = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        missing += rows * (1 + (columns * depth * _PNG_CHANNELS[colour] + 7) // 8) if columns > 0 else 0
    stream, pixels = zlib.decompressobj(), chunks[b"IDAT"]
    for begin in range(0, len(pixels), _PART):
        missing -= len(stream.decompress(pixels[begin : begin + _PART]))
        if missing <= 0:
            return True
    return False


def gif(data: bytes) -> bytes:
    """Return the GIF without what stands before its first frame, but for the control block that belongs to it."""
    position = 13 + _gif_palette(data[10])
    head, control = data[:position], b""
    while data[position] != ord(","):
        if data[position] == ord(";"):
            raise EOFError
        start = position
        position += 1
        if data[start] == ord("!"):
            label = data[position]
            position += 1
            while length := data[position]:
                position += 1 + length
            position += 1
            if label == 0xF9:
                control = data[start:position]
    return b"".join((head, control, memoryview(data)[position:]))


def _gif_palette(flags: int) -> int:
    """Return the length of the palette that follows where these are a block's `flags`."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def webp(data: bytes) -> bytes:
    """Return the WebP without profiles, metadata but EXIF, and further frames."""
    view, position = memoryview(data), 12
    chunks: dict[bytes, memoryview] = {}
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + length % 2
        if name in _WEBP_KEPT:
            chunks.setdefault(name, view[position:end])
        position = end
    size = 4 + sum(map(len, chunks.values()))
    return b"".join((b"RIFF", struct.pack("<I", size), b"WEBP", *chunks.values()))


def bmp(data: bytes) -> bytes:
    """Return the BMP as it is; raises `PictureTooLargeError` where decoding it would take long."""
    (size,) = struct.unpack_from("<I", data, 14)
    if size < 40:  # OS/2's, which are not compressed
        return data
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2) and abs(width * height) > MAX_RLE_PIXELS:
        raise PictureTooLargeError(
            f"the picture is a run-length-coded BMP of more than {MAX_RLE_PIXELS // 1_000_000} million pixels; "
            "save it as a PNG"
        )
    return data
