"""Pictures of every kind: as Pillow alone shows them, or refused by name. Runs in the images of both sides."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from classifier import pictures
from tests.unit.classifier.conftest import HEIC

ORIENTATION = 0x0112


def drawn(size: tuple[int, int] = (48, 32)) -> Image.Image:
    """Return a picture with no symmetry."""
    image = Image.new("RGB", size, (240, 230, 40))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0] // 2, size[1] // 3), (200, 30, 40))
    draw.ellipse((size[0] // 3, size[1] // 3, size[0], size[1]), (30, 60, 210))
    return image


def saved(form: str, mode: str = "RGB", size: tuple[int, int] = (48, 32), **options: object) -> bytes:
    stream = io.BytesIO()
    drawn(size).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def turned(form: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(form, exif=exif)


def transparent(form: str, mode: str) -> bytes:
    image = drawn()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    stream = io.BytesIO()
    image.convert(mode).save(stream, form, lossless=True)
    return stream.getvalue()


def palette(form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    drawn().quantize(16).save(stream, form, **options)
    return stream.getvalue()


def animated(form: str) -> bytes:
    stream = io.BytesIO()
    drawn().save(stream, form, save_all=True, append_images=[Image.new("RGB", (48, 32), "black")], lossless=True)
    return stream.getvalue()


def without(jpeg: bytes, marker: int) -> bytes:
    """Return the JPEG without its first segment of that marker."""
    start = jpeg.index(bytes((0xFF, marker)))
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4]) :]


def grey16(form: str) -> bytes:
    stream = io.BytesIO()
    values = np.asarray(drawn().convert("L")).astype(np.uint16) * 257
    Image.fromarray(values).save(stream, form)
    return stream.getvalue()


def png(depth: int, colour: int, channels: int) -> bytes:
    """Return a PNG of a kind that Pillow does not write: the drawn picture at `depth` bits a channel."""
    image = np.asarray(drawn().convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]))
    if depth == 16:
        rows = [(row.astype(">u2") * 257).tobytes() for row in image]
    else:
        bits = np.unpackbits((image >> (8 - depth))[..., None], axis=-1)[..., -depth:]
        rows = [np.packbits(row).tobytes() for row in bits.reshape(len(image), -1)]
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(bits: int, channels: int, photometric: int, kind: int = 1) -> bytes:
    """Return a TIFF that Pillow does not write, of the drawn picture in grey; `kind` is 2 for signed, 3 for floats."""
    image = np.asarray(drawn().convert("L")).astype(np.uint16) * 257 >> 16 - bits
    image = (1 << bits) - 1 - image if photometric == 0 else image
    content = np.repeat(image[..., None], channels, axis=2).astype("<u2" if bits == 16 else ">u2")
    if bits == 12:
        content = np.packbits(np.unpackbits(content.view(np.uint8).reshape(-1, 2), axis=1)[:, 4:])
    numbers = {256: 48, 257: 32, 258: bits, 259: 1, 262: photometric, 273: 200, 277: channels, 278: 32, 339: kind}
    entries = [struct.pack("<HHII", tag, 4, 1, number) for tag, number in (numbers | {279: content.nbytes}).items()]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries)
    return head.ljust(200, b"\0") + content.tobytes()


def huge() -> bytes:
    stream = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(stream, "PNG")
    return stream.getvalue()


def heic() -> bytes:
    return HEIC.read_bytes()


def reference(data: bytes) -> Image.Image:
    """Return what Pillow alone shows: upright, on a white page, 16 bits scaled to 8."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


