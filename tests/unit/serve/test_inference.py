"""The four functions a SageMaker user knows: what they take, what they give back, what they refuse."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from byoc_vision.contract.errors import UserError
from classifier import artifact, network
from classifier.preprocessing import Preprocessing
from serve import encoding, inference
from serve.decoding import RequestError
from serve.worker_metrics import Measured

PREPROCESSING = Preprocessing(36, 32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = network.build("resnet18", 7).eval()
    with torch.no_grad():
        net.get_submodule("fc").weight.mul_(20)
    labels = tuple(f"label {index}" for index in range(7))
    artifact.save(artifact.Classifier("resnet18", labels, PREPROCESSING, network=net), tmp_path)
    return tmp_path


def test_pictures_are_answered_by_the_network_in_one_batch(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 50, 60, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels) for pixels in noise]
    classifier = artifact.load(folder)
    with torch.no_grad():
        inputs = torch.from_numpy(
            PREPROCESSING.normalize(np.stack([PREPROCESSING.pixels(image) for image in pictures]))
        )
        expected = torch.softmax(classifier.network(inputs), dim=1)

    model = inference.model_fn(str(folder))
    answer = inference.predict_fn(pictures, model)

    assert answer["model"] == "resnet18"
    assert len(answer["predictions"]) == 3
    for row, prediction in zip(expected, answer["predictions"], strict=True):
        best = torch.argsort(row, descending=True)[:5].tolist()
        assert [entry["predicted_class"] for entry in prediction["top_k"]] == best
        assert [entry["label"] for entry in prediction["top_k"]] == [f"label {index}" for index in best]
        assert [entry["probability"] for entry in prediction["top_k"]] == pytest.approx(row[best].tolist(), abs=1e-5)
        assert {key: prediction[key] for key in prediction if key != "top_k"} == prediction["top_k"][0]
    # A tensor that the client made of the same pictures gets the same answer.
    again = inference.predict_fn(inputs.numpy(), model)
    for one, other in zip(answer["predictions"], again["predictions"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (np.zeros((1, 3, 31, 32), np.float32), "[N, 3, 32, 32]"),
        (np.full((1, 3, 32, 32), 3e38, np.float32), "too large"),
    ],
)
def test_a_tensor_that_is_no_picture_is_refused(folder: Path, tensor: Any, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        inference.predict_fn(tensor, inference.model_fn(str(folder)))
    assert caught.value.status_code == 400
    assert words in caught.value.message


def test_a_model_that_answers_nan_does_not_pass_the_warm_up(folder: Path) -> None:
    model = inference.model_fn(str(folder))
    inference.model_warmup_fn(str(folder), model)
    damaged = artifact.load(folder)
    with torch.no_grad():
        damaged.network.get_submodule("fc").bias.fill_(float("nan"))
    artifact.save(damaged, folder)
    with pytest.raises(UserError, match="NaN"):
        inference.model_warmup_fn(str(folder), inference.model_fn(str(folder)))


def test_a_gpu_that_cannot_be_used_is_said_so(folder: Path) -> None:
    class Context:
        system_properties = {"gpu_id": 99}  # noqa: RUF012

    with pytest.raises(UserError, match="GPU"):
        inference.model_fn(str(folder), Context())


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", inference.JSON),
        ("*/*", inference.JSON),
        ("APPLICATION/JSON; charset=utf-8", inference.JSON),
        ("application/jsonlines", inference.JSON_LINES),
        ("application/*", inference.JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", inference.JSON),
        ("application/json;q=0.1, application/jsonlines;q=0.2", inference.JSON_LINES),
        ("*/*, application/json;q=0", inference.JSON_LINES),
        ("application/jsonlines, application/json", inference.JSON_LINES),
        ("text/csv", None),
        ("application/json;q=0", None),
        ("application/json;q=nan", None),
        ("application/json;q=x", None),
        (";,;", None),
    ],
)
def test_the_type_of_the_answer_is_negotiated(accept: str, content_type: str | None) -> None:
    if content_type:
        assert encoding.negotiate(accept, (encoding.JSON, encoding.JSON_LINES)) == content_type
        return
    with pytest.raises(RequestError) as caught:
        encoding.negotiate(accept, (encoding.JSON, encoding.JSON_LINES))
    assert caught.value.status_code == 406


@pytest.mark.parametrize("default", ["", "text/csv", "application/jsonlines;q=0.1, text/html"])
def test_a_default_type_that_there_is_is_taken(default: str) -> None:
    encoding.check_default({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": default})


@pytest.mark.parametrize("default", ["text/html", " ", "json\n", "application/json;q=0"])
def test_a_default_type_that_there_is_not_is_refused_at_start(default: str) -> None:
    with pytest.raises(UserError, match=r"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is .*, which answers cannot be"):
        encoding.check_default({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": default})


def test_json_lines_have_a_line_for_each_prediction() -> None:
    predictions = [{"label": "Hündin"}, {"label": "b\nc"}]
    answer = {"predictions": predictions, "model": "resnet18"}
    text, content_type = inference.output_fn(answer, "application/jsonlines")
    assert content_type == "application/jsonlines"
    assert [json.loads(line) for line in text.splitlines()] == predictions
    assert json.loads(inference.output_fn(answer, "application/json")[0]) == answer


def test_an_answer_that_is_not_sure_enough_has_no_label(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = inference.model_fn(str(folder))
    rows = np.array([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]], np.float32)
    monkeypatch.setenv("BYOC_MIN_PROBABILITY", "0.6")
    answer = inference.predictions(rows, model)
    sure, unsure = answer["predictions"]
    assert (sure["predicted_class"], sure["label"]) == (0, model.labels[0])
    assert (unsure["predicted_class"], unsure["label"], unsure["probability"]) == (None, None, 0.5)
    assert [each["label"] for each in unsure["top_k"]] == [model.labels[i] for i in (2, 1, 0)]
    body, _ = inference.output_fn(answer, "application/json")
    assert json.loads(body)["predictions"][1]["label"] is None
    body, _ = inference.output_fn(answer, "text/csv")
    assert bytes(body).splitlines()[1] == b"0.2,0.3,0.5"
    measured = Measured()
    measured.count(answer)
    assert [label for label, _ in measured.taken()["predicted"]] == [model.labels[0], ""]


@pytest.mark.parametrize("accept", ["text/csv", "application/x-npy"])
def test_probabilities_are_given_as_a_table_too(folder: Path, accept: str) -> None:
    model = inference.model_fn(str(folder))
    answer = inference.predict_fn([Image.new("RGB", (40, 40), colour) for colour in ("red", "green")], model)
    body, content_type = inference.output_fn(answer, accept)
    assert content_type == accept and isinstance(body, bytes)
    table = np.load(io.BytesIO(body)) if accept.endswith("npy") else np.loadtxt(io.BytesIO(body), delimiter=",")
    assert table.shape == (2, 7) and np.allclose(table.sum(axis=1), 1, atol=1e-5)
    assert table.argmax(axis=1).tolist() == [each["predicted_class"] for each in answer["predictions"]]
    # A prediction that the user's code has made anew has no probabilities beside it.
    with pytest.raises(RequestError, match="accept application/json or application/jsonlines"):
        inference.output_fn(dict(answer), accept)
