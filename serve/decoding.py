"""From a request's body to a batch: pictures, or the tensor a client has made of them.

Everything here reads bytes that a stranger sent. Whatever they hold, the outcome is a batch or a `RequestError`; sizes
are checked before memory is taken, and nothing in a request can make this process open a connection.
"""

import base64
import json
import os
import re
import string
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from byoc_vision.contract.folders import is_picture_type
from classifier import kinds, pictures
from serve import arrays, multipart
from serve.backend import Batch
from serve.encoding import CSV, JSON, NPY
from serve.errors import RequestError

NPZ = "application/x-npz"

CONTENT_TYPES = "image/*, application/x-image, multipart/form-data, application/json, application/x-npy"

#: Types that say nothing of the body; its first bytes then tell what it is.
_UNTOLD = ("", "application/octet-stream", "binary/octet-stream")

#: Pictures in one request; they run through the network as one batch, so this bounds its memory.
MAX_INSTANCES = 64

#: Environment: bytes that decoding a request's pictures may take, those included that are decoded already.
LIMIT_VARIABLE = "SERVE_DECODING_BYTES"

# The alphabet of URLs and file names (RFC 4648, section 5), which many write without padding.
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_URL = re.compile(rb"data:image/[^,]{1,100};base64,")


def media_type(header: str) -> str:
    """Return what `decode` takes as content type: the header's type in lower case; of a form with its boundary."""
    name = header.partition(";")[0].strip().lower()
    return header if name == multipart.FORM else name


def decode(body: bytes | str, content_type: str, at_least: int | None = None) -> Batch:
    """Return the batch in `body`; `content_type` is what `media_type` makes of the header.

    A large JPEG is decoded to a fraction of its size that leaves its shorter side `at_least` so many pixels.
    Raises `RequestError`: 400 (malformed), 413 (too many pictures, pixels or bytes of memory), 415 (a type that is not
    read), 507 (no memory left).
    """
    _check_not_empty(body)
    if content_type == JSON:
        return _instances(body, at_least)
    data = body.encode() if isinstance(body, str) else body
    if is_picture_type(content_type):
        return [_picture(data, at_least)]
    if content_type == NPY:
        return _tensor(data)
    if content_type in _UNTOLD:
        return _told_by_content(data, content_type, at_least)
    if content_type.partition(";")[0].strip().lower() == multipart.FORM:
        return [_picture(multipart.file(data, content_type), at_least)]
    raise RequestError(415, f"{content_type[:100]!r} is not read; {_advice(data)}")


def _check_not_empty(body: bytes | str) -> None:
    if not body:
        raise RequestError(400, "the request's body is empty; send a picture")


def not_text(body: bytes, position: int) -> RequestError:
    """Return the error for a body that is to be text, and is none from byte `position` on."""
    if kinds.kind(body) in kinds.FORMATS:
        return RequestError(400, f"the body is not text; {_advice(body)}")
    if body.startswith(kinds.GZIP_MAGIC):
        return RequestError(400, "the body is compressed (gzip), which is not read; send it as it is")
    return RequestError(400, f"the body is not UTF-8 (byte {position})")


def _advice(data: bytes) -> str:
    """Return what to do with a body that came under a wrong name."""
    kind = kinds.kind(data)
    if kind in kinds.FORMATS:
        return f"the body is a picture ({kind}), so send it as Content-Type image/{kind.lower()}"
    return f"send one of {CONTENT_TYPES}"


def _told_by_content(data: bytes, content_type: str, at_least: int | None) -> Batch:
    kind = kinds.kind(data)
    if kind in kinds.FORMATS:
        return [_picture(data, at_least)]
    if data.startswith(kinds.NPY_MAGIC):
        return _tensor(data)
    header = f"{content_type!r} does not say what the body is" if content_type else "the request names no Content-Type"
    content = f"the body is {kind}" if kind else "the body is not a picture in a format that is read"
    raise RequestError(415, f"{header}, and {content}; send a picture, or one of {CONTENT_TYPES}")


def _picture(data: bytes, at_least: int | None, held: int = 0) -> Image.Image:
    """Return the picture in `data`; `held` bytes are taken by others of the same request."""
    limit = os.environ.get(LIMIT_VARIABLE)
    try:
        return pictures.decode(data, at_least, max(0, int(limit) - held) if limit else None)
    except pictures.PictureTooLargeError as error:
        raise RequestError(413, str(error)) from error
    except pictures.PictureError as error:
        raise RequestError(400, str(error)) from error
    except pictures.OutOfMemoryError as error:
        raise RequestError(507, str(error)) from error


