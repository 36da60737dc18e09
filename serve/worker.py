"""A model with its four functions in one process: sagemaker-inference's transformer, with our errors and checks."""

import copy
import importlib.util
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sagemaker_inference.content_types import ANY, UTF8_TYPES
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler
from sagemaker_inference.environment import Environment
from sagemaker_inference.errors import BaseInferenceToolkitError, GenericInferenceToolkitError
from sagemaker_inference.transformer import Transformer

from classifier.errors import UserError
from serve import backend, decoding, inference
from serve.config import CONTENT_TYPE_HEADER, ERROR_HEADER, INTERNAL_ERROR
from serve.decoding import RequestError

logger = logging.getLogger(__name__)

#: Bytes of an error's JSON, which travels in a header: nginx reads 8 KB of them.
_LONGEST_ERROR = 2000


class Functions(DefaultInferenceHandler):  # type: ignore[misc]
    """Our functions, under the names by which the transformer looks for what the user's module leaves out."""

    default_model_fn = staticmethod(inference.model_fn)
    default_model_warmup_fn = staticmethod(inference.model_warmup_fn)
    default_input_fn = staticmethod(inference.input_fn)
    default_predict_fn = staticmethod(inference.predict_fn)
    default_output_fn = staticmethod(inference.output_fn)


