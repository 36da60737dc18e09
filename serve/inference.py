"""The four functions of a SageMaker model. A model's own `code/inference.py` may replace any, and import the others.

from serve.inference import input_fn, model_fn, predict_fn
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.errors import UserError
from serve import backend, decoding, encoding, settings
from serve.encoding import CSV, JSON, JSON_LINES, NPY
from serve.errors import RequestError

#: How many of the most probable classes an answer lists.
TOP_K = 5


class Predictions(dict[str, Any]):
    """`{"predictions": [one for each picture], "model": architecture}`, and the `probabilities` [N, classes]."""

    def __init__(self, answers: Sequence[dict[str, Any]], arch: str, probabilities: NDArray[np.float32]) -> None:
        super().__init__(predictions=answers, model=arch)
        self.probabilities = probabilities


def model_fn(model_dir: str, context: Any = None) -> backend.Model:
    """Load the model in `model_dir`, on the GPU that the model server gave this worker, if it gave one."""
    return backend.load(Path(model_dir), context.system_properties.get("gpu_id") if context else None)


def model_warmup_fn(model_dir: str, model: Any) -> None:
    """Predict once, before the worker is called ready; a `model_fn` of the user's own is warmed up by its author."""
    if isinstance(model, backend.Model):
        model.warm_up()


def input_fn(body: bytes | str, content_type: str) -> backend.Batch:
    """Return the pictures (or the ready tensor) in `body`."""
    return decoding.decode(body, content_type)


def predict_fn(data: backend.Batch, model: backend.Model) -> Predictions:
    """Run the pictures through the network as one batch."""
    return predictions(model.probabilities(inputs(data, model)), model)


def inputs(data: backend.Batch, model: backend.Model) -> NDArray[np.float32]:
    """Return what the network takes for `data`.

    Raises `RequestError`: 400 for a tensor of another size, 413 for more pictures than there is memory for.
    """
    decoding.check_room(data, model.input_bytes)
    try:
        return model.inputs(data)
    except UserError as error:
        raise RequestError(400, str(error)) from error


def predictions(probabilities: NDArray[np.float32], model: backend.Model) -> Predictions:
    """Return `predict_fn`'s answer for the pictures that have these `probabilities` [N, classes].

    Of an answer that is less probable than `BYOC_MIN_PROBABILITY`, predicted_class and label are None.
    """
    # Ready models answer finite numbers to every picture; a tensor can hold values that no picture has.
    if not np.isfinite(probabilities).all():
        raise RequestError(400, "the array's values are too large for the model; send a normalised picture")
    answers, least = [], settings.min_probability(os.environ)
    for row in probabilities:
        best = [
            {"predicted_class": int(index), "label": model.labels[index], "probability": round(float(row[index]), 6)}
            for index in np.argsort(-row, kind="stable")[:TOP_K]
        ]
        unsure = {"predicted_class": None, "label": None} if row.max() < least else {}
        answers.append({**best[0], **unsure, "top_k": best})
    return Predictions(answers, model.arch, probabilities)


def output_fn(prediction: dict[str, Any], accept: str) -> tuple[str | bytes, str]:
    """Return the answer and its content type: one JSON object, or one line for each prediction.

    Or the probabilities [N, classes] as CSV or NPY, where they are still beside the prediction.
    """
    probabilities = getattr(prediction, "probabilities", None)
    tables = () if probabilities is None else (CSV, NPY)
    content_type = encoding.negotiate(accept, (JSON, JSON_LINES, *tables))
    if content_type in tables:
        return encoding.table(probabilities, content_type), content_type
    if content_type == JSON:
        return json.dumps(prediction, ensure_ascii=False) + "\n", content_type
    lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in prediction["predictions"])
    return "".join(lines), content_type
