"""One worker: which functions it takes from where, and how it answers when they fail."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mms.context import Context, RequestProcessor

from classifier.errors import UserError
from serve.config import CONTENT_TYPE_HEADER, ERROR_HEADER, INTERNAL_ERROR
from serve.worker import Worker

ECHO = """
from sagemaker_inference.errors import GenericInferenceToolkitError

def model_fn(model_dir):
    return model_dir

def transform_fn(model, body, content_type, accept):
    if body == "raise":
        raise RuntimeError("secret")
    if body == "refuse":
        raise GenericInferenceToolkitError(409, "not\\nnow")
    return repr((type(body).__name__, content_type, accept)), "text/plain"
"""

MakeWorker = Callable[..., tuple[Worker, Context]]


@pytest.fixture
def make_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeWorker:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("SAGEMAKER_PROGRAM", raising=False)
    monkeypatch.delitem(sys.modules, "inference", raising=False)

    def make(source: str | None = ECHO, name: str = "inference.py") -> tuple[Worker, Context]:
        if source is not None:
            (tmp_path / "code").mkdir()
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


def test_the_models_own_code_gets_what_sagemaker_promises(make_worker: MakeWorker) -> None:
    worker, context = make_worker()
    content_type = "Application/JSON ; charset=utf-8"
    assert ask(worker, context, b"{}", content_type, Accept="text/plain") == (
        200,
        repr(("str", "application/json", "text/plain")),
        "text/plain",
    )
    status, answer, _ = ask(worker, context, b"\xff", "image/jpeg")
    assert (status, answer) == (200, repr(("bytes", "image/jpeg", "application/json")))


def test_failing_code_is_logged_and_not_shown(make_worker: MakeWorker, caplog: pytest.LogCaptureFixture) -> None:
    worker, context = make_worker()
    status, answer, content_type = ask(worker, context, b"raise", "application/json")
    assert (status, content_type) == (INTERNAL_ERROR, "application/json")
    assert "secret" not in answer
    assert list(json.loads(answer)) == ["error"]
    assert "RuntimeError: secret" in caplog.text


def test_code_may_refuse_a_request(make_worker: MakeWorker) -> None:
    worker, context = make_worker()
    status, answer, _ = ask(worker, context, b"refuse", "application/json")
    assert (status, json.loads(answer)) == (409, {"error": "not now"})


def test_text_that_is_not_utf_8_is_the_clients_fault(make_worker: MakeWorker) -> None:
    worker, context = make_worker()
    status, answer, _ = ask(worker, context, b"\xff", "application/json")
    assert status == 400
    assert "UTF-8" in json.loads(answer)["error"]


def test_a_model_function_alone_is_refused(make_worker: MakeWorker) -> None:
    with pytest.raises(UserError, match="predict_fn"):
        make_worker("def model_fn(model_dir):\n    return None\n")


def test_a_program_that_is_not_there_is_refused(make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "entry.py")
    with pytest.raises(UserError, match=r"names entry\.py"):
        make_worker(None)


def test_a_program_named_like_another_module_is_refused(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "json.py")
    with pytest.raises(UserError, match="a module of that name"):
        make_worker(ECHO, "json.py")


def test_the_models_own_program_may_have_another_name(make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "entry.py")
    worker, context = make_worker(ECHO, "entry.py")
    assert ask(worker, context, b"{}", "application/json")[0] == 200
