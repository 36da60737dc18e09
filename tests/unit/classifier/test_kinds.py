"""What is sent in a picture's place is called by its name."""

import pytest

from classifier.kinds import FORMATS, kind
from classifier.pictures import PictureError, decode


def test_each_format_is_known(files: dict[str, bytes]) -> None:
    assert sorted(files) == sorted(FORMATS)
    # AVIF and HEIF share a container: `classifier.boxes` tells them apart.
    assert {form: kind(data) for form, data in files.items()} == {form: form for form in FORMATS} | {"AVIF": "HEIF"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0", "JPEG 2000"),
        (b"\0\0\1\0\1\0\x10\x10", "icon"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>", "SVG"),
        (b"8BPS\0\1", "Photoshop"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "raw"),
        (b"FUJIFILMCCD-RAW 0201", "raw"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "video"),
        (b"\x1aE\xdf\xa3\x01", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "sound"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"  <html>", "HTML"),
        (b"<?xml version='1.0'?><feed/>", "XML"),
        (b'{"instances": []}', "JSON"),
        (b"PK\3\4\x14", "ZIP"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x93NUMPY\1\0", ".npy"),
        (b"/9j/4AAQSkZJRg", "base64"),
        (b"data:image/png;base64,iVBOR", "base64"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, name: str) -> None:
    with pytest.raises(PictureError, match=f"the data is .*{name}.*, not a picture"):
        decode(data)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(100), b"\xff" * 100, b"\0\0\2" + bytes(97)])
def test_what_is_not_known_gets_no_name(data: bytes) -> None:
    assert kind(data) is None