def _parsed(body: bytes | str) -> Any:
    # Each value but the first comes behind a comma, a colon or a bracket.
    lists, values = (_occurrences(body, marks) for marks in ("[{", ",:"))
    arrays.check_values(lists, values, _limit())
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        if isinstance(body, bytes) and kinds.kind(body) in kinds.FORMATS:
            raise RequestError(400, f"the body is not JSON; {_advice(body)}") from error
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be parsed"
        raise RequestError(400, f"the body is not JSON: {reason}") from error


def _occurrences(body: bytes | str, marks: str) -> int:
    """Return how many of the ASCII characters `marks` there are in a body, which is not copied for that."""
    if isinstance(body, str):
        return sum(body.count(mark) for mark in marks)
    return sum(body.count(mark) for mark in marks.encode())


def _instances(body: bytes | str, at_least: int | None) -> list[Image.Image]:
    content = _parsed(body)
    instances = content.get("instances") if isinstance(content, dict) else None
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, 'the JSON body has no instances; send {"instances": [{"b64": "..."}, ...]}')
    if len(instances) > MAX_INSTANCES:
        raise RequestError(413, f"the request has {len(instances)} instances; send at most {MAX_INSTANCES} at a time")
    batch: list[Image.Image] = []
    pixels = 0
    for index, instance in enumerate(instances):
        try:
            image = _picture(_bytes(instance), at_least, held=4 * pixels)
        except RequestError as error:
            raise RequestError(error.status_code, f"instance {index}: {error.message}") from error
        # Pictures compress a thousandfold, so a small body can ask for any amount of memory.
        pixels += image.width * image.height
        if pixels > pictures.MAX_PIXELS:
            limit = pictures.MAX_PIXELS // 1_000_000
            raise RequestError(
                413, f"instances 0 to {index} have more than {limit} million pixels; send fewer at a time"
            )
        batch.append(image)
    return batch


def check_room(batch: Batch, each: int) -> None:
    """Raise `RequestError` 413 where decoded pictures, with `each` bytes for each, take more memory than there is."""
    if not isinstance(batch, np.ndarray):
        needed = sum(4 * image.width * image.height + each for image in batch)
        if needed > _limit():
            raise RequestError(
                413,
                f"{len(batch)} pictures take {needed / 1e6:.0f} MB of memory for the network, and "
                f"{_limit() / 1e6:.0f} MB are there for them; send fewer at a time",
            )


def _bytes(instance: object) -> bytes:
    text = instance.get("b64") if isinstance(instance, dict) else None
    if not isinstance(text, str) or not text:
        raise RequestError(400, 'it is not of the form {"b64": "..."}')
    try:
        data = text.encode("ascii").translate(_URL_SAFE, string.whitespace.encode()).rstrip(b"=")
        if start := _DATA_URL.match(data):
            data = data[start.end() :]
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except ValueError as error:
        raise RequestError(400, "its b64 is not base64") from error


def _tensor(data: bytes) -> NDArray[np.float32]:
    tensor = arrays.npy(data, _is_batch, "float32 [N, 3, height, width]")
    if len(tensor) > MAX_INSTANCES:
        raise RequestError(413, f"the array has {len(tensor)} pictures; send at most {MAX_INSTANCES} at a time")
    if not np.isfinite(tensor).all():
        raise RequestError(400, "the array holds NaN or infinite values; send finite ones")
    return tensor


def _is_batch(header: arrays.Header) -> bool:
    shape, dtype = header
    return dtype == np.dtype("<f4") and len(shape) == 4 and shape[1] == 3 and 0 not in shape


def numbers(body: bytes | str, content_type: str) -> NDArray[Any] | None:
    """Return the array in a body of JSON, CSV, NPY or NPZ; None where it is none of these, but perhaps pictures.

    From text it is float32, else of its own type. Raises `RequestError` as `decode` does.
    """
    _check_not_empty(body)
    if content_type == JSON:
        content = _parsed(body)
        return None if isinstance(content, dict) else arrays.nested(content)
    if content_type == CSV:
        text = body if isinstance(body, str) else body.decode()
        arrays.check_values(text.count("\n"), text.count(","), _limit())
        return arrays.csv(text)
    data = body.encode() if isinstance(body, str) else body
    if content_type == NPY or (content_type in _UNTOLD and data.startswith(kinds.NPY_MAGIC)):
        return arrays.npy(data)
    if content_type == NPZ:
        return arrays.npz(data, _limit())
    return None


def _limit() -> float:
    """Return the bytes of memory that there are for what a request holds."""
    return float(os.environ.get(LIMIT_VARIABLE, "inf"))
