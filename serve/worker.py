"""A model with its four functions in one process: sagemaker-inference's transformer, with our errors and checks."""

import copy
import importlib.util
import json
import logging
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
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
from serve.errors import RequestError

logger = logging.getLogger(__name__)


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

    def __init__(self) -> None:
        super().__init__(Functions())
        self._threads = ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS", "1")))

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
        if self._ours:
            enough = self._model.enough_pixels
            self._input_fn = lambda body, content_type: decoding.decode(body, content_type, enough)

    @property
    def description(self) -> str:
        """What the model computes on, and in which form and why, where it is ours."""
        if isinstance(self._model, backend.Model):
            return f"on {self._model.device}, {self._model.choice}"
        return "made by its own model_fn"

    def answer(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Return the answers to requests in their order. Each has headers and errors of its own."""
        requests = [_Request(fields, context, index) for index, fields in enumerate(data)]
        if self._ours and len(requests) > 1:
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
        """Run what several requests hold through the network at once; all else is done for each by itself."""
        decoded = [self._threads.submit(self._inputs, request) for request in requests]
        arrays = [future.result() for future in decoded if future.exception() is None]
        try:
            rows = iter(self._model.probabilities(np.concatenate(arrays)) if arrays else [])
        except Exception:
            logger.exception("the model failed on %d requests at once, which are now answered one by one", len(arrays))
            return [self._answer_alone(request) for request in requests]
        answers: list[Any] = []
        for request, future in zip(requests, decoded, strict=True):
            try:
                pictures = len(future.result())
                answers.append(self._output(np.stack(list(islice(rows, pictures))), request))
            except Exception as error:
                known = isinstance(error, BaseInferenceToolkitError)
                told = error if known else GenericInferenceToolkitError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                answers += self.handle_error(request.context, told, traceback.format_exc())
        return answers

    def _inputs(self, request: "_Request") -> NDArray[np.float32]:
        request.check()
        return inference.inputs(self._input_fn(request.body, request.content_type), self._model)

    def _output(self, probabilities: NDArray[np.float32], request: "_Request") -> str:
        accept = request.accept if request.accept not in ("", ANY) else self._environment.default_accept
        body, content_type = inference.output_fn(inference.predictions(probabilities, self._model), accept)
        request.context.set_response_content_type(0, content_type)
        return body

    @staticmethod
    def handle_error(context: Any, inference_exception: BaseInferenceToolkitError, trace: str) -> list[str]:
        """Answer `{"error": sentence}`; what is not the client's fault is logged here and not told."""
        status, sentence = inference_exception.status_code, inference_exception.message
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("%s", trace.rstrip())
            status, sentence = INTERNAL_ERROR, "the request failed inside the container; its log says why"
        body = json.dumps({"error": " ".join(str(sentence).split())[:1000]})
        context.set_response_status(code=status, phrase="Error")
        context.set_response_content_type(0, inference.JSON)
        context.set_response_header(0, ERROR_HEADER, body)
        return [body]


class _Request:
    """One request of those that came at once, with a context in which it is the only one."""

    def __init__(self, fields: dict[str, Any], context: Any, index: int) -> None:
        self.context = copy.copy(context)
        self.context.request_processor = [context.request_processor[index]]
        headers = self.context.request_processor[0].get_request_properties()
        self.content_type = decoding.media_type(headers.get(CONTENT_TYPE_HEADER, ""))
        headers["Content-Type"] = self.content_type
        self.accept = headers.get("Accept") or headers.get("accept") or ""
        self.body = bytes(fields.get("body") or b"")

    def check(self) -> None:
        """Raise `RequestError` for text that is none: the transformer would take a wrong byte for a fault of ours."""
        if self.content_type in UTF8_TYPES:
            try:
                self.body.decode()
            except UnicodeDecodeError as error:
                raise decoding.not_text(self.body, error.start) from error


def _check_module(name: str, code: Path, own: bool) -> None:
    """Refuse a module that is named but missing, or whose name belongs to another one that would be used instead."""
    found = importlib.util.find_spec(name)
    origin = Path(found.origin).parent if found and found.origin else None
    if "SAGEMAKER_PROGRAM" in os.environ and not own:
        raise UserError(f"SAGEMAKER_PROGRAM names {name}.py, but the model has no code/{name}.py; add it")
    if found and origin != code:
        raise UserError(f"code/{name}.py cannot be used: {origin} holds a module of that name; call it inference.py")
