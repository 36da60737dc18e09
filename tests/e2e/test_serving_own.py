"""Models and code of the user's own in whole containers: many claims on few containers."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.serving import (
    CSV,
    JPEG,
    JSON,
    SERVE,
    Answer,
    Container,
    Samples,
    check_failure,
    container,
    docker,
    with_code,
)

NPY = {"Content-Type": "application/x-npy"}

#: Written inside the serving image, where torch is. All of them multiply four numbers with the same weights.
MODELS = """
import json, os, sys
import torch
from torch import nn

def folder(name, code=None, **files):
    os.makedirs(f"{name}/code", exist_ok=True)
    for file, text in {**files, **({"inference": code} if code else {})}.items():
        open(f"{name}/code/{file}.py", "w").write(text)
    return f"{name}/model.pth"

os.chdir(sys.argv[1])
torch.manual_seed(0)
network = nn.Linear(4, 3)
torch.jit.script(network).save(folder("torchscript"))
LOAD = '''
import os, torch
from serve_net import network
def model_fn(model_dir):
    once = "/tmp/model_fn." + str(os.getpid())
    assert not os.path.exists(once)
    open(once, "w").close()
    network.load_state_dict(torch.load(os.path.join(model_dir, "model.pth")))
    return network
'''
NET = "import torch\\nnetwork = torch.nn.Linear(4, 3)\\n"
torch.save(network.state_dict(), folder("state_dict", LOAD, serve_net=NET))
torch.save(nn.DataParallel(network).state_dict(), folder("parallel", LOAD, serve_net=NET.replace(
    "torch.nn.Linear(4, 3)", "torch.nn.DataParallel(torch.nn.Linear(4, 3))")))
torch.save(network, folder("pickled", '''
import os, torch
def model_fn(model_dir, context):
    assert context.system_properties["gpu_id"] is None
    return torch.load(os.path.join(model_dir, "model.pth"), weights_only=False)
'''))
torch.save({}, folder("transform", '''
import json
def model_fn(model_dir):
    return {"scale": 2}
def transform_fn(model, body, content_type, accept, context):
    context.set_response_header(0, "X-Own", "yes")
    print("printed by transform_fn")
    return json.dumps([model["scale"] * value for value in json.loads(body)]), "application/json"
'''))
torch.save(network.state_dict(), folder("no_code"))
torch.save({}, folder("package", "import a_package_that_is_missing"))
json.dump([network.weight.tolist(), network.bias.tolist()], open("weights.json", "w"))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "models.py").write_text(MODELS)
    docker("run", "--rm", "--volume", f"{folder}:/models", SERVE, "python", "/models/models.py", "/models")
    return folder


@pytest.fixture(scope="module")
def endpoint(models: Path) -> Iterator[Container]:
    """One multi-model container for all of them; it can reach no package index."""
    options = ("--env", "SAGEMAKER_MULTI_MODEL=true", "--env", "PIP_INDEX_URL=http://127.0.0.1:9/")
    with container(models, *options, target="/opt/ml/models", image=SERVE) as running:
        running.wait_ready()
        yield running


def load(endpoint: Container, name: str) -> Answer:
    body = json.dumps({"model_name": name, "url": f"/opt/ml/models/{name}"}).encode()
    return endpoint.request("POST", "/models", body, JSON)


def ask(endpoint: Container, name: str, body: bytes, headers: dict[str, str]) -> Answer:
    return endpoint.request("POST", f"/models/{name}/invoke", body, headers)


def encoded(values: Any) -> dict[str, tuple[bytes, dict[str, str]]]:
    file, text = io.BytesIO(), io.BytesIO()
    np.save(file, values)
    np.savetxt(text, values, delimiter=",")
    return {
        "JSON": (json.dumps(values.tolist()).encode(), JSON),
        "CSV": (text.getvalue(), CSV),
        "NPY": (file.getvalue(), NPY),
    }


