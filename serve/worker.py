"""A model with its four functions in one process: sagemaker-inference's transformer, with our errors and checks."""

import importlib.util
import json
import logging
import os
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sagemaker_inference.content_types import UTF8_TYPES
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler
from sagemaker_inference.environment import Environment
from sagemaker_inference.errors import BaseInferenceToolkitError
from sagemaker_inference.transformer import Transformer

from classifier.errors import UserError
from serve import backend, inference
from serve.config import CONTENT_TYPE_HEADER, ERROR_HEADER, INTERNAL_ERROR
from serve.decoding import RequestError

logger = logging.getLogger(__name__)


class Functions(DefaultInferenceHandler):  # type: ignore[misc]
    """Our functions, under the names by which the transformer looks for what the user's module leaves out."""

    default_model_fn = staticmethod(inference.model_fn)
    default_model_warmup_fn = staticmethod(inference.model_warmup_fn)
    default_input_fn = staticmethod(inference.input_fn)
    default_predict_fn = staticmethod(inference.predict_fn)
    default_output_fn = staticmethod(inference.output_fn)


class Worker(Transformer):  # type: ignore[misc]
    """Loads the model once, then answers one request at a time."""

    def __init__(self) -> None:
        super().__init__(Functions())

    def load(self, context: Any) -> None:
        """Load and warm up the model; raises `UserError` when it, or its `code/inference.py`, cannot be used."""
        model_dir = Path(context.system_properties["model_dir"])
        code = model_dir / "code"
        own = (code / f"{Environment().module_name}.py").is_file()
        if own:
            sys.path.insert(0, str(code))
        _check_module(Environment().module_name, code, own)
        self.validate_and_initialize(model_dir=str(model_dir), context=context)
        ours = self._transform_fn == self._default_transform_fn and self._predict_fn is inference.predict_fn
        if ours and not hasattr(self._model, "predict"):
            raise UserError("code/inference.py has its own model_fn but no predict_fn; add one that knows its model")

    @property
    def description(self) -> str:
        """What the model computes on, and in which form and why, where it is ours."""
        if isinstance(self._model, backend.Model):
            return f"on {self._model.device}, {self._model.choice}"
        return "made by its own model_fn"

    def answer(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Return the answer to one request, as multi-model-server wants it: a list of one."""
        headers = context.request_processor[0].get_request_properties()
        content_type = headers.get(CONTENT_TYPE_HEADER, "").partition(";")[0].strip().lower()
        headers["Content-Type"] = content_type
        body = data[0]["body"] = bytes(data[0].get("body") or b"")
        if content_type in UTF8_TYPES:
            # The transformer decodes these, and would take a wrong byte for a fault of ours.
            try:
                body.decode()
            except UnicodeDecodeError as error:
                sentence = f"the body is not UTF-8 (byte {error.start})"
                return self.handle_error(context, RequestError(HTTPStatus.BAD_REQUEST, sentence), "")
        answer: list[Any] = self.transform(data, context)
        return answer

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


def _check_module(name: str, code: Path, own: bool) -> None:
    """Refuse a module that is named but missing, or whose name belongs to another one that would be used instead."""
    found = importlib.util.find_spec(name)
    origin = Path(found.origin).parent if found and found.origin else None
    if "SAGEMAKER_PROGRAM" in os.environ and not own:
        raise UserError(f"SAGEMAKER_PROGRAM names {name}.py, but the model has no code/{name}.py; add it")
    if found and origin != code:
        raise UserError(f"code/{name}.py cannot be used: {origin} holds a module of that name; call it inference.py")
