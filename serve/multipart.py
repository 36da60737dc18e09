"""The one file in a form, as browsers and `curl -F file=@dog.jpg` send it (multipart/form-data, RFC 7578)."""

from collections.abc import Callable
from email.message import Message
from email.parser import BytesHeaderParser

from serve.errors import RequestError

FORM = "multipart/form-data"

#: Fields that a form may have, bytes of headers that each may have, and of the boundary (RFC 2046, section 5.1.1).
MAX_FIELDS, MAX_HEADER_BYTES, MAX_BOUNDARY = 100, 4096, 70


def file(body: bytes, content_type: str) -> bytes:
    """Return the content of the form's file; raises `RequestError` 400 for a form that has not exactly one.

    `content_type` is the request's header as it came: it holds the line that separates the fields.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = _parameter(header.get_boundary)
    if not boundary or not boundary.isascii() or len(boundary) > MAX_BOUNDARY:
        raise RequestError(400, "the form's Content-Type names no boundary; let the client library set this header")
    separator = b"\r\n--" + boundary.encode()
    # The first separator may stand at the very beginning, without the line end before it.
    body = b"\r\n" + body
    if body.count(separator) > MAX_FIELDS + 1:
        raise RequestError(400, f"the form has more than {MAX_FIELDS} fields; send one file")
    _, *fields, end = body.split(separator) if separator in body else (b"", b"")
    if not fields or not end.startswith(b"--"):
        raise RequestError(400, "the form is incomplete: its closing boundary is missing; send it again")
    files = [content for field in fields if (content := _file(field))]
    if len(files) != 1:
        raise RequestError(400, f"the form has {len(files)} files; send exactly one, as in curl -F file=@dog.jpg")
    return files[0]


def _file(field: bytes) -> bytes:
    """Return the content of a form's field that is a file, and nothing for one that is text or left empty."""
    head, blank, content = field.partition(b"\r\n\r\n")
    if not blank or len(head) > MAX_HEADER_BYTES:
        raise RequestError(400, "a field of the form has no headers that can be read; send it again")
    headers = BytesHeaderParser().parsebytes(head.strip())
    if _parameter(headers.get_filename) is None:
        return b""
    if str(headers.get("Content-Transfer-Encoding", "binary")).lower() not in ("binary", "8bit", "7bit"):
        raise RequestError(400, "the form's file is encoded; send its bytes as they are")
    return content


def _parameter(read: Callable[[], str | None]) -> str | None:
    """Return what `read` finds in a header, None where it is no text: its encoding and its length are a stranger's."""
    try:
        return read()
    except ValueError:
        return None
