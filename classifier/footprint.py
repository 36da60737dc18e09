"""How much memory decoding a picture takes, from its header alone.

The peak is what is held at the worst moment, in bytes, besides the file that was given:

    4 MB + file + max(decoder + picture, picture + result + 6 MB, turned + 6 MB)

- file: the part of it that is decoded; twice for WebP, HEIF and AVIF, whose decoders keep a copy; not for BMP.
- picture: as Pillow stores it: 1 byte a pixel (grey, palette, black and white), 2 (16 bits) or 4 (all others).
- decoder: what the format's decoder holds besides (`_decoder`). Those of WebP and AVIF hold it until the end.
- result: 4 bytes a pixel where the picture is converted to RGB, part by part.
- turned: 8 bytes a pixel where the result is rotated or mirrored: for a moment it is there twice.

Held against the resident memory of each format and mode, of 0.2 to 54 million pixels, with Pillow 13.0 and pi-heif 1.4:
never below it, and for large pictures mostly within half as much again. More is foreseen for AVIF, whose depth and
subsampling Pillow does not tell, and for JPEG inside of TIFF.
"""

from typing import Any

from PIL import Image

from classifier.containers import jpeg_is_buffered

_RGB_BYTES = 4
_FIXED_BYTES, _CONVERSION_BYTES = 4_000_000, 6_000_000
_COPIES = {"BMP": 0, "WEBP": 2, "HEIF": 2, "AVIF": 2}


def peak(image: Image.Image, full: tuple[int, int], data: bytes, turned: bool) -> int:
    """Return the most bytes that decoding takes.

    `image` is opened from `data` and may be set to a reduced scale; its size is `full` without. `turned` says whether
    it will be rotated or mirrored.
    """
    pixels = image.width * image.height
    picture = pixels * _pixel_bytes(image.mode)
    decoder = _decoder(image, full, data)
    held = decoder + picture
    if image.mode != "RGB" or "transparency" in image.info:
        converted = picture + _RGB_BYTES * pixels + _CONVERSION_BYTES
        held = max(held, converted + (decoder if image.format in ("WEBP", "AVIF") else 0))
    if turned:
        held = max(held, 2 * _RGB_BYTES * pixels + _CONVERSION_BYTES)
    return _FIXED_BYTES + _COPIES.get(image.format or "", 1) * len(data) + held


def _pixel_bytes(mode: str) -> int:
    """Return the bytes in which Pillow stores a pixel."""
    return 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4


def _decoder(image: Any, full: tuple[int, int], data: bytes) -> int:
    """Return the bytes that the decoder of the picture's format holds besides the picture."""
    width, height = full
    pixels = width * height
    match image.format:
        case "JPEG":
            # Some rows; and in several scans every coefficient, 2 bytes each, at full scale whatever the result's is.
            most = max(across for _, across, _, _ in image.layer) * max(down for _, _, down, _ in image.layer)
            coefficients = sum(across * down for _, across, down, _ in image.layer) * pixels // most
            return 100 * width + (2 * coefficients if jpeg_is_buffered(data) else 0)
        case "PNG":
            return 3 * 8 * width  # rows of up to 16 bits a channel
        case "BMP":
            return 9 * pixels // 4 if image.info["compression"] else 0  # run lengths are decoded in Python
        case "TIFF":
            # A strip or tile; later, where Pillow turns it, the picture once more.
            again = pixels * _pixel_bytes(image.mode) if image.tag_v2.get(274, 1) != 1 else 0
            return max(_tiff_part(image), again)
        case "WEBP":
            return 3 * 4 * pixels  # the canvas, the one before, and a copy
        case "AVIF":
            # Planes of up to 16 bits in full resolution, of which a filter may keep a second set; and a copy as RGB.
            return (10 if image.mode == "RGB" else 12) * pixels
        case "HEIF":
            # The planes, as they are coded and converted to full resolution, and a copy as RGB.
            share = {420: 1.5, 422: 2, 444: 3}.get(image.info.get("chroma"), 1) + (image.mode == "RGBA")
            depth = 1 if image.info["bit_depth"] <= 8 else 2
            return int((2 * share * depth + 2.5) * pixels)
    return 0


def _tiff_part(image: Any) -> int:
    """Return the bytes of a compressed TIFF's largest strip or tile, which libtiff decodes as a whole."""
    tags = image.tag_v2
    if image.info["compression"] == "raw":
        return 0
    width, length = tags.get(322, tags[256]), tags.get(323, min(tags.get(278, tags[257]), tags[257]))
    samples = max(tags.get(277, 1), len(tags.get(258, (1,))))
    bits = samples * max(tags.get(258, (8,)))
    if image.info["compression"] == "jpeg":
        bits += 16 * samples  # its coefficients, should it be a progressive one
    return int(width * length * bits // 8)
