"""A model in one process, and the answers to requests, with the errors and checks that are the same for all models."""

import ctypes
import gc
import importlib
import importlib.util
import logging
import os
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sagemaker_inference.errors import BaseInferenceToolkitError

from byoc_vision.contract.errors import UserError, described
from serve import answers, backend, decoding, measuring, pipeline, user_code
from serve.advice import advice
from serve.answers import AnswerError, Body
from serve.config import ERROR_HEADER, INTERNAL_ERROR
from serve.encoding import JSON
from serve.errors import RequestError
from serve.memory import MB, own_memory
from serve.pipeline import Pipeline
from serve.request import Request
from serve.settings import DEFAULT_PAYLOAD_MB
from serve.user_code import Function
from serve.worker_metrics import Measured

logger = logging.getLogger(__name__)

_LIBC = ctypes.CDLL(None)

#: The statuses whose reason is the client's to know: its own faults, and that there is too little memory.
_TOLD = {*range(400, 500), HTTPStatus.INSUFFICIENT_STORAGE}

#: How often a request's body is there, besides as it came, while it is read: as bytes, as text, and what that holds.
_COPIES = 3

#: With less memory, in bytes, few pictures could be decoded.
_LEAST_DECODING = 16 * MB


class Worker:
    """Loads the model once, then answers one request at a time, or as many as multi-model-server hands it at once."""

    _model: Any
    _own: Mapping[str, Function]
    _pipeline: Pipeline

    def __init__(self) -> None:
        self._limit = int(os.environ.get("SERVE_MAX_ANSWER_BYTES", DEFAULT_PAYLOAD_MB * MB))
        self._patience = float(os.environ.get("SERVE_PATIENCE", "inf"))
        self._decoders = 1
        self._share = self._resting = 0
        self._threads = ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self._measured = Measured()

    def load(self, context: Any) -> None:
        """Load and warm up the model; raises `UserError` when it, or the user's code, cannot be used."""
        model_dir = Path(context.system_properties["model_dir"])
        # So many requests are decoded at once.
        self._decoders = min(context.system_properties["batch_size"], int(os.environ.get("OMP_NUM_THREADS", "1")))
        gpu = context.system_properties["gpu_id"]
        try:
            if gpu is not None and importlib.util.find_spec("torch"):
                importlib.import_module("serve.torch_backend").use_gpu(gpu)
            self._own = user_code.load(model_dir)
            self._model = pipeline.load_model(model_dir, self._own, context)
            self._pipeline = pipeline.build(model_dir, self._model, self._own, self._measured.count)
        except BaseException as error:
            if said := advice(error, model_dir):
                raise UserError(said) from error
            if isinstance(error, Exception):
                raise
            raise UserError(_ended(error)) from error

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

    def settle(self) -> None:
        """Go on in the numeric form that is the fastest, once it is known; requests are answered meanwhile."""
        while backend.unsettled:
            measuring.settle(*backend.unsettled.pop(), self._has_room)

    def _has_room(self) -> bool:
        """Tell whether pictures can be decoded in what the model leaves of the memory."""
        return not self._share or self._share - own_memory() >= _LEAST_DECODING

    def tidy(self, tolerated: int = MB) -> int:
        """Give back what requests have left, if more than `tolerated`; return the bytes that this process holds."""
        own = own_memory()
        if own > self._resting + tolerated:
            # What the model's own code has left in circles, and the collector takes for old: it counts objects, of
            # which a few can hold any amount of memory.
            gc.collect()
            # The allocator keeps what was freed, in pieces that the next picture may not fit into.
            _LIBC.malloc_trim(0)
            own = self._resting = own_memory()
        return own

    def _limit_decoding(self, own: int, bodies: int) -> None:
        """Let what is decoded next, from so many bytes, take what this process, which holds `own`, may still take."""
        # Whatever else is kept, pictures go on; where memory is really used up, the kernel ends this worker.
        left = max(_LEAST_DECODING, self._share - own)
        os.environ[decoding.LIMIT_VARIABLE] = str(max(0, left - _COPIES * bodies) // self._decoders)

    @property
    def description(self) -> str:
        """What the model computes on, in which form and why, where it is ours, and which functions are the user's."""
        own = f"; {', '.join(self._own)} of {user_code.program()}" if self._own else ""
        if isinstance(self._model, backend.Model):
            return f"on {self._model.device}, {self._model.choice}{own}"
        return f"the user's own{own}"

    @property
    def info(self) -> dict[str, str]:
        """What is known of the model, for /metrics."""
        if isinstance(self._model, backend.Model):
            return {"arch": self._model.arch, "form": self._model.form, "device": self._model.device}
        return {}

    def measured(self) -> dict[str, list[Any]]:
        """Return what was measured since this was called last, see `serve.worker_metrics`."""
        return self._measured.taken()

    def answer(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Return the answers to requests in their order. Each has headers and errors of its own."""
        own = self.tidy(_LEAST_DECODING)
        if self._share:
            self._limit_decoding(own, sum(len(fields.get("body") or b"") for fields in data))
        requests = [Request(fields, context, index) for index, fields in enumerate(data)]
        decode = partial(_attempted, self._decoded)
        with self._measured.time("decoding"):
            # One alone in this thread: what glibc keeps for another is not given back by `malloc_trim`.
            threads = self._pipeline.threads and len(requests) > 1
            decoded = list((self._threads.map if threads else map)(decode, requests))
        with self._measured.time("network"):
            predicted = self._predicted(requests, decoded)
        return [self._answered(request, prediction) for request, prediction in zip(requests, predicted, strict=True)]

    def _decoded(self, request: Request) -> Any:
        # multi-model-server keeps what nginx has answered 504 by now. Who comes next would wait for all of that, too.
        if request.waited > self._patience:
            raise RequestError(408, "there was no time for the request as long as somebody waited for its answer")
        return self._pipeline.decode(request)

    def _predicted(self, requests: list[Request], decoded: list[Any]) -> list[Any]:
        """Do the second step, for all requests at once where that can be done, else for each by itself."""
        good = [data for data in decoded if not isinstance(data, _Failed)]
        if self._pipeline.together is not None and len(good) > 1:
            try:
                predictions = iter(self._pipeline.together(good))
                return [data if isinstance(data, _Failed) else next(predictions) for data in decoded]
            except Exception:
                logger.exception(
                    "the model failed on %d requests at once, which are now answered one by one", len(good)
                )
        return [
            _attempted(self._pipeline.predict, request, data) for request, data in zip(requests, decoded, strict=True)
        ]

    def _answered(self, request: Request, prediction: Any) -> Body:
        answer = _attempted(self._written, request, prediction)
        return self._refused(answer.error, request) if isinstance(answer, _Failed) else answer

    def _written(self, request: Request, prediction: Any) -> Body:
        context = request.context
        body, content_type = answers.unpacked(self._pipeline.encode(request, prediction), request.accept)
        if content_type == request.accept and not answers.is_header(content_type):
            raise RequestError(406, "the Accept header is too long, or not ASCII; name the types that are accepted")
        context.set_response_content_type(0, content_type)
        headers, (status, phrase) = context.get_response_headers(0), context.get_response_status(0)
        answers.check_head(status, phrase or "OK", headers)
        return answers.encoded(body, self._limit)

    @staticmethod
    def _refused(error: BaseException, request: Request) -> str:
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
        context.set_response_content_type(0, JSON)
        context.set_response_header(0, ERROR_HEADER, body)
        _let_go(error)
        return body


@dataclass(frozen=True)
class _Failed:
    """What a step has made of a request that cannot be answered."""

    error: BaseException


def _attempted(step: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a step returns for a request, or that it, or one before it, has failed."""
    if isinstance(arguments[-1], _Failed):
        return arguments[-1]
    try:
        return step(*arguments)
    # Also sys.exit: whatever the model's own code does, the worker answers the next request.
    except BaseException as error:
        return _Failed(error)


def _let_go(error: BaseException | None) -> None:
    """Free what the functions held that an exception has passed, and those that led to it.

    It is in a circle with them, which the collector finds only when it looks at all objects.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__, error = None, error.__context__


def _ended(error: BaseException) -> str:
    advice = "let it raise an Exception that says what is wrong"
    return f"the model's own code ends its process ({described(error)}); {advice}"
