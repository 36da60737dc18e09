"""What can be sent: what a model's own code has answered with is held against it, and errors are cut to it.

multi-model-server's worker ends at anything it cannot write, and its front end at what is longer than it reads.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from byoc_vision.contract.errors import described, one_line
from serve.memory import MB

#: Characters of a content type, or another header, at most.
_LONGEST = 255

#: Characters of all headers together, at most: nginx reads 8 KB, with what multi-model-server adds.
_LONGEST_HEAD = 6000

#: A header's name (RFC 9110, section 5.6.2): at any other, the answer would be lost in multi-model-server.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

#: Bytes of an error's JSON at most. It travels in a header, too, of which nginx reads 8 KB.
_LONGEST_ERROR = 2000

Body = str | bytes | bytearray


class AnswerError(Exception):
    """The model's own code answered with what cannot be sent; the message is one sentence for its author."""


def unpacked(result: Any, accept: str) -> tuple[Any, Any]:
    """Return the body and the content type in what `output_fn` or `transform_fn` returned: both, or the body alone."""
    if not isinstance(result, tuple):
        return result, accept
    if len(result) != 2:
        raise AnswerError(
            f"the model's own code returned {len(result)} values; return the body, or (body, content type)"
        )
    return result


def encoded(body: Any, limit: int) -> Body:
    """Return `body` as text or bytes, JSON where it is neither; raises `AnswerError` at more than `limit` bytes."""
    try:
        answer: Body = body if isinstance(body, Body) else json.dumps(body, indent=2)
        size = len(answer.encode()) if isinstance(answer, str) else len(answer)
    # An object's own methods take part in writing it.
    except Exception as error:
        raise AnswerError(
            f"the model's own code returned what cannot be sent ({described(error)}); return text, bytes or what JSON "
            "can hold"
        ) from error
    if size > limit:
        raise AnswerError(
            f"the model's own code returned {size} bytes, more than {limit // MB} MB; return less, or raise "
            "SAGEMAKER_MAX_PAYLOAD_IN_MB"
        )
    return answer


def check_head(status: Any, phrase: Any, headers: Mapping[Any, Any]) -> None:
    """Raise `AnswerError` where the status, its phrase or a header is none of HTTP's, or all are longer than is read.

    multi-model-server announces a content type's characters and sends its UTF-8, so they must be as many bytes.
    """
    if status not in range(200, 600):
        raise AnswerError(
            f"the model's own code set the status {repr(status)[:80]}; set a whole number from 200 to 599"
        )
    for text in (phrase, *headers, *headers.values()):
        if not is_header(text):
            raise AnswerError(
                f"the model's own code set the header or content type {repr(text)[:80]}; "
                f"set 1 to {_LONGEST} printable ASCII characters"
            )
    for name in headers:
        if not _NAME.fullmatch(name):
            raise AnswerError(
                f"the model's own code set a header named {name[:80]!r}; name it with letters, digits and dashes"
            )
    if sum(map(len, (*headers, *headers.values()))) > _LONGEST_HEAD:
        raise AnswerError(
            f"the model's own code set headers of more than {_LONGEST_HEAD} characters; put what they say into the body"
        )


def is_header(text: Any) -> bool:
    """Tell whether `text` can be a header's name or value."""
    return isinstance(text, str) and 0 < len(text) <= _LONGEST and text.isascii() and text.isprintable()


def error(sentence: str) -> str:
    """Return `{"error": sentence}` on one line, cut so that it fits into a header whatever characters it has."""
    sentence = one_line(sentence, _LONGEST_ERROR)
    body = json.dumps({"error": sentence})
    while len(body) > _LONGEST_ERROR:
        # JSON writes some characters with six or twelve.
        sentence = sentence[: min(len(sentence) - 2, len(sentence) * _LONGEST_ERROR // len(body))] + "…"
        body = json.dumps({"error": sentence})
    return body