Make = Callable[[], bytes]
READ: dict[str, Make] = {
    **{f"{form} {mode}": partial(saved, form, mode) for form, modes in {
        "JPEG": ("RGB", "L", "CMYK", "YCbCr"),
        "PNG": ("RGB", "L", "1", "P"),
        "GIF": ("RGB", "L", "P", "1"),
        "BMP": ("RGB", "L", "1", "P"),
        "TIFF": ("RGB", "L", "1", "P", "CMYK", "YCbCr", "LAB"),
        "WEBP": ("RGB", "L"),
        "AVIF": ("RGB", "L"),
    }.items() for mode in modes},
    **{f"{form} turned {i}": partial(turned, form, i)
       for form in ("JPEG", "PNG", "WEBP", "TIFF") for i in ((*range(1, 9),) if form == "JPEG" else (3, 6))},
    **{f"{form} with transparency, {mode}": partial(transparent, form, mode) for form, mode in (
        ("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"), ("AVIF", "RGBA"))},
    **{f"{form} with a transparent palette entry": partial(palette, form, transparency=2) for form in ("PNG", "GIF")},
    **{f"animated {form}": partial(animated, form) for form in ("GIF", "WEBP", "PNG", "TIFF")},
    **{f"{form} of 16 bits": partial(grey16, form) for form in ("PNG", "TIFF")},
    **{f"PNG of {depth} bits, grey": partial(png, depth, 0, 1) for depth in (1, 2, 4)},
    "PNG of 16 bits, colour": partial(png, 16, 2, 3),
    "PNG of 16 bits, colour with alpha": partial(png, 16, 6, 4),
    "progressive JPEG": partial(saved, "JPEG", progressive=True),
    **{f"JPEG with chroma {name}": partial(saved, "JPEG", subsampling=i)
       for i, name in enumerate(("4:4:4", "4:2:2", "4:2:0"))},
    "JPEG of quality 1": partial(saved, "JPEG", quality=1),
    "JPEG with restart markers": partial(saved, "JPEG", restart_marker_rows=1),
    "JPEG with a comment": partial(saved, "JPEG", comment=b"x" * 300),
    "CMYK JPEG without Adobe's marker": lambda: without(saved("JPEG", "CMYK"), 0xEE),
    "JPEG with a profile of many segments": partial(saved, "JPEG", icc_profile=bytes(200_000)),
    "JPEG with bytes behind it": lambda: saved("JPEG") + b"more" * 100,
    "JPEG of several pictures (MPO)": partial(animated, "MPO"),
    "GIF on a larger screen": lambda: (gif := palette("GIF"))[:6] + b"\x40\0\x40\0" + gif[10:],
    "PNG with a transparent grey": partial(saved, "PNG", "L", transparency=240),
    "PNG with a transparent colour": partial(saved, "PNG", transparency=(240, 230, 40)),
    "PNG with transparency in a palette": partial(palette, "PNG", transparency=bytes(range(0, 256, 16))),
    "BigTIFF": partial(saved, "TIFF", big_tiff=True),
    "fax": partial(saved, "TIFF", "1", compression="group4"),
    "interlaced GIF": partial(saved, "GIF", interlace=1),
    "lossless WebP": partial(saved, "WEBP", lossless=True),
    **{f"TIFF, {name}": partial(saved, "TIFF", compression=name)
       for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")},
    "one pixel": partial(saved, "PNG", size=(1, 1)),
    "a column": partial(saved, "PNG", size=(1, 300)),
    "a row": partial(saved, "JPEG", size=(300, 1)),
    "HEIC": heic,
}  # fmt: skip

REFUSED: dict[str, tuple[Make, str]] = {
    "nothing": (lambda: b"", "not a picture"),
    "text": (lambda: b"a cat", "not a picture"),
    "zeros": (lambda: bytes(1000), "not a picture"),
    "a cut JPEG": (lambda: saved("JPEG")[:300], "damaged or incomplete"),
    "a cut PNG": (lambda: saved("PNG")[:-60], "damaged or incomplete"),
    "a cut GIF": (lambda: saved("GIF")[:60], "damaged or incomplete"),
    "a cut WebP": (lambda: saved("WEBP")[:60], "damaged or incomplete"),
    "a cut BMP": (lambda: saved("BMP")[:400], "damaged or incomplete"),
    "a cut TIFF": (lambda: saved("TIFF")[:400], "damaged or incomplete"),
    "a cut AVIF": (lambda: saved("AVIF")[:150], "damaged or incomplete"),
    "a cut HEIC": (lambda: heic()[: len(heic()) // 2], "damaged or incomplete"),
    "a header": (lambda: b"\xff\xd8\xff\xe0", "damaged or incomplete"),
    "TIFF of 32-bit floats": (lambda: saved("TIFF", "F"), "32-bit"),
    "TIFF of 32-bit integers": (lambda: saved("TIFF", "I"), "32-bit"),
    "TIFF of signed integers": (partial(tiff, 16, 1, 1, 2), "signed values"),
    "TIFF of 16-bit floats": (partial(tiff, 16, 1, 1, 3), "a damaged TIFF, or of a kind that is not read"),
    "TIFF of 12 bits whose zero is white": (partial(tiff, 12, 1, 0), "a damaged TIFF, or of a kind that is not read"),
    "JPEG of 12 bits": (lambda: saved("JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "JPEG of a kind"),
    "TIFF of 13 bands": (partial(tiff, 16, 13, 1), "a damaged TIFF, or of a kind that is not read"),
    "too many pixels": (huge, "million pixels"),
    "JPEG 2000": (lambda: saved("JPEG2000"), "JPEG 2000"),
    "ICO": (lambda: saved("ICO"), "icon"),
    "PPM": (lambda: saved("PPM"), "PNM"),
    "PDF": (lambda: saved("PDF"), "PDF"),
    "EPS": (lambda: saved("EPS"), "PostScript"),
    "DDS": (lambda: saved("DDS"), "DirectDraw"),
    "QOI": (lambda: b"qoif" + bytes(20), "QOI"),
    "JPEG XL": (lambda: b"\xff\n" + bytes(20), "JPEG XL"),
    "PSD": (lambda: b"8BPS\0\1" + bytes(20), "Photoshop"),
    "XCF": (lambda: b"gimp xcf v011", "GIMP"),
    "CR2": (lambda: b"II*\0\x10\0\0\0CR\2\0", "raw picture"),
    "CR3": (lambda: b"\0\0\0\x18ftypcrx isom", "raw picture"),
    "RAF": (lambda: b"FUJIFILMCCD-RAW 0201", "raw picture"),
    "RW2": (lambda: b"IIU\0\x18\0\0\0", "raw picture"),
    "ORF": (lambda: b"IIRO\x08\0\0\0", "raw picture"),
    "OpenEXR": (lambda: b"v/1\x01\2\0\0\0", "OpenEXR"),
    "Radiance": (lambda: b"#?RADIANCE\n", "Radiance"),
    "SVG": (lambda: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "HTML": (lambda: b"<!DOCTYPE html><html></html>", "HTML"),
    "XML": (lambda: b"<?xml version='1.0'?><annotation/>", "XML"),
    "DICOM": (lambda: bytes(128) + b"DICM\2\0", "DICOM"),
    "NIfTI": (lambda: b"\x5c\1" + bytes(342) + b"n+1\0", "NIfTI"),
    "FITS": (lambda: b"SIMPLE  =                    T", "FITS"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n", "HDF5"),
    "SGI": (lambda: saved("SGI"), "SGI"),
    "PCX": (lambda: saved("PCX"), "PCX"),
    "ICNS": (lambda: saved("ICNS", size=(128, 128)), "ICNS"),
    "EMF": (lambda: b"\1\0\0\0" + bytes(36) + b" EMF", "Windows metafile"),
    "DjVu": (lambda: b"AT&TFORM\0\0", "DjVu"),
    "Thumbs.db": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Thumbs.db"),
    "AppleDouble": (lambda: b"\0\5\x16\7\0\2\0\0Mac OS X", "macOS keeps beside a file"),
    "JPEG as text": (lambda: saved("JPEG").decode(errors="replace").encode(), "read as text"),
    "JPEG as letters": (lambda: saved("JPEG").decode("latin-1").encode(), "read as text"),
    "PNG as text": (lambda: saved("PNG").decode(errors="replace").encode(), "read as text"),
    "PNG with a line end less": (lambda: saved("PNG").replace(b"\r\n", b"\n"), "line ends were converted"),
    "PNG with a line end more": (lambda: saved("PNG").replace(b"\n", b"\r\n"), "line ends were converted"),
    "JSON": (lambda: b'{"label": "cat"}', "JSON"),
    "base64": (lambda: b"/9j/4AAQSkZJRg==", "base64"),
    "MP4": (lambda: b"\0\0\0\x18ftypmp42", "video"),
    "AVI": (lambda: b"RIFF\0\0\0\0AVI LIST", "video"),
    "WAV": (lambda: b"RIFF\0\0\0\0WAVEfmt ", "sound"),
    "ZIP": (lambda: b"PK\3\4" + bytes(20), "ZIP"),
    "gzip": (lambda: b"\x1f\x8b\x08" + bytes(20), "gzip"),
    "7z": (lambda: b"7z\xbc\xaf\x27\x1c", "archive"),
    "npy": (lambda: b"\x93NUMPY\1\0", ".npy"),
    "pickle": (lambda: b"\x80\4.", "pickle"),
}


@pytest.mark.parametrize("make", READ.values(), ids=READ)
def test_as_pillow_alone_shows_it(make: Make, tmp_path: Path) -> None:
    data = make()
    expected = np.asarray(reference(data)).astype(int)
    (tmp_path / "wrong.ending").write_bytes(data)
    for source in (data, tmp_path / "wrong.ending"):
        image = pictures.decode(source)
        assert image.mode == "RGB"
        assert np.asarray(image).shape == expected.shape
        assert np.abs(np.asarray(image) - expected).max() <= 1


@pytest.mark.parametrize(("bits", "photometric"), [(12, 1), (16, 0), (16, 1)])
def test_grey_of_many_bits_is_scaled_whether_zero_is_black_or_white(bits: int, photometric: int) -> None:
    expected = np.asarray(drawn().convert("L")).astype(int)[..., None]
    assert np.abs(np.asarray(pictures.decode(tiff(bits, 1, photometric))) - expected).max() <= 1


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(make: Make, said: str) -> None:
    with pytest.raises(pictures.PictureError, match=said) as raised:
        pictures.decode(make())
    assert "\n" not in str(raised.value)


def test_the_tables_are_long_enough() -> None:
    assert len(READ) + len(REFUSED) >= 75
