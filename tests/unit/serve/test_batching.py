"""Requests that come at once: one run of the network, and for each its own answer, headers and errors."""

import io
import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mms.context import Context, RequestProcessor
from numpy.typing import NDArray
from PIL import Image

from classifier import artifact, network
from classifier.preprocessing import Preprocessing
from serve.config import CONTENT_TYPE_HEADER, ERROR_HEADER, INTERNAL_ERROR
from serve.worker import Worker

Request = tuple[bytes, str, str]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def tensor(side: int, value: float = 0.5, count: int = 1) -> bytes:
    file = io.BytesIO()
    np.save(file, np.full((count, 3, side, side), value, np.float32))
    return file.getvalue()


GOOD: list[Request] = [
    (picture(0), "image/png", ""),
    (tensor(32, count=3), "application/x-npy", "application/jsonlines"),
    (picture(1), "application/x-image", "*/*"),
]
BAD: list[tuple[Request, int]] = [
    ((b"no picture", "image/jpeg", ""), 400),
    ((b"\xff", "application/json", ""), 400),
    ((b"{}", "application/json", ""), 400),
    ((picture(2), "image/png", "text/html"), 406),
    ((picture(2), "text/plain", ""), 415),
    ((tensor(31), "application/x-npy", ""), 400),
    ((tensor(32, 3e38), "application/x-npy", ""), 400),
    ((b"", "image/png", ""), 400),
]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return loaded(tmp_path)


def loaded(tmp_path: Path) -> Worker:
    """Return a worker with a ResNet-18 of 7 classes that has learned nothing."""
    torch.manual_seed(0)
    net = network.build("resnet18", 7).eval()
    labels = tuple(f"label {index}" for index in range(7))
    preprocessing = Preprocessing(36, 32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    artifact.save(
        artifact.Classifier(arch="resnet18", labels=labels, preprocessing=preprocessing, network=net), tmp_path
    )
    worker = Worker()
    worker.load(Context("model", str(tmp_path), {}, 16, None, "1"))
    return worker


def ask(worker: Worker, *requests: Request) -> list[tuple[int, str, str, str | None]]:
    """Return the status, body, content type and error header of each answer."""
    context = Context("model", "", {}, 16, None, "1")
    processors = [RequestProcessor({CONTENT_TYPE_HEADER: kind, "Accept": accept}) for _, kind, accept in requests]
    context.request_processor = processors
    bodies = worker.answer([{"body": bytearray(body)} for body, _, _ in requests], context)
    return [
        (
            processor.get_response_status_code(),
            body,
            processor.get_response_header("content-type"),
            processor.get_response_header(ERROR_HEADER),
        )
        for processor, body in zip(processors, bodies, strict=True)
    ]


def count_runs(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each run of the network adds how many pictures it had."""
    runs: list[int] = []
    run = worker._model.probabilities

    def probabilities(inputs: NDArray[np.float32]) -> Any:
        runs.append(len(inputs))
        return run(inputs)

    monkeypatch.setattr(worker._model, "probabilities", probabilities)
    return runs


def without_rounding(body: str) -> Any:
    """The answer, with probabilities that do not depend on how many pictures were summed up together."""
    return [json.loads(line, parse_float=lambda text: round(float(text), 4)) for line in body.splitlines()]


def test_requests_are_answered_together_as_each_would_be_alone(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [ask(worker, request)[0] for request in GOOD]
    runs = count_runs(worker, monkeypatch)
    together = ask(worker, *GOOD)
    assert runs == [5]
    assert [status for status, *_ in together] == [200, 200, 200]
    assert [kind for _, _, kind, _ in together] == ["application/json", "application/jsonlines", "application/json"]
    for (_, one, *_), (_, other, *_) in zip(alone, together, strict=True):
        assert without_rounding(one) == without_rounding(other)


def test_one_alone_is_decoded_where_memory_is_given_back(worker: Worker) -> None:
    threads: list[int] = []

    def decode(request: Any) -> Any:
        threads.append(threading.get_ident())
        return pipeline.decode(request)

    pipeline = worker._pipeline
    worker._pipeline = replace(pipeline, decode=decode)
    ask(worker, GOOD[0])
    assert threads == [threading.get_ident()]
    ask(worker, *GOOD)
    assert threading.get_ident() not in threads[1:]


@pytest.mark.parametrize(("bad", "status"), BAD)
def test_a_bad_request_hurts_no_neighbour(worker: Worker, bad: Request, status: int) -> None:
    first, *_, last = expected = ask(worker, *GOOD)
    assert all(answer[0] == 200 for answer in expected)
    answers = ask(worker, GOOD[0], bad, GOOD[-1])
    assert [answer[0] for answer in answers] == [200, status, 200]
    assert answers[1] == ask(worker, bad)[0]
    assert answers[1][1] == answers[1][3]
    assert list(json.loads(answers[1][1])) == ["error"]
    for one, other in ((first, answers[0]), (last, answers[2])):
        assert without_rounding(one[1]) == without_rounding(other[1])
        assert other[3] is None


def test_bad_requests_alone_are_answered_together(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = count_runs(worker, monkeypatch)
    bad = [request for request, _ in BAD if request[0] in (b"no picture", b"")]
    assert [answer[0] for answer in ask(worker, *bad)] == [400, 400]
    assert runs == []


@pytest.mark.parametrize(
    ("code", "threads"),
    [
        (
            "def output_fn(prediction, accept, context):\n    return str(len(prediction['predictions'])), 'text/plain'",
            True,
        ),
        ("from serve import inference\ndef input_fn(body, kind):\n    return inference.input_fn(body, kind)", False),
    ],
)
def test_code_that_replaces_one_step_leaves_the_others_as_they_are(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, threads: bool
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "inference", raising=False)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(code)
    own = Worker()
    own.load(Context("model", str(tmp_path), {}, 16, None, "1"))
    runs = count_runs(own, monkeypatch)
    answers = ask(own, GOOD[0], BAD[0][0], *GOOD[1:])
    assert runs == [5] and own._pipeline.threads is threads
    assert [status for status, *_ in answers] == [200, 400, 200, 200]
    if "output_fn" in code:
        assert [body for status, body, *_ in answers if status == 200] == ["1", "3", "1"]


def test_a_network_that_fails_on_many_is_asked_for_each(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = worker._model.probabilities

    def small_ones_only(inputs: NDArray[np.float32]) -> Any:
        if len(inputs) > 1:
            raise MemoryError("out of memory")
        return run(inputs)

    monkeypatch.setattr(worker._model, "probabilities", small_ones_only)
    assert [answer[0] for answer in ask(worker, *GOOD)] == [200, INTERNAL_ERROR, 200]
    assert "out of memory" in caplog.text


def test_many_pictures_go_through_the_network_in_parts(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = worker._model._run

    def counted(inputs: NDArray[np.float32]) -> Any:
        sizes.append(len(inputs))
        return run(inputs)

    monkeypatch.setattr(worker._model, "_run", counted)
    request = (tensor(32, count=40), "application/x-npy", "")
    assert [len(json.loads(body)["predictions"]) for _, body, _, _ in ask(worker, request, request)] == [40, 40]
    assert sizes == [1] * 80
