"""From a request's body to a batch: pictures, or the tensor a client has made of them.

Everything here reads bytes that a stranger sent. Whatever they hold, the outcome is a batch or a `RequestError`; sizes
are checked before memory is taken, and nothing in a request can make this process open a connection.
"""

import base64
import io
import json
import math
import os
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier import kinds, pictures
from serve import multipart
from serve.backend import Batch
from serve.errors import RequestError

CONTENT_TYPES = "image/*, application/x-image, multipart/form-data, application/json, application/x-npy"

#: Types that say nothing of the body; its first bytes then tell what it is.
_UNTOLD = ("", "application/octet-stream", "binary/octet-stream")

#: Pictures in one request; they run through the network as one batch, so this bounds its memory.
MAX_INSTANCES = 64

#: Environment: bytes that decoding a request's pictures may take, those included that are decoded already.
LIMIT_VARIABLE = "SERVE_DECODING_BYTES"

# The alphabet of URLs and file names (RFC 4648, section 5), which many write without padding.
_URL_SAFE = str.maketrans("-_", "+/")
_DATA_URL = re.compile(r"data:image/[^,]{1,100};base64,")


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
    if not body:
        raise RequestError(400, "the request's body is empty; send a picture")
    if content_type == "application/json":
        return _instances(body, at_least)
    data = body.encode() if isinstance(body, str) else body
    if content_type.startswith("image/") or content_type == "application/x-image":
        return [_picture(data, at_least)]
    if content_type == "application/x-npy":
        return _tensor(data)
    if content_type in _UNTOLD:
        return _told_by_content(data, content_type, at_least)
    if content_type.partition(";")[0].strip().lower() == multipart.FORM:
        return [_picture(multipart.file(data, content_type), at_least)]
    raise RequestError(415, f"{content_type[:100]!r} is not read; {_advice(data)}")


def not_text(body: bytes, position: int) -> RequestError:
    """Return the error for a body that is to be text, and is none from byte `position` on."""
    if kinds.kind(body) in kinds.FORMATS:
        return RequestError(400, f"the body is not text; {_advice(body)}")
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
    given = f"{content_type!r} does not say what the body is" if content_type else "the request names no Content-Type"
    found = f"the body is {kind}" if kind else "the body is not a picture in a format that is read"
    raise RequestError(415, f"{given}, and {found}; send a picture, or one of {CONTENT_TYPES}")


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


def _instances(body: bytes | str, at_least: int | None) -> list[Image.Image]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        if isinstance(body, bytes) and kinds.kind(body) in kinds.FORMATS:
            raise RequestError(400, f"the body is not JSON; {_advice(body)}") from error
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be parsed"
        raise RequestError(400, f"the body is not JSON: {reason}") from error
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


def _bytes(instance: object) -> bytes:
    text = instance.get("b64") if isinstance(instance, dict) else None
    if not isinstance(text, str) or not text:
        raise RequestError(400, 'it is not of the form {"b64": "..."}')
    text = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
    if start := _DATA_URL.match(text):
        text = text[start.end() :]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise RequestError(400, "its b64 is not base64") from error


def _tensor(data: bytes) -> NDArray[np.float32]:
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read_header(stream)  # type: ignore[no-untyped-call]
    # The header is Python source; parsing it fails in as many ways as there are tokens.
    except Exception as error:
        raise RequestError(400, "the body is not an .npy file; write it with numpy.save") from error
    # True and False are whole numbers to numpy, which also leaves the sign to whoever reads the data.
    whole = all(type(length) is int and length > 0 for length in shape)
    if dtype != np.dtype("<f4") or len(shape) != 4 or not whole or shape[1] != 3:
        raise RequestError(400, f"the array is {dtype} {list(shape)}; send float32 [N, 3, height, width]"[:300])
    # Read here rather than by numpy, which takes the memory a header asks for before it looks for the data.
    values = data[stream.tell() :]
    if len(values) != 4 * math.prod(shape):
        raise RequestError(400, f"the array holds {len(values)} bytes, its shape {list(shape)} needs another number")
    if shape[0] > MAX_INSTANCES:
        raise RequestError(413, f"the array has {shape[0]} pictures; send at most {MAX_INSTANCES} at a time")
    tensor = np.frombuffer(values, dtype="<f4").reshape(shape, order="F" if fortran_order else "C")
    if not np.isfinite(tensor).all():
        raise RequestError(400, "the array holds NaN or infinite values; send finite ones")
    return np.array(tensor, order="C")  # torch wants memory that it could write to