def decoded(answer: Answer) -> Any:
    if answer.headers.get_content_type() == "application/x-npy":
        return np.load(io.BytesIO(answer.body))
    if answer.headers.get_content_type() == "text/csv":
        return np.loadtxt(io.BytesIO(answer.body), delimiter=",")
    return np.array(answer.json)


def test_models_however_saved_answer_as_in_awss_images(endpoint: Container, models: Path) -> None:
    weights, bias = map(np.array, json.loads((models / "weights.json").read_text()))
    rows = np.random.default_rng(0).random((5, 4), np.float32)
    for name in ("torchscript", "state_dict", "parallel", "pickled"):
        assert load(endpoint, name).status == 200, endpoint.logs()
        for body, headers in encoded(rows).values():
            for accept in ("application/json", "text/csv", "application/x-npy"):
                answer = ask(endpoint, name, body, {**headers, "Accept": accept})
                assert (answer.status, answer.headers.get_content_type()) == (200, accept), answer
                np.testing.assert_allclose(decoded(answer), rows @ weights.T + bias, rtol=1e-5)
        assert ask(endpoint, name, b"[[1, 2], [3]]", JSON).status == 400
        assert "reads arrays" in ask(endpoint, name, b"\xff\xd8\xff", JPEG).error


def test_a_transform_function_with_context_does_it_all(endpoint: Container) -> None:
    assert load(endpoint, "transform").status == 200
    answer = ask(endpoint, "transform", b"[1, 2]", JSON)
    assert (answer.json, answer.headers["X-Own"]) == ([2, 4], "yes")
    endpoint.wait_until(lambda: "printed by transform_fn" in endpoint.logs())
    assert "its log says why" in ask(endpoint, "transform", b"[", JSON).error


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_code", "model.pth is a state dict, which holds weights and no network; add code/inference.py"),
        ("package", "No module named 'a_package_that_is_missing'); name its package in code/requirements.txt"),
    ],
)
def test_what_is_missing_is_said(endpoint: Container, name: str, words: str) -> None:
    assert words in load(endpoint, name).error


def test_a_package_that_cannot_be_fetched_is_named(endpoint: Container, models: Path) -> None:
    shutil.copytree(models / "torchscript", models / "fetching")
    (models / "fetching" / "code" / "requirements.txt").write_text("numpy\nno-such-package\n")
    said = load(endpoint, "fetching").error
    assert "No matching distribution found for no-such-package at a package index that cannot be reached" in said


def test_the_lean_image_names_the_one_with_torch(models: Path) -> None:
    with container(models / "torchscript") as lean:
        check_failure(lean, "the model needs torch, which this image does not have; deploy it with --image serve")


def test_what_the_sdk_sets_and_code_that_replaces_one_step(samples: Samples, tmp_path: Path) -> None:
    """The rest stays ours: pictures are reduced, and requests taken together."""
    model = with_code(samples, tmp_path, "def output_fn(prediction, accept):\n    return dict(prediction, own=True)\n")
    options = ("SAGEMAKER_PROGRAM=inference.py", "SAGEMAKER_SUBMIT_DIRECTORY=/opt/ml/model/code")
    with container(model, *(part for option in options for part in ("--env", option))) as endpoint:
        endpoint.wait_ready()
        answer = endpoint.invoke(samples.picture())
        assert samples.is_right(answer, "0.jpg") and answer.json["own"]
        assert "; output_fn of inference.py" in endpoint.logs()


def test_our_models_answer_with_what_predictors_of_the_sdk_accept(samples: Samples) -> None:
    options = ("SAGEMAKER_PROGRAM=inference.py", "SAGEMAKER_SUBMIT_DIRECTORY=/opt/ml/model/code")
    with container(samples.model, *(part for option in options for part in ("--env", option))) as endpoint:
        endpoint.wait_ready()
        for accept in ("application/x-npy", "text/csv"):
            answer = endpoint.invoke(samples.picture(), {**JPEG, "Accept": accept})
            assert (answer.status, answer.headers.get_content_type()) == (200, accept)
            np.testing.assert_allclose(decoded(answer).reshape(-1), samples.expected["0.jpg"], atol=1e-3)
