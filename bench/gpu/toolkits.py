"""What the serving worker takes from sagemaker-inference and multi-model-server, where these are not installed."""

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def stand_in() -> None:
    """Let the modules that `serve.worker` imports be there."""
    if find_spec("sagemaker_inference"):
        return
    errors, types = ModuleType("sagemaker_inference.errors"), ModuleType("sagemaker_inference.content_types")
    errors.BaseInferenceToolkitError = _BaseError  # type: ignore[attr-defined]
    errors.GenericInferenceToolkitError = _GenericError  # type: ignore[attr-defined]
    types.ANY, types.UTF8_TYPES = "*/*", ["application/json", "text/csv"]  # type: ignore[attr-defined]
    package = ModuleType("sagemaker_inference")
    for module in (package, errors, types):
        sys.modules[module.__name__] = module


class _BaseError(Exception):
    def __init__(self, status_code: int, message: str, phrase: str) -> None:
        super().__init__(message)
        self.status_code, self.message, self.phrase = status_code, message, phrase


class _GenericError(_BaseError):
    def __init__(self, status_code: int, message: str, phrase: str | None = None) -> None:
        super().__init__(status_code, message, phrase or message)


class Processor:
    """The headers and the status of one request, and of its answer."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers, self._answered, self._status = headers, dict[str, str](), (200, "")

    def get_request_properties(self) -> dict[str, str]:
        """Return the request's headers."""
        return self._headers

    def get_response_headers(self) -> dict[str, str]:
        """Return the answer's."""
        return self._answered


class Context:
    """What multi-model-server hands to a handler: the model's properties, and a `Processor` for each request."""

    def __init__(self, model_dir: str, gpu: int | None, batch_size: int) -> None:
        self.model_name = "model"
        self.system_properties: dict[str, Any] = {"model_dir": model_dir, "gpu_id": gpu, "batch_size": batch_size}
        self.request_processor: list[Processor] = []

    def get_response_headers(self, index: int) -> dict[str, str]:
        """Return the headers of an answer."""
        return self.request_processor[index].get_response_headers()

    def get_response_status(self, index: int) -> tuple[int, str]:
        """Return the status of an answer, and its phrase."""
        return self.request_processor[index]._status

    def set_response_status(self, code: int, phrase: str, index: int = 0) -> None:
        """Set the status of an answer."""
        self.request_processor[index]._status = (code, phrase)

    def set_response_content_type(self, index: int, value: str) -> None:
        """Set what an answer is."""
        self.get_response_headers(index)["content-type"] = value

    def set_response_header(self, index: int, name: str, value: Any) -> None:
        """Set a header of an answer."""
        self.get_response_headers(index)[name] = value
