"""One worker: which functions it takes from where, and how it answers when they fail."""

import gc
import io
import json
import os
import time
import tracemalloc
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from byoc_vision.contract.errors import UserError
from serve import answers, decoding, memory
from serve import worker as module
from serve.config import INTERNAL_ERROR, RECEIVED_HEADER
from tests.unit.serve.conftest import MakeWorker, ask

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


def test_the_models_own_code_gets_what_sagemaker_promises(make_worker: MakeWorker) -> None:
    worker, context = make_worker(ECHO)
    content_type = "Application/JSON ; charset=utf-8"
    assert ask(worker, context, b"{}", content_type, Accept="text/plain") == (
        200,
        repr(("str", "application/json", "text/plain")),
        "text/plain",
    )
    status, answer, _ = ask(worker, context, b"\xff", "image/jpeg")
    assert (status, answer) == (200, repr(("bytes", "image/jpeg", "application/json")))


def test_failing_code_is_logged_and_not_shown(make_worker: MakeWorker, caplog: pytest.LogCaptureFixture) -> None:
    worker, context = make_worker(ECHO)
    status, answer, content_type = ask(worker, context, b"raise", "application/json")
    assert (status, content_type) == (INTERNAL_ERROR, "application/json")
    assert "secret" not in answer
    assert list(json.loads(answer)) == ["error"]
    assert "RuntimeError: secret" in caplog.text


DECODES = """
from serve import decoding

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    return str(decoding.decode(body, content_type))
"""


