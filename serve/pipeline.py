"""The way of requests to their answers, in steps of which the user's module may replace each.

Of a classifier of this project the functions that the module leaves out are those of `serve.inference`, of any other
model those of AWS's PyTorch images, `serve.own_model` and `serve.encoding`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import CODE, SCRIPT
from classifier import artifact
from serve import backend, decoding, encoding, inference, occlusion
from serve.request import Request
from serve.settings import heat_map_cells
from serve.user_code import Function, with_context


@dataclass(frozen=True)
class Pipeline:
    """Three steps: what a request holds, what the model makes of that, and the answer: body, or (body, content type).

    `together` does the second step for several requests at once, where that can be done; `threads` says that the first
    may be done for several at a time.
    """

    decode: Callable[[Request], Any]
    predict: Callable[[Request, Any], Any]
    encode: Callable[[Request, Any], Any]
    together: Callable[[Sequence[Any]], Sequence[Any]] | None = None
    threads: bool = False


def load_model(model_dir: Path, own: Mapping[str, Function], context: Any) -> Any:
    """Return the model, loaded and warmed up by the user's functions, or by ours; raises `UserError`."""
    functions = _defaults(inference, "model_fn", "model_warmup_fn") | dict(own)
    # Transformers leaves a model.safetensors, too.
    is_ours = artifact.has(model_dir / artifact.TENSORS) and artifact.has(model_dir / artifact.DESCRIPTION)
    if "model_fn" not in own and not is_ours:
        if artifact.networks(model_dir):
            functions["model_fn"] = _defaults(_own_model(), "model_fn")["model_fn"]
        elif not artifact.has(model_dir / artifact.DESCRIPTION):
            raise UserError(
                f"the model has no {artifact.DESCRIPTION}, which training leaves, no TorchScript file (.pt, .pth), and "
                f"no {CODE}/{SCRIPT} with a model_fn; add one of them"
            )
    if "pre_model_fn" in functions:
        functions["pre_model_fn"](str(model_dir), context)
    model = functions["model_fn"](str(model_dir), context)
    functions["model_warmup_fn"](str(model_dir), model, context)
    return model


def build(
    model_dir: Path, model: Any, own: Mapping[str, Function], counted: Callable[[dict[str, Any]], None]
) -> Pipeline:
    """Return how requests to `model`, from `model_dir`, are answered; `own` are the user's functions.

    `counted` is called with each prediction that a classifier of ours has answered with. Raises `UserError` where
    nothing knows how to ask the model, and `ModuleNotFoundError` where that takes torch, which is not there.
    """
    if "transform_fn" in own:
        return Pipeline(Request.content, partial(_transform, own["transform_fn"], model), lambda _, result: result)
    if "output_fn" not in own:
        encoding.check_default(os.environ)
    if isinstance(model, backend.Model):
        functions = _defaults(inference, "input_fn", "predict_fn", "output_fn") | dict(own)
    else:
        if "predict_fn" not in own and not callable(model):
            raise UserError(
                f"model_fn returned {type(model).__name__}, which cannot be called with data; return the network, or "
                "add a predict_fn that knows the model"
            )
        functions = _defaults(encoding, "output_fn") | dict(own)
        for name in {"input_fn", "predict_fn"} - own.keys():
            functions |= _defaults(_own_model(), name)
        if "input_fn" not in own:
            _own_model().description(str(model_dir))  # which must be right, if there is one

    def read(request: Request) -> Any:
        return functions["input_fn"](request.content(), request.content_type, request.context)

    def predict(request: Request, data: Any) -> Any:
        return functions["predict_fn"](data, model, request.context)

    def write(request: Request, prediction: Any) -> Any:
        return functions["output_fn"](prediction, request.accept, request.context)

    if not isinstance(model, backend.Model) or "predict_fn" in own:
        return Pipeline(read, predict, write)

    def reduced(request: Request) -> backend.Batch:
        return decoding.decode(request.content(), request.content_type, model.enough_pixels)

    first = read if "input_fn" in own else reduced

    cells = heat_map_cells(os.environ)

    def inputs(request: Request) -> NDArray[np.float32]:
        array = inference.inputs(first(request), model)
        if occlusion.asked(request.accept):
            occlusion.check(array, cells)
            request.explained = array
        return array

    def answer(request: Request, probabilities: NDArray[np.float32]) -> Any:
        prediction = inference.predictions(probabilities, model)
        if request.explained is not None:
            drawn = occlusion.heat_map(model.probabilities, request.explained, probabilities[0], cells)
            prediction["predictions"][0]["heat_map"] = drawn
        answer = write(request, prediction)
        counted(prediction)
        return answer

    def together(batches: Sequence[NDArray[np.float32]]) -> Sequence[NDArray[np.float32]]:
        ends = list(accumulate(map(len, batches)))
        return np.split(model.probabilities(np.concatenate(batches)), ends[:-1])

    return Pipeline(
        inputs, lambda _, batch: model.probabilities(batch), answer, together, threads="input_fn" not in own
    )


def _own_model() -> Any:
    from serve import own_model  # torch, which not every image has

    return own_model


def _defaults(module: Any, *names: str) -> dict[str, Function]:
    return {name: with_context(name, getattr(module, name)) for name in names}


def _transform(transform_fn: Function, model: Any, request: Request, content: bytes | str) -> Any:
    return transform_fn(model, content, request.content_type, request.accept, request.context)