class Worker(Transformer):  # type: ignore[misc]
    """Loads the model once, then answers one request at a time, or as many as multi-model-server hands it at once."""

    _input_fn: Any
    _predict_fn: Any

    def __init__(self) -> None:
        super().__init__(Functions())
        self._threads = ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self._measured = Measured()

    def load(self, context: Any) -> None:
        """Load and warm up the model; raises `UserError` when it, or its `code/inference.py`, cannot be used."""
        model_dir = Path(context.system_properties["model_dir"])
        code = model_dir / "code"
        own = (code / f"{Environment().module_name}.py").is_file()
        if own:
            sys.path.insert(0, str(code))
        _check_module(Environment().module_name, code, own)
        self.validate_and_initialize(model_dir=str(model_dir), context=context)
        predicted_by_us = self._transform_fn == self._default_transform_fn and self._predict_fn is inference.predict_fn
        if predicted_by_us and not hasattr(self._model, "probabilities"):
            raise UserError("code/inference.py has its own model_fn but no predict_fn; add one that knows its model")
        functions = (self._input_fn, self._predict_fn, self._output_fn)
        ours = (inference.input_fn, inference.predict_fn, inference.output_fn)
        self._ours = predicted_by_us and functions == ours and isinstance(self._model, backend.Model)
        self._input_fn = self._measured.timed("decoding", self._input_fn)
        self._predict_fn = self._measured.timed("network", self._predict_fn)

    @property
    def description(self) -> str:
        """What the model computes on, and in which form and why, where it is ours."""
        if isinstance(self._model, backend.Model):
            return f"on {self._model.device}, {self._model.choice}"
        return "made by its own model_fn"

    @property
    def info(self) -> dict[str, str]:
        """What is known of the model, for /metrics."""
        if isinstance(self._model, backend.Model):
            return {"arch": self._model.arch, "form": self._model.form, "device": self._model.device}
        return {}

    def measured(self) -> dict[str, Any]:
        """Return what was measured since the last call: seconds, and the label and probability of each picture."""
        return self._measured.taken()

    def answer(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Return the answers to requests in their order. Each has headers and errors of its own."""
        requests = [_Request(fields, context, index) for index, fields in enumerate(data)]
        if self._ours:
            return self._answer_together(requests)
        return [self._answer_alone(request) for request in requests]

    def _answer_alone(self, request: "_Request") -> Any:
        try:
            request.check()
        except RequestError as error:
            (answer,) = self.handle_error(request.context, error, "")
        else:
            (answer,) = self.transform([{"body": request.body}], request.context)
        return answer

    def _answer_together(self, requests: list["_Request"]) -> list[Any]:
        """Run what the requests hold through the network at once; all else is done for each by itself."""
        with self._measured.time("decoding"):
            decoded = [self._threads.submit(self._inputs, request) for request in requests]
            arrays = [future.result() for future in decoded if future.exception() is None]
        try:
            with self._measured.time("network"):
                rows = iter(self._model.probabilities(np.concatenate(arrays)) if arrays else [])
        except Exception as error:
            if len(requests) == 1:
                return self._told(requests[0], error)
            logger.exception("the model failed on %d requests at once, which are now answered one by one", len(arrays))
            return [answer for request in requests for answer in self._answer_together([request])]
        answers: list[Any] = []
        for request, future in zip(requests, decoded, strict=True):
            try:
                pictures = len(future.result())
                answers.append(self._output(np.stack(list(islice(rows, pictures))), request))
            except Exception as error:
                answers += self._told(request, error)
        return answers

    def _inputs(self, request: "_Request") -> NDArray[np.float32]:
        request.check()
        batch = decoding.decode(request.body, request.content_type, self._model.enough_pixels)
        return inference.inputs(batch, self._model)

    def _output(self, probabilities: NDArray[np.float32], request: "_Request") -> str:
        accept = request.accept if request.accept not in ("", ANY) else self._environment.default_accept
        prediction = inference.predictions(probabilities, self._model)
        body, content_type = inference.output_fn(prediction, accept)
        self._measured.predicted += [(each["label"], each["probability"]) for each in prediction["predictions"]]
        request.context.set_response_content_type(0, content_type)
        return body

    def _told(self, request: "_Request", error: Exception) -> list[str]:
        known = isinstance(error, BaseInferenceToolkitError)
        told = error if known else GenericInferenceToolkitError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        return self.handle_error(request.context, told, "".join(traceback.format_exception(error)))

    @staticmethod
    def handle_error(context: Any, inference_exception: BaseInferenceToolkitError, trace: str) -> list[str]:
        """Answer `{"error": sentence}`; what is not the client's fault is logged here and not told."""
        status, sentence = inference_exception.status_code, inference_exception.message
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("%s", trace.rstrip())
            status, sentence = INTERNAL_ERROR, "the request failed inside the container; its log says why"
        body = _error_body(" ".join(str(sentence).split()))
        context.set_response_status(code=status, phrase="Error")
        context.set_response_content_type(0, inference.JSON)
        context.set_response_header(0, ERROR_HEADER, body)
        return [body]


class Measured:
    """What was measured while requests were answered: seconds by stage, and what was predicted."""

    def __init__(self) -> None:
        self.taken()

    def taken(self) -> dict[str, Any]:
        """Return it, and begin anew."""
        taken = dict(vars(self))
        self.decoding = self.network = 0.0
        self.predicted: list[tuple[str, float]] = []
        return taken

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the time in the block as that of `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - started)

    def timed(self, stage: str, function: Any) -> Any:
        """Return `function`, whose time is counted as that of `stage`."""

        @wraps(function)
        def run(*arguments: Any) -> Any:
            with self.time(stage):
                return function(*arguments)

        return run


class _Request:
    """One request of those that came at once, with a context in which it is the only one."""

    def __init__(self, fields: dict[str, Any], context: Any, index: int) -> None:
        self.context = copy.copy(context)
        self.context.request_processor = [context.request_processor[index]]
        headers = self.context.request_processor[0].get_request_properties()
        self.content_type = headers.get(CONTENT_TYPE_HEADER, "").partition(";")[0].strip().lower()
        headers["Content-Type"] = self.content_type
        self.accept = headers.get("Accept") or headers.get("accept") or ""
        self.body = bytes(fields.get("body") or b"")

    def check(self) -> None:
        """Raise `RequestError` for text that is none: the transformer would take a wrong byte for a fault of ours."""
        if self.content_type in UTF8_TYPES:
            try:
                self.body.decode()
            except UnicodeDecodeError as error:
                raise RequestError(HTTPStatus.BAD_REQUEST, f"the body is not UTF-8 (byte {error.start})") from error


def _error_body(sentence: str) -> str:
    """Return the JSON of an error, cut so that it fits into a header whatever characters it has."""
    body = json.dumps({"error": sentence})
    while len(body) > _LONGEST_ERROR:
        sentence = sentence[: len(sentence) * _LONGEST_ERROR // len(body) - 1] + "…"
        body = json.dumps({"error": sentence})
    return body


def _check_module(name: str, code: Path, own: bool) -> None:
    """Refuse a module that is named but missing, or whose name belongs to another one that would be used instead."""
    found = importlib.util.find_spec(name)
    origin = Path(found.origin).parent if found and found.origin else None
    if "SAGEMAKER_PROGRAM" in os.environ and not own:
        raise UserError(f"SAGEMAKER_PROGRAM names {name}.py, but the model has no code/{name}.py; add it")
    if found and origin != code:
        raise UserError(f"code/{name}.py cannot be used: {origin} holds a module of that name; call it inference.py")
