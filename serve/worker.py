"""A model with its four functions in one process: sagemaker-inference's transformer, with our errors and checks."""

import copy
import ctypes
import importlib.util
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
from sagemaker_inference.errors import BaseInferenceToolkitError
from sagemaker_inference.transformer import Transformer

from byoc_vision.contract.errors import UserError, described
from serve import answers, backend, decoding, inference
from serve.answers import AnswerError, Body
from serve.config import CONTENT_TYPE_HEADER, ERROR_HEADER, INTERNAL_ERROR
from serve.errors import RequestError
from serve.measured import Measured
from serve.memory import MB, own_memory
from serve.settings import DEFAULT_PAYLOAD_MB

logger = logging.getLogger(__name__)

_LIBC = ctypes.CDLL(None)

#: The statuses whose reason is the client's to know: its own faults, and that there is too little memory.
_TOLD = {*range(400, 500), HTTPStatus.INSUFFICIENT_STORAGE}

#: How often a request's body is there, besides as it came, while it is read: as bytes, as text, and what that holds.
_COPIES = 3

#: With less memory, in bytes, few pictures could be decoded.
_LEAST_DECODING = 16 * MB


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
        self._limit = int(os.environ.get("SERVE_MAX_ANSWER_BYTES", DEFAULT_PAYLOAD_MB * MB))
        self._decoders = 1
        self._share = self._resting = 0
        self._threads = ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self._measured = Measured()

    def load(self, context: Any) -> None:
        """Load and warm up the model; raises `UserError` when it, or its `code/inference.py`, cannot be used."""
        model_dir = Path(context.system_properties["model_dir"])
        # So many requests are decoded at once.
        self._decoders = min(context.system_properties["batch_size"], int(os.environ.get("OMP_NUM_THREADS", "1")))
        code = model_dir / "code"
        own = (code / f"{Environment().module_name}.py").is_file()
        if own:
            sys.path.insert(0, str(code))
        _check_module(Environment().module_name, code, own)
        try:
            self.validate_and_initialize(model_dir=str(model_dir), context=context)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            raise UserError(_ended(error)) from error
        predicted_by_us = self._transform_fn == self._default_transform_fn and self._predict_fn is inference.predict_fn
        if predicted_by_us and not hasattr(self._model, "probabilities"):
            raise UserError("code/inference.py has its own model_fn but no predict_fn; add one that knows its model")
        functions = (self._input_fn, self._predict_fn, self._output_fn)
        ours = (inference.input_fn, inference.predict_fn, inference.output_fn)
        self._ours = predicted_by_us and functions == ours and isinstance(self._model, backend.Model)
        self._input_fn = self._measured.timed("decoding", self._input_fn)
        self._predict_fn = self._measured.timed("network", self._counted if predicted_by_us else self._predict_fn)

    def take_at_most(self, share: int) -> None:
        """Let requests use what is left of `share` bytes of memory; raises `UserError` where that is too little."""
        network = self._model.batch_bytes if isinstance(self._model, backend.Model) else 0
        self._resting, self._share = own_memory(), share - network
        left = self._share - self._resting
        if left < _LEAST_DECODING:
            raise UserError(
                f"a worker has {share // MB} MB of the container's memory, and the model takes "
                f"{(share - left) // MB} MB of them; give the container more memory, or fewer workers "
                "(SAGEMAKER_MODEL_SERVER_WORKERS)"
            )

    def _limit_decoding(self, bodies: int) -> None:
        """Let what is decoded next, from so many bytes, take what is left of the worker's memory."""
        own = own_memory()
        if own > self._resting + _LEAST_DECODING:
            # The allocator keeps what was freed, in pieces that the next picture may not fit into.
            _LIBC.malloc_trim(0)
            own = self._resting = own_memory()
        os.environ[decoding.LIMIT_VARIABLE] = str(max(0, self._share - own - _COPIES * bodies) // self._decoders)

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

    def measured(self) -> dict[str, list[Any]]:
        """Return what was measured since this was called last, see `serve.measured`."""
        return self._measured.taken()

    def answer(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Return the answers to requests in their order. Each has headers and errors of its own."""
        if self._share:
            self._limit_decoding(sum(len(fields.get("body") or b"") for fields in data))
        requests = [_Request(fields, context, index) for index, fields in enumerate(data)]
        if self._ours:
            return self._answer_together(requests)
        return [self._answer_alone(request) for request in requests]

    def _answer_alone(self, request: "_Request") -> Body:
        context = request.context
        try:
            accept = self._accept(request)
            call = (self._transform_fn, self._model, request.content(), request.content_type, accept)
            body, content_type = answers.unpacked(self._run_handler_function(*call), accept)
            if content_type == request.accept and not answers.is_header(accept):
                raise RequestError(406, "the Accept header is too long, or not ASCII; name the types that are accepted")
            context.set_response_content_type(0, content_type)
            headers, (status, phrase) = context.get_response_headers(0), context.get_response_status(0)
            answers.check_head(status, [*headers.keys(), *headers.values(), phrase or "OK"])
            return answers.encoded(body, self._limit)
        # Also sys.exit: whatever the model's own code does, the worker answers the next request.
        except BaseException as error:
            return self._refused(error, request)

    def _answer_together(self, requests: list["_Request"]) -> list[Any]:
        """Run what the requests hold through the network at once; all else is done for each by itself."""
        with self._measured.time("decoding"):
            decoded = list(self._threads.map(self._inputs, requests))
        arrays = [each for each in decoded if not isinstance(each, Exception)]
        try:
            with self._measured.time("network"):
                rows = iter(self._model.probabilities(np.concatenate(arrays)) if arrays else [])
        except Exception as error:
            if len(requests) == 1:
                return [self._refused(error, requests[0])]
            logger.exception("the model failed on %d requests at once, which are now answered one by one", len(arrays))
            return [body for request in requests for body in self._answer_together([request])]
        bodies: list[Any] = []
        for request, each in zip(requests, decoded, strict=True):
            if isinstance(each, Exception):
                bodies.append(self._refused(each, request))
                continue
            try:
                bodies.append(self._output(np.stack(list(islice(rows, len(each)))), request))
            except Exception as error:
                bodies.append(self._refused(error, request))
        return bodies

    def _counted(self, data: backend.Batch, model: Any) -> dict[str, Any]:
        """Predict as `inference.predict_fn` does, and count what was predicted."""
        prediction = inference.predict_fn(data, model)
        self._measured.count(prediction)
        return prediction

    def _inputs(self, request: "_Request") -> NDArray[np.float32] | Exception:
        """Return what the network takes for the request, or what is wrong with it."""
        try:
            batch = decoding.decode(request.content(), request.content_type, self._model.enough_pixels)
            return inference.inputs(batch, self._model)
        except Exception as error:
            return error

    def _output(self, probabilities: NDArray[np.float32], request: "_Request") -> str:
        prediction = inference.predictions(probabilities, self._model)
        body, content_type = inference.output_fn(prediction, self._accept(request))
        self._measured.count(prediction)
        request.context.set_response_content_type(0, content_type)
        return body

    def _accept(self, request: "_Request") -> str:
        accept: str = request.accept if request.accept not in ("", ANY) else self._environment.default_accept
        return accept

    @staticmethod
    def _refused(error: BaseException, request: "_Request") -> str:
        """Return `{"error": sentence}`; what is not the client's fault is logged here and not told."""
        status, sentence = INTERNAL_ERROR, "the request failed inside the container; its log says why"
        if isinstance(error, BaseInferenceToolkitError) and error.status_code in _TOLD:
            status, sentence = error.status_code, error.message
        elif isinstance(error, AnswerError):
            logger.error("%s", error)
        elif isinstance(error, Exception):
            logger.error("%s", "".join(traceback.format_exception(error)).rstrip())
        else:
            logger.error("%s", _ended(error))
        body = answers.error(str(sentence))
        context = request.context
        context.get_response_headers(0).clear()
        context.set_response_status(code=int(status), phrase="Error")
        context.set_response_content_type(0, inference.JSON)
        context.set_response_header(0, ERROR_HEADER, body)
        return body


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

    def content(self) -> bytes | str:
        """Return the body as the model's functions get it, decoded where its type is text.

        Raises `RequestError` for text that is none.
        """
        if self.content_type not in UTF8_TYPES:
            return self.body
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise decoding.not_text(self.body, error.start) from error


def _ended(error: BaseException) -> str:
    told = "let it raise an Exception that says what is wrong"
    return f"the model's own code ends its process ({described(error)}); {told}"


def _check_module(name: str, code: Path, own: bool) -> None:
    """Refuse a module that is named but missing, or whose name belongs to another one that would be used instead."""
    found = importlib.util.find_spec(name)
    origin = Path(found.origin).parent if found and found.origin else None
    if "SAGEMAKER_PROGRAM" in os.environ and not own:
        raise UserError(f"SAGEMAKER_PROGRAM names {name}.py, but the model has no code/{name}.py; add it")
    if found and origin != code:
        raise UserError(f"code/{name}.py cannot be used: {origin} holds a module of that name; call it inference.py")
