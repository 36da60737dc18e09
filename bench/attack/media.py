"""Pictures that are cut, changed, lie about themselves, or grow beyond measure when they are decoded."""

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable

from PIL import Image

from bench.attack.request import Request, post

#: The formats that people send; HEIC is an AVIF under HEIC's name, for nothing here writes HEVC.
FORMATS = (
    "JPEG", "progressive JPEG", "CMYK JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF", "AVIF", "HEIC", "JP2", "ICO", "PPM",
)  # fmt: skip

_TYPES = {"JP2": "JPEG2000"}
_MB = 1024 * 1024


@functools.cache
def picture(form: str, side: int = 64) -> bytes:
    """Return a small good picture in one of `FORMATS`, with metadata where the format has any."""
    soft = Image.frombytes("RGB", (8, 6), random.Random(form).randbytes(8 * 6 * 3))
    drawn = soft.resize((side, side * 3 // 4), Image.Resampling.BICUBIC)
    if form == "CMYK JPEG":
        drawn = drawn.convert("CMYK")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    data = io.BytesIO()
    encoder = {"HEIC": "AVIF"}.get(form, _TYPES.get(form, form.split()[-1]))
    more = {"exif": exif} if encoder in ("JPEG", "PNG", "WebP", "TIFF", "AVIF") else {}
    drawn.save(data, encoder, progressive=form == "progressive JPEG", **more)
    made = data.getvalue()
    return made.replace(b"avif", b"heic").replace(b"av01", b"hvc1") if form == "HEIC" else made


def good(generator: random.Random) -> bytes:
    """Return a good picture."""
    return picture(generator.choice(("JPEG", "PNG", "WebP", "GIF")))


def cut(generator: random.Random) -> bytes:
    """Return the beginning of a picture: half of the time cut within its header."""
    whole = picture(generator.choice(FORMATS))
    return whole[: generator.randrange(generator.choice((min(len(whole), 700), len(whole))))]


def changed(generator: random.Random) -> bytes:
    """Return a picture with some of its bytes changed, dropped, doubled or moved."""
    data = bytearray(picture(generator.choice(FORMATS)))
    for _ in range(generator.choice((1, 2, 5, 20))):
        at, length = generator.randrange(len(data)), generator.choice((1, 2, 4, 16, 100))
        manner = generator.randrange(5)
        if manner == 0:
            data[at] ^= 1 << generator.randrange(8)
        elif manner == 1:
            data[at : at + length] = generator.choice((b"\0", b"\xff", b"\x7f")) * length
        elif manner == 2:
            del data[at : at + length]
        elif manner == 3:
            data[at:at] = data[at : at + length]
        else:
            data[at : at + length] = generator.randbytes(length)
        if not data:
            break
    return bytes(data)


def mixed(generator: random.Random) -> bytes:
    """Return the beginning of one picture and the end of another, or one behind another."""
    first, second = (picture(generator.choice(FORMATS)) for _ in range(2))
    return first[: generator.randrange(1, len(first) + 1)] + second[generator.randrange(len(second)) :]


def _chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    """Return a chunk of a PNG; `length` is what it says of itself."""
    said = len(data) if length is None else length
    return struct.pack(">I", said) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    """Return a PNG of `chunks` behind a header that says these pixels, bits a channel and kind of colour."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


@functools.cache
def zeros(length: int) -> bytes:
    """Return a zlib stream of so many zeros, made without compressing them all: its blocks are alike."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(bytes(_MB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15)
    last = end.compress(bytes(length % _MB)) + end.flush()
    checksum = (length % 65_521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + block * (length // _MB) + last + struct.pack(">I", checksum)


def black(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """Return a whole PNG of zeros: `colour` 0 is grey, 2 is RGB."""
    row = 1 + (width * depth * (3 if colour == 2 else 1) + 7) // 8
    return png(width, height, depth, colour, _chunk(b"IDAT", zeros(row * height)))


def lying(generator: random.Random) -> bytes:
    """Return a picture whose header says other sizes than its data has, up to the largest numbers there are."""
    side = generator.choice((0, 1, 65_535, 65_536, 2**31 - 1, 2**32 - 1))
    other = generator.choice((0, 1, side, 50_000))
    form = generator.randrange(5)
    if form == 0:
        depth, colour = generator.choice((1, 8, 16, 255)), generator.choice((0, 2, 3, 6, 9))
        return png(side, other, depth, colour, _chunk(b"IDAT", zeros(1000)))
    if form == 1:
        data = bytearray(picture("JPEG"))
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", side & 0xFFFF, other & 0xFFFF)
        return bytes(data)
    if form == 2:
        return b"GIF89a" + struct.pack("<HH", side & 0xFFFF, other & 0xFFFF) + picture("GIF")[10:]
    if form == 3:
        data = bytearray(picture("BMP"))
        data[18:26] = struct.pack("<II", side, other)
        return bytes(data)
    return b"P6\n%d %d\n%d\n" % (side, other, generator.choice((0, 1, 255, 65_535, 2**40))) + bytes(300)


def png_chunks(generator: random.Random) -> bytes:
    """Return a PNG whose chunks are of a wrong length, order, number or kind."""
    pixels = _chunk(b"IDAT", zeros(65 * 64))
    said = generator.choice((0, 1, 2**30, 2**31 - 1, 2**32 - 1))
    chunks = (
        (_chunk(b"tEXt", b"Comment\0x", said), pixels),
        (_chunk(b"iCCP", b"x\0\0" + zeros(1000)), pixels),
        (_chunk(b"eXIf", exif(generator)), pixels),
        (_chunk(b"IDAT", zeros(65 * 64), said),),
        (pixels, pixels),
        (),
        (_chunk(b"PLTE", b"\0" * 7), pixels),
        (_chunk(b"acTL", struct.pack(">II", said & 0x7FFFFFFF, 0)), pixels),
        (*(_chunk(b"tEXt", b"k%d\0v" % i) for i in range(3000)), pixels),
        (*(_chunk(b"IDAT", b"") for _ in range(3000)), pixels),
        (_chunk(b"\0\0\0\0", b"x"), pixels),
    )
    return png(64, 64, 8, 0, *generator.choice(chunks))


def tiff(generator: random.Random) -> bytes:
    """Return a TIFF whose folders point to themselves or each other, or whose fields count to the largest number."""
    order = generator.choice("<>")
    count, kind = generator.choice((0, 1, 65_535, 2**31, 2**32 - 1)), generator.choice((1, 2, 3, 4, 5, 12, 13, 99))
    here = generator.choice((8, 8, 26, 0, 7, 2**32 - 1))
    entries = b"".join(
        struct.pack(order + "HHII", tag, kind, count, generator.choice((8, 0, 2**32 - 1)))
        for tag in generator.sample((256, 257, 258, 259, 262, 273, 277, 278, 279, 330, 34_665, 700), 6)
    )
    directory = struct.pack(order + "H", generator.choice((6, 6, 0, 65_535))) + entries + struct.pack(order + "I", here)
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", generator.choice((42, 42, 43)), 8) + directory


def exif(generator: random.Random) -> bytes:
    """Return EXIF data whose folders lead back to themselves, or whose orientation is none."""
    tag, at = generator.choice((0x8769, 0x8825, 0xA005, 0x014A)), generator.choice((8, 8, 26, 2**32 - 1))
    orientation = struct.pack(
        "<HHII", 0x0112, generator.choice((3, 2, 12)), generator.choice((1, 2**31)), generator.choice((0, 6, 9))
    )
    pointer = struct.pack("<HHII", tag, 4, 1, at)
    return b"II*\0" + struct.pack("<IH", 8, 2) + orientation + pointer + struct.pack("<I", at)


def exif_loop(generator: random.Random) -> bytes:
    """Return a JPEG with such EXIF data, or with many segments of them."""
    block = b"Exif\0\0" + exif(generator)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(block)) + block
    return b"\xff\xd8" + segment * generator.choice((1, 1, 500)) + picture("JPEG")[2:]


@functools.cache
def _animation(form: str, frames: int) -> bytes:
    data = io.BytesIO()
    pictures = [Image.new("RGB", (16, 16), (i * 7 % 256, i * 11 % 256, i * 13 % 256)) for i in range(frames)]
    pictures[0].save(data, form, save_all=True, append_images=pictures[1:], duration=1)
    return data.getvalue()


def animation(generator: random.Random) -> bytes:
    """Return a moving picture of a hundred frames."""
    return _animation(generator.choice(("GIF", "PNG", "WebP")), 100)


@functools.cache
def gif(frames: int, side: int = 1) -> bytes:
    """Return a GIF of so many frames, all alike, on a canvas of `side` pixels squared."""
    frame = b"\x21\xf9\x04\0\0\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * frames + b";"


@functools.cache
def scans(side: int, count: int) -> bytes:
    """Return a grey progressive JPEG of `side` pixels squared whose last scan is repeated `count` times."""
    data = io.BytesIO()
    Image.new("L", (side, side)).save(data, "JPEG", progressive=True)
    made = data.getvalue()
    last = made.rindex(b"\xff\xda")
    return made[:last] + made[last:-2] * count + b"\xff\xd9"


def _sent(make: Callable[[random.Random], bytes]) -> Callable[[random.Random], Request]:
    """Return the generator of requests that send what `make` makes."""
    return lambda generator: post(make(generator), generator.choice(("image/jpeg", "application/x-image")))


USUAL = {
    "picture cut": _sent(cut),
    "picture changed": _sent(changed),
    "picture of two": _sent(mixed),
    "picture that lies": _sent(lying),
    "PNG chunks": _sent(png_chunks),
    "TIFF loop": _sent(tiff),
    "EXIF loop": _sent(exif_loop),
    "animation": _sent(animation),
}
LARGE = {
    "GIF of 10,000 frames": _sent(lambda _: gif(10_000)),
    "PNG text of 1 GB": _sent(lambda _: png(64, 64, 8, 0, _chunk(b"zTXt", b"x\0\0" + zeros(1024 * _MB)))),
}
HEAVY = {
    "PNG of 400 megapixels": _sent(lambda _: black(20_000, 20_000, depth=1)),
    "PNG of 89 megapixels": _sent(lambda _: black(9_433, 9_433)),
    "PNG of 89 megapixels, colour": _sent(lambda _: black(9_433, 9_433, colour=2)),
    "PNG of 10,000,000 rows": _sent(lambda _: black(1, 10_000_000)),
    "JPEG of 2,000 scans": _sent(lambda _: scans(2_000, 2_000)),
    "JPEG of 88 megapixels, 25,000 scans": _sent(lambda _: scans(9_380, 25_000)),
    "GIF of 4 gigapixels": _sent(lambda _: gif(1, 65_535)),
    "PNG of 64 MB of profile": _sent(lambda _: png(64, 64, 8, 0, _chunk(b"iCCP", b"x\0\0" + zeros(64 * _MB)))),
}
