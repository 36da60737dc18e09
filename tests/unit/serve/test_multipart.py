"""A form is read where it has exactly one file, whatever else it holds."""

import pytest

from serve import multipart
from serve.errors import RequestError
from serve.multipart import file

TYPE = "multipart/form-data; boundary=----line7MA4"


def field(content: bytes, *headers: str) -> bytes:
    return b"------line7MA4\r\n" + "\r\n".join(headers).encode() + b"\r\n\r\n" + content + b"\r\n"


def uploaded(content: bytes, name: str = "dog.jpg") -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return field(content, disposition, "Content-Type: image/jpeg")


def text(content: bytes) -> bytes:
    return field(content, 'Content-Disposition: form-data; name="comment"')


END = b"------line7MA4--\r\n"
PICTURE = b"\xff\xd8\r\n\r\n--\r\n------line\0\xff\xd9\r\n"


@pytest.mark.parametrize(
    "form",
    [
        uploaded(PICTURE) + END,
        text(b"a dog") + uploaded(PICTURE) + text(b"") + END,
        uploaded(PICTURE) + uploaded(b"", "") + END,
        b"what comes before\r\n" + uploaded(PICTURE) + END + b"what comes behind",
        uploaded(PICTURE, "Hünd ß.jpg") + END,
        field(PICTURE, "content-disposition: form-data; filename*=UTF-8''a%20b", "Content-Transfer-Encoding: binary")
        + END,
    ],
    ids=["one file", "texts", "an empty file", "preamble", "umlauts", "encoded name"],
)
def test_the_one_file_is_found(form: bytes) -> None:
    assert file(form, TYPE) == PICTURE


def test_the_boundary_may_be_quoted() -> None:
    form = (uploaded(PICTURE) + END).replace(b"----line7MA4", b"a b'c")
    assert file(form, 'Multipart/Form-Data; charset=utf-8; Boundary="a b\'c"') == PICTURE


@pytest.mark.parametrize(
    ("form", "content_type", "words"),
    [
        (uploaded(PICTURE) + END, "multipart/form-data", "no boundary"),
        (uploaded(PICTURE) + END, 'multipart/form-data; boundary=""', "no boundary"),
        (uploaded(PICTURE) + END, "multipart/form-data; boundary=ä", "no boundary"),
        (uploaded(PICTURE) + END, "multipart/form-data; boundary=" + "x" * 71, "no boundary"),
        (uploaded(PICTURE) + END, f"multipart/form-data; boundary*{'9' * 5000}=x", "no boundary"),
        (uploaded(PICTURE) + END, "multipart/form-data; boundary*=idna''x", "no boundary"),
        (uploaded(PICTURE) + END, "multipart/form-data; boundary=other", "incomplete"),
        (uploaded(PICTURE), TYPE, "incomplete"),
        (b"", TYPE, "incomplete"),
        (END, TYPE, "incomplete"),
        (text(b"a dog") + END, TYPE, "0 files"),
        (uploaded(PICTURE) + uploaded(PICTURE) + END, TYPE, "2 files"),
        (uploaded(b"") + END, TYPE, "0 files"),
        (b"------line7MA4\r\nno blank line\r\n" + END, TYPE, "no headers"),
        (field(PICTURE, "X: " + "x" * 5000) + END, TYPE, "no headers"),
        (field(PICTURE, "Content-Disposition: form-data; filename*=idna''x") + END, TYPE, "0 files"),
        (text(b"") * 101 + END, TYPE, "more than 100 fields"),
        (b"\r\n------line7MA4" * 100_000, TYPE, "more than 100 fields"),
        (
            field(PICTURE, "Content-Disposition: form-data; filename=a", "Content-Transfer-Encoding: base64") + END,
            TYPE,
            "as",
        ),
    ],
)
def test_other_forms_are_refused(form: bytes, content_type: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        file(form, content_type)
    assert caught.value.status_code == 400


def test_as_many_fields_are_read_as_are_allowed() -> None:
    assert file(text(b"") * (multipart.MAX_FIELDS - 1) + uploaded(PICTURE) + END, TYPE) == PICTURE
