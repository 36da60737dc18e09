"""One request of those that a worker is handed at once."""

import copy
import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sagemaker_inference.content_types import ANY, UTF8_TYPES

from serve import decoding, encoding
from serve.config import CONTENT_TYPE_HEADER, RECEIVED_HEADER
from serve.encoding import JSON


class Request:
    """A request with a `context` in which it is the only one; `accept` is what its answer is to be, without a doubt.

    `fields` are those of multi-model-server, and `index` is its place in `context`. `explained` is what the network
    gets, [1, 3, S, S], where the answer is to say what spoke for it. For `waited` seconds nobody has had time for it.
    """

    explained: NDArray[np.float32] | None = None

    def __init__(self, fields: dict[str, Any], context: Any, index: int) -> None:
        self.context = copy.copy(context)
        self.context.request_processor = [context.request_processor[index]]
        headers = self.context.request_processor[0].get_request_properties()
        received = headers.pop(RECEIVED_HEADER, None)
        self.waited = time.time() - float(received) if received else 0.0
        self.content_type = decoding.media_type(headers.get(CONTENT_TYPE_HEADER, ""))
        headers["Content-Type"] = self.content_type
        accept: str = headers.get("Accept") or headers.get("accept") or ANY
        self.accept = accept if accept != ANY else os.environ.get(encoding.DEFAULT_VARIABLE) or JSON
        self._body = bytes(fields.get("body") or b"")

    def content(self) -> bytes | str:
        """Return the body as the model's functions get it, decoded where its type is text.

        Raises `RequestError` for text that is none.
        """
        if self.content_type not in UTF8_TYPES:
            return self._body
        try:
            return self._body.decode()
        except UnicodeDecodeError as error:
            raise decoding.not_text(self._body, error.start) from error