def test_a_worker_that_keeps_more_memory_than_it_has_goes_on(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(decoding.LIMIT_VARIABLE, "0")
    worker, context = make_worker(DECODES)
    worker.take_at_most(memory.own_memory() + 20 * memory.MB)
    monkeypatch.setattr(module, "own_memory", lambda: 10**12)
    picture = io.BytesIO()
    Image.new("RGB", (300, 200)).save(picture, "PNG")
    status, answer, _ = ask(worker, context, picture.getvalue(), "image/png")
    assert (status, "300x200" in answer) == (200, True)


def test_code_that_is_no_file_is_not_left_out(make_worker: MakeWorker, tmp_path: Path) -> None:
    file = tmp_path / "code" / "inference.py"
    file.parent.mkdir()
    for make in (file.mkdir, partial(os.mkfifo, file), partial(file.symlink_to, "elsewhere.py")):
        make()
        with pytest.raises(UserError, match=r"code/inference.py is no file, or a link that leads to none"):
            make_worker()
        (file.rmdir if file.is_dir() else file.unlink)()


def test_code_that_only_its_owner_may_read(
    make_worker: MakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "code" / "inference.py"
    file.parent.mkdir()
    file.touch(0)
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (file, os.R_OK))  # the tests' root may read it
    with pytest.raises(UserError, match=r"code/inference.py cannot be read here; let every user read it"):
        make_worker()


CIRCLES = """
import gc

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    circle = [b"x" * 50_000_000]
    circle.append(circle)
    gc.collect()  # as it does by itself when many objects are made: the circle is now among the old ones
    return "done"
"""


def test_what_own_code_leaves_in_circles_is_freed_by_the_next_requests(make_worker: MakeWorker) -> None:
    worker, context = make_worker(CIRCLES)
    before = memory.own_memory()
    for _ in range(6):
        assert ask(worker, context, b"x", "text/plain")[0] == 200
        gc.collect(1)
    assert memory.own_memory() - before < 150 * memory.MB


def test_what_a_refused_request_held_is_freed_without_the_collector(make_worker: MakeWorker) -> None:
    worker, context = make_worker(DECODES)
    body = b"[" + b'{"":0},' * 50_000 + b"0]"
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(3):
            assert ask(worker, context, body, "application/json")[0] == 400
        assert tracemalloc.get_traced_memory()[0] < len(body)
    finally:
        tracemalloc.stop()
        gc.enable()


def test_code_may_refuse_a_request(make_worker: MakeWorker) -> None:
    worker, context = make_worker(ECHO)
    status, answer, _ = ask(worker, context, b"refuse", "application/json")
    assert (status, json.loads(answer)) == (409, {"error": "not now"})


ANSWERS = """
import sys

class Ended(BaseException):
    pass

class Written(dict):
    def items(self):
        raise RuntimeError("no items")

def nested():
    value = []
    value.append(value)
    return value

def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value

def interrupted():
    raise KeyboardInterrupt

def ended():
    raise Ended("enough")

BODIES = {
    "exit": lambda: sys.exit("not\\nlike this"),
    "interrupt": interrupted,
    "end": ended,
    "set": lambda: {1, 2},
    "circle": nested,
    "deep": deep,
    "surrogate": lambda: "\\ud800",
    "own items": lambda: Written(a=1),
    "large": lambda: b"x" * (16 * 1024 * 1024),
    "large text": lambda: "ä" * (4 * 1024 * 1024),
    "none": lambda: None,
    "numbers": lambda: [1, 2.5],
    "bytearray": lambda: bytearray(b"abc"),
}
RESULTS = {
    "no values": (),
    "one value": ("x",),
    "three values": ("x", "text/plain", 200),
    "long": ("x", "x" * 9000),
    "line": ("x", "text/plain\\r\\nA: b"),
    "umlaut": ("x", "text/plän"),
    "no type": ("x", None),
    "number": ("x", 3),
    "empty type": ("x", ""),
}

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return body

def predict_fn(data, model, context):
    if data == "header":
        context.set_response_header(0, "X-Long", "ä")
    if data == "space":
        context.set_response_header(0, "X Y", "z")
    if data == "many":
        for number in range(50):
            context.set_response_header(0, f"X-{number}", "z" * 200)
    if data == "status":
        context.set_response_status(code="200")
    return BODIES[data]() if data in BODIES else RESULTS.get(data, data)

def output_fn(prediction, accept):
    return prediction
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("exit", "SystemExit: not like this"),
        ("interrupt", "KeyboardInterrupt"),
        ("end", "Ended: enough"),
        ("set", "cannot be sent (TypeError"),
        ("circle", "cannot be sent (ValueError"),
        ("deep", "cannot be sent (RecursionError"),
        ("surrogate", "cannot be sent (UnicodeEncodeError"),
        ("own items", "cannot be sent (RuntimeError: no items"),
        ("large", "16777216 bytes, more than 6 MB"),
        ("large text", "8388608 bytes, more than 6 MB"),
        ("no values", "0 values"),
        ("one value", "1 values"),
        ("three values", "3 values"),
        ("long", "content type 'xxx"),
        ("line", "content type 'text/plain\\r\\nA"),
        ("umlaut", "content type 'text/pl"),
        ("no type", "content type None"),
        ("number", "content type 3"),
        ("empty type", "content type ''"),
        ("header", "header or content type 'ä'"),
        ("space", "a header named 'X Y'"),
        ("many", "headers of more than 6000 characters"),
        ("status", "the status '200'"),
    ],
)
def test_what_cannot_be_sent_is_one_line_in_the_log(
    make_worker: MakeWorker, caplog: pytest.LogCaptureFixture, body: str, words: str
) -> None:
    worker, context = make_worker(ANSWERS)
    status, answer, content_type = ask(worker, context, body.encode(), "application/json")
    assert (status, content_type) == (INTERNAL_ERROR, "application/json")
    assert list(json.loads(answer)) == ["error"]
    (line,) = caplog.messages
    assert words in line and "\n" not in line
    # The worker goes on, and nothing of the failed answer is left in the next one.
    assert ask(worker, context, b"numbers", "application/json") == (200, "[\n  1,\n  2.5\n]", "application/json")


def test_what_can_be_sent_is_sent_as_it_is(make_worker: MakeWorker) -> None:
    worker, context = make_worker(ANSWERS)
    for body, answer in (("none", "null"), ("bytearray", bytearray(b"abc")), ("grün", "grün")):
        assert ask(worker, context, body.encode(), "application/json")[:2] == (200, answer)


@pytest.mark.parametrize("accept", ["x" * 9000, "text/plän", "text/plain\tx"])
def test_an_accept_header_that_cannot_be_a_content_type_is_the_clients_fault(
    make_worker: MakeWorker, accept: str
) -> None:
    worker, context = make_worker(ANSWERS)
    status, answer, _ = ask(worker, context, b"numbers", "application/json", Accept=accept)
    assert status == 406
    assert "Accept" in json.loads(answer)["error"]


def test_what_nobody_waits_for_any_more_is_not_done(make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_PATIENCE", "65")
    worker, context = make_worker(ECHO)
    for seconds, status in ((60, 200), (70, 408)):
        received = {RECEIVED_HEADER: f"{time.time() - seconds:.3f}"}
        assert ask(worker, context, b"x", "text/plain", **received)[0] == status


@pytest.mark.parametrize("status", [200, 302, 503, 10**12, "404", None])
def test_code_may_refuse_with_a_client_error_only(
    make_worker: MakeWorker, caplog: pytest.LogCaptureFixture, status: object
) -> None:
    worker, context = make_worker(ECHO.replace("409", repr(status)))
    assert ask(worker, context, b"refuse", "application/json")[0] == INTERNAL_ERROR
    assert "not" in caplog.text


@pytest.mark.parametrize(
    ("place", "raised"),
    [
        ("{}", "sys.exit(3)"),
        ("{}", "raise KeyboardInterrupt"),
        ("def model_fn(model_dir):\n    {}", "sys.exit('no\\nGPU')"),
        ("def model_warmup_fn(model_dir, model):\n    {}\ndef model_fn(model_dir): pass", "raise GeneratorExit"),
    ],
)
def test_code_that_ends_its_process_at_load_is_told_in_one_sentence(
    make_worker: MakeWorker, place: str, raised: str
) -> None:
    with pytest.raises(UserError, match="the model's own code ends its process") as caught:
        make_worker("import sys\n" + place.format(raised))
    assert "\n" not in str(caught.value) and ":)" not in str(caught.value)


def test_text_that_is_not_utf_8_is_the_clients_fault(make_worker: MakeWorker) -> None:
    worker, context = make_worker(ECHO)
    status, answer, _ = ask(worker, context, b"\xff", "application/json")
    assert status == 400
    assert "UTF-8" in json.loads(answer)["error"]


def test_a_model_function_that_returns_no_model_is_refused(make_worker: MakeWorker) -> None:
    with pytest.raises(UserError, match=r"NoneType, which cannot be called with data.* predict_fn"):
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


@pytest.mark.parametrize("character", ["x", "é", "\U0001f436", "\n", '"', "\ud800"])
@pytest.mark.parametrize("length", [0, 1, 150, 300, 1000, 1990, 2500, 100_000])
def test_every_error_fits_into_a_header(character: str, length: int) -> None:
    body = answers.error("bad: " + character * length)
    assert body.isascii() and body.isprintable() and len(body) <= 2000
    assert json.loads(body)["error"].startswith("bad:")
