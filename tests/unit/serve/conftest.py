"""Workers with the user's code, and questions to them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mms.context import Context, RequestProcessor

from serve import backend
from serve.config import CONTENT_TYPE_HEADER, ERROR_HEADER
from serve.records import Kept, Trials
from serve.worker import Worker


def settled(folder: Path, roomy: bool = True) -> backend.Model:
    """The model in `folder`, in the form that is found in this process."""
    precision = backend.precision()

    def fastest(reference: str) -> tuple[str, str]:
        network = backend.read(folder, None, precision)
        return backend.choose(network, precision, Kept.under(backend.circumstances(folder, network)), Trials())

    model = backend.Model(backend.read(folder, None, precision), precision)
    model.settle(fastest, lambda: roomy)
    return model


MakeWorker = Callable[..., tuple[Worker, Context]]


@pytest.fixture
def make_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeWorker:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("SAGEMAKER_PROGRAM", raising=False)
    monkeypatch.delitem(sys.modules, "inference", raising=False)

    def make(source: str | None = None, name: str = "inference.py") -> tuple[Worker, Context]:
        if source is not None:
            (tmp_path / "code").mkdir(exist_ok=True)
            (tmp_path / "code" / name).write_text(source)
        context = Context("model", str(tmp_path), {}, 1, None, "1")
        worker = Worker()
        worker.load(context)
        return worker, context

    return make


def ask(worker: Worker, context: Context, body: bytes, content_type: str, **headers: str) -> tuple[int, Any, str]:
    processor = RequestProcessor({CONTENT_TYPE_HEADER: content_type, **headers})
    context.request_processor = [processor]
    (answer,) = worker.answer([{"body": bytearray(body)}], context)
    error = processor.get_response_header(ERROR_HEADER)
    assert error is None or error == answer
    return processor.get_response_status_code(), answer, processor.get_response_header("content-type")
