"""What bytes are, known by their first ones: a picture that is read, or what else people send in its place."""

import re

#: Pillow's names of the formats that are read. What may be trained on may be predicted on: one list for both.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "HEIF", "AVIF")

NPY_MAGIC, GZIP_MAGIC = b"\x93NUMPY", b"\x1f\x8b"

#: First bytes (a pattern) -> a format that is read, or what the data is called. The first pattern that matches counts.
_KINDS = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\xff\xd8\xff", "JPEG"),
        (rb"\x89PNG\r\n\x1a\n", "PNG"),
        (rb"RIFF....WEBP", "WEBP"),
        (rb"GIF8[79]a", "GIF"),
        (rb"II\*\0....CR", "a camera's raw picture (CR2)"),
        (rb"II\*\0|MM\0\*|II\+\0\x08|MM\0\+\0\x08", "TIFF"),
        (rb"....ftypcrx ", "a camera's raw picture (CR3)"),
        # What a file of the general brands holds, its boxes say (`classifier.boxes`).
        (rb"....ftyp(he[iv][cxms]|avi[fs]|mif\d|miaf|msf1)", "HEIF"),
        (rb"....(ftyp|moov|mdat|wide|skip)", "a video (MP4 or MOV)"),
        (rb"\xff\n|\0\0\0\x0cJXL ", "a JPEG XL picture"),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
        (rb"\0\0[\1\2]\0[^\0]", "an icon (ICO)"),
        (rb"8BPS", "a Photoshop document (PSD)"),
        (rb"FUJIFILMCCD-RAW|IIRO|IIRS|MMOR|IIU\0|FOVb", "a camera's raw picture"),
        (rb"v/1\x01", "an OpenEXR picture"),
        (rb"#\?RA", "a Radiance HDR picture"),
        (rb"P[1-7][\s#]", "a PNM picture"),
        (rb"qoif", "a QOI picture"),
        (rb"DDS ", "a DirectDraw texture (DDS)"),
        (rb"gimp xcf", "a GIMP document (XCF)"),
        (rb".{128}DICM", "a DICOM file"),
        (rb"\x5c\x01\0\0.{340}(n\+1|ni1)", "a NIfTI file"),
        (rb"SIMPLE  =", "a FITS picture"),
        (rb"\x89HDF\r\n", "an HDF5 file"),
        (rb"\x01\xda[\0\1][\1\2]", "an SGI picture"),
        (rb"\n[\0\2-\5]\x01[\1\2\4\x08]", "a PCX picture"),
        (rb"icns", "an icon (ICNS)"),
        (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows metafile"),
        (rb"AT&TFORM", "a DjVu document"),
        (rb"\xd0\xcf\x11\xe0", "a document of an old Office program, or Thumbs.db"),
        (rb"\0\x05\x16[\0\7]", "what macOS keeps beside a file (._*)"),
        (rb"\s*%PDF-", "a PDF document"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document"),
        (rb"RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]", "a video"),
        (rb"RIFF....WAVE|ID3|OggS|fLaC", "a sound"),
        (rb"PK[\3\5\7]", "a ZIP archive"),
        (rb"\x1f\x8b", "a gzip archive"),
        (rb"7z\xbc\xaf|Rar!|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd", "an archive"),
        (rb"\x93NUMPY", "an .npy file"),
        (rb"\x80[\2-\5].", "a Python pickle"),
        (rb"(\xef\xbb\xbf)?\s*(<\?xml.*?)?(<!--.*?-->\s*)?(<!DOCTYPE svg.*?)?<svg", "an SVG drawing"),
        (rb"(?i:(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)?(<!doctype html|<html|<head|<body))", "an HTML page"),
        (rb"(\xef\xbb\xbf)?\s*<\?xml", "an XML document"),
        (rb"version https://git-lfs\.", "a pointer of Git LFS to the file, which git lfs pull fetches"),
        (rb"data:image/|/9j/|iVBORw0KGgo|R0lGOD|UklGR", "base64 text"),
        (rb"(\xef\xbb\xbf)?\s*[{\[]", "JSON"),
        # As Unicode's replacement character, or each byte as a letter.
        (rb"(\xef\xbf\xbd){2}|\xc3\xbf\xc3\x98\xc3\xbf|(\xef\xbf\xbd|\xc2\x89)PNG", "a picture that was read as text"),
        (rb"\x89PNG(\n|\r\r\n)\x1a", "a PNG whose line ends were converted (by git, or FTP in text mode)"),
        # Two letters are not much of a mark, so these come last.
        (rb"BM", "BMP"),
    )
)


def kind(data: bytes) -> str | None:
    """Return one of `FORMATS`, or what `data` is called (with its article) where it is known and not read, or None."""
    head = data[:1024]
    return next((kind for pattern, kind in _KINDS if pattern.match(head)), None)
