"""From a prediction to the body of an answer, in the type that the client prefers."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.errors import UserError, described
from serve.answers import AnswerError
from serve.errors import RequestError

JSON, JSON_LINES, CSV, NPY = "application/json", "application/jsonlines", "text/csv", "application/x-npy"

#: SageMaker's variable for the type of an answer to which the client names none.
DEFAULT_VARIABLE = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"


def negotiate(accept: str, offers: Sequence[str]) -> str:
    """Return which of `offers` an Accept header prefers: of equals the first it names, and of those it names by one
    range the first offer. Raises `RequestError` 406 when it allows none of them.
    """
    ranges: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        try:
            ranges[media_range] = float(quality)
        except ValueError:
            ranges[media_range] = 0.0
    order = list(ranges)
    qualities: dict[str, tuple[float, int]] = {}
    for offer in offers:
        # The most specific range that names a type decides for it.
        candidates = (offer, f"{offer.partition('/')[0]}/*", "*/*")
        named = next((candidate for candidate in candidates if candidate in ranges), None)
        qualities[offer] = (ranges[named], -order.index(named)) if named else (0.0, 0)
    best = max(offers, key=lambda offer: qualities[offer])
    if not qualities[best][0] > 0:
        raise RequestError(406, f"{accept[:100]!r} cannot be answered; accept {', '.join(offers[:-1])} or {offers[-1]}")
    return best


def check_default(environ: Mapping[str, str]) -> None:
    """Raise `UserError` where the variable names no type that there is: each client would be told that it was wrong."""
    default = environ.get(DEFAULT_VARIABLE)
    try:
        negotiate(default or JSON, (JSON, JSON_LINES, CSV, NPY))
    except RequestError:
        raise UserError(
            f"{DEFAULT_VARIABLE} is {str(default)[:100]!r}, which answers cannot be; set it to {JSON}, {JSON_LINES}, "
            f"{CSV} or {NPY}, or add an output_fn"
        ) from None


def output_fn(prediction: Any, accept: str) -> tuple[str | bytes, str]:
    """Return what a user's own model predicted as JSON, CSV or NPY, and which of them it is.

    It may be a tensor, an array, a number or a text, or lists and dicts of these. Raises `RequestError` 406 where the
    type that is accepted cannot hold it, and `AnswerError` where none can.
    """
    content_type = negotiate(accept, (JSON, CSV, NPY))
    plain = _plain(prediction)
    if content_type != JSON:
        return table(plain, content_type), content_type
    try:
        return json.dumps(plain, default=lambda value: value.tolist()), content_type
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise AnswerError(
            f"the prediction cannot be written as JSON ({described(error)}); return a tensor, an array, or lists and "
            "dicts of these, or add an output_fn"
        ) from error


def table(values: Any, content_type: str) -> bytes:
    """Return an array, or lists of numbers, as CSV (a line for each row) or NPY; raises `RequestError` 406."""
    try:
        array: NDArray[Any] = np.asarray(values)
    except ValueError:  # its rows differ in length
        array = np.empty(0, object)
    other = array.dtype.kind in "OSV"  # neither numbers nor text
    if other or (content_type == CSV and array.ndim > 2):
        holds = "an array of numbers" if other else "two dimensions"
        raise RequestError(406, f"the answer is not what {content_type} can hold, {holds}; accept {JSON}")
    file = io.BytesIO()
    if content_type == CSV:
        np.savetxt(file, np.atleast_1d(array), delimiter=",", fmt="%s")
    else:
        np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _plain(value: Any) -> Any:
    """Return `value` with arrays in place of torch's tensors, which not every image knows."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        try:
            return tensor.numpy()
        except TypeError:  # NumPy has no bfloat16
            return tensor.float().numpy()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
