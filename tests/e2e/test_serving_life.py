"""A serving container from start to end: readiness, broken models, the model's own code, other ways to start it."""

import json
import os
import re
import shutil
import signal
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import (
    JPEG,
    JSON,
    LEAN,
    SERVE,
    Answer,
    Container,
    Hammer,
    Samples,
    check_failure,
    container,
    docker,
    with_code,
)


def test_requests_that_wait_are_answered_together_and_each_rightly(samples: Samples) -> None:
    options = ("--env", "SAGEMAKER_MODEL_SERVER_WORKERS=1", "--env", "SAGEMAKER_MODEL_SERVER_BATCH_SIZE=8")
    bad = [(samples.picture("bad-truncated.jpg"), JPEG, 400), (b"{}", JSON, 400), (b"x", {"Content-Type": "a/b"}, 415)]
    with container(samples.model, *options, image=SERVE) as endpoint:
        endpoint.wait_ready()
        assert "requests at once 8" in endpoint.logs()
        with Hammer(endpoint, samples, threads=8) as hammer:
            for body, headers, status in bad * 5:
                answer = endpoint.invoke(body, headers)
                assert answer.status == status and answer.error
            lines = {"Accept": "application/jsonlines", **JPEG}
            assert endpoint.invoke(samples.picture(), lines).headers.get_content_type() == "application/jsonlines"
            endpoint.wait_until(lambda: hammer.right + len(hammer.wrong) > 100)
        assert hammer.wrong == []


def test_from_the_first_good_ping_on_every_request_is_answered_right(samples: Samples) -> None:
    # The first hammer is there from the very start: requests that come too early must not hurt.
    with container(samples.model) as endpoint, Hammer(endpoint, samples):
        endpoint.wait_ready()
        with Hammer(endpoint, samples, threads=8) as hammer:
            endpoint.wait_until(lambda: hammer.right + len(hammer.wrong) > 200)
        assert hammer.wrong == []


def test_a_dead_worker_is_replaced_and_only_what_it_worked_on_is_lost(samples: Samples) -> None:
    with container(samples.model, "--env", "SAGEMAKER_MODEL_SERVER_WORKERS=2") as endpoint:
        endpoint.wait_ready()
        with Hammer(endpoint, samples) as hammer:
            for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
                done = hammer.right
                endpoint.wait_until(lambda done=done: hammer.right > done + 20)  # type: ignore[misc]
                endpoint.kill(endpoint.processes("model_service_worker.py")[-1], number=number)
                endpoint.wait_until(lambda: endpoint.request("GET", "/ping").json["workers"] < 2)
                endpoint.wait_until(lambda: endpoint.request("GET", "/ping").json["workers"] == 2)
        # Nobody knows whether that request killed it, so it is not given to the next worker.
        assert len(hammer.wrong) <= 3
        assert all(answer.status == 503 and "has ended" in answer.error for answer in hammer.wrong)
        assert endpoint.logs().count("has died") == 3
        # One that is stopped would keep what it is given until nobody waits for that any more.
        programs = endpoint.processes("model_service_worker.py") + endpoint.processes("ModelServer")
        endpoint.kill(*programs, number=signal.SIGSTOP)
        assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")
        # With none left /ping says so, and requests wait for the next.
        endpoint.wait_until(lambda: killed(endpoint) == 503)
        assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")
        endpoint.wait_ready()


def killed(endpoint: Container) -> int:
    """Return what /ping says when the workers have just been killed; there are others within a second."""
    endpoint.kill(*endpoint.processes("model_service_worker.py")[1:])
    return endpoint.ping()


def empty(model: Path) -> None:
    shutil.rmtree(model)
    model.mkdir()


def wrong_version(model: Path) -> None:
    description = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**description, "format_version": 99}))


def not_a_number(model: Path) -> None:
    tensors = bytearray((model / "model.safetensors").read_bytes())
    start = 8 + struct.unpack("<Q", tensors[:8])[0]
    tensors[start:] = NAN * ((len(tensors) - start) // 4)
    (model / "model.safetensors").write_bytes(tensors)
    graph = (model / "cpu" / "float32.xml").read_text()
    weights = bytearray((model / "cpu" / "float32.bin").read_bytes())
    for begin, size in re.findall(r'element_type="f32"[^>]*offset="(\d+)" size="(\d+)"', graph):
        weights[int(begin) : int(begin) + int(size)] = NAN * (int(size) // 4)
    (model / "cpu" / "float32.bin").write_bytes(weights)


def described(**changes: Any) -> Callable[[Path], None]:
    """Change fields of model.json; those of its preprocessing are among them."""

    def change(model: Path) -> None:
        content = json.loads((model / "model.json").read_text())
        preprocessing = content["preprocessing"]
        preprocessing |= {name: changes[name] for name in changes if name in preprocessing}
        content |= {name: changes[name] for name in changes if name not in preprocessing}
        (model / "model.json").write_text(json.dumps(content))

    return change


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def truncated(model: Path) -> None:
    for name in ("model.safetensors", "cpu/float32.bin"):
        os.truncate(model / name, 100_000)


NAN = struct.pack("<f", float("nan"))
BROKEN_MODELS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "nothing": (LEAN, empty, "no model.json"),
    "no description": (LEAN, lambda model: (model / "model.json").unlink(), "no model.json"),
    "description is not JSON": (LEAN, lambda model: (model / "model.json").write_text("{") and None, "damaged"),
    "another version": (LEAN, wrong_version, "format 99"),
    "no graphs": (LEAN, lambda model: shutil.rmtree(model / "cpu"), "deploy it with --image serve"),
    "truncated graphs": (LEAN, truncated, "damaged"),
    "NaN graphs": (LEAN, not_a_number, "NaN"),
    "no tensors": (SERVE, lambda model: (model / "model.safetensors").unlink(), "no model.safetensors"),
    "truncated tensors": (SERVE, truncated, "damaged"),
    "NaN tensors": (SERVE, not_a_number, "NaN"),
    "mean of NaN": (LEAN, described(mean=[float("nan")] * 3), "mean in preprocessing"),
    "std of 0": (SERVE, described(std=[0.2, 0, 0.2]), "std in preprocessing"),
    "mean of another": (LEAN, described(mean=[0, 0, 1], std=[0.001, 1, 0.001]), "probe pictures another class"),
    "std of another": (SERVE, described(mean=[0, 0, 1], std=[0.001, 1, 0.001]), "probe pictures another class"),
    "labels for other outputs": (LEAN, described(labels=list("abcdefgh")), "its 8 labels need"),
    "labels for fewer outputs": (SERVE, described(labels=["a", "b", "c"]), "do not match"),
    "labels as a string": (LEAN, described(labels="abcdefg"), "labels in model.json"),
    "label that is no text": (LEAN, described(labels=["\ud800", *"abcdef"]), "labels in model.json"),
    "absurd size": (LEAN, described(crop_size=10**9), "crop_size in preprocessing"),
    "another size": (LEAN, described(crop_size=160), "[N, 3, 160, 160]"),
    "unknown field": (LEAN, described(preprocessing={"gamma": 2.2}), "preprocessing"),
    "unknown network": (SERVE, described(arch="fcn_resnet50"), "no architecture"),
    "pipe for probes": (LEAN, lambda model: pipe(model / "probes.npz"), "not a file"),
    "pipe for weights": (LEAN, lambda model: pipe(model / "cpu" / "float32.bin"), "not a file"),
    "damaged probes": (LEAN, lambda model: (model / "probes.npz").write_text("PK") and None, "damaged"),
}


@pytest.mark.parametrize("case", BROKEN_MODELS)
def test_a_broken_model_ends_the_container_with_one_line(samples: Samples, tmp_path: Path, case: str) -> None:
    image, break_it, words = BROKEN_MODELS[case]
    model = shutil.copytree(samples.model, tmp_path / "model")
    break_it(model)
    with container(model, image=image) as endpoint:
        assert len(check_failure(endpoint, words).splitlines()) == 1


@pytest.mark.parametrize(
    "variable",
    [
        "SAGEMAKER_MODEL_SERVER_WORKERS=many",
        "SAGEMAKER_BIND_TO_PORT=0",
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT=text/html",
    ],
)
def test_a_wrong_setting_ends_the_container_with_one_line(samples: Samples, variable: str) -> None:
    with container(samples.model, "--env", variable) as endpoint:
        assert len(check_failure(endpoint, variable.partition("=")[0]).splitlines()) == 1


@pytest.mark.parametrize("program", ["nginx: master", "com.amazonaws.ml.mms.ModelServer"])
def test_a_program_that_dies_ends_the_container(samples: Samples, program: str) -> None:
    with container(samples.model) as endpoint:
        endpoint.wait_ready()
        endpoint.kill(endpoint.processes(program)[0])
        assert endpoint.wait_exit() == 1
        assert "ended unexpectedly (signal SIGKILL)" in endpoint.logs().splitlines()[-1]


# --------------------------------------------------------------------------------------------------- the user's code


def test_sigterm_ends_the_container_when_its_last_request_is_answered(samples: Samples, tmp_path: Path) -> None:
    slow = "import pathlib, time\nfrom serve import inference\n"
    slow += "def predict_fn(data, model):\n    pathlib.Path('/tmp/begun').touch()\n    time.sleep(3)\n"
    slow += "    return inference.predict_fn(data, model)\n"
    with container(with_code(samples, tmp_path, slow)) as endpoint:
        endpoint.wait_ready()
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(endpoint.invoke(samples.picture())))
        thread.start()
        endpoint.wait_until(lambda: "begun" in docker("exec", endpoint.name, "ls", "/tmp"))
        docker("kill", "--signal", "TERM", endpoint.name)
        thread.join()
        assert endpoint.wait_exit() == 0, endpoint.logs()
        assert samples.is_right(answers[0], "0.jpg"), endpoint.logs()
        assert [line.split()[0] for line in endpoint.logs().splitlines()] == ["model", "ready"]


def test_the_models_own_code_overrides_what_it_defines(samples: Samples, tmp_path: Path) -> None:
    source = "def output_fn(prediction, accept):\n    return prediction['predictions'][0]['label'], 'text/plain'\n"
    with container(with_code(samples, tmp_path, source, requirements_txt="numpy")) as endpoint:
        endpoint.wait_ready()
        answer = endpoint.invoke(samples.picture(), {**JPEG, "Accept": "text/plain"})
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain")
        assert answer.body.decode() == "003.Hund_ß_2"
        assert "installed for model model: nothing, for the image has it" in endpoint.logs()


OWN_FUNCTIONS = """
import ctypes, json, time
from sagemaker_inference.errors import GenericInferenceToolkitError

def model_fn(model_dir):
    return {"offset": 1}

def input_fn(body, content_type):
    assert content_type == "application/json", content_type
    return json.loads(body)

def predict_fn(data, model):
    if data == "raise":
        raise RuntimeError("a secret of the container")
    if data == "refuse":
        raise GenericInferenceToolkitError(422, "not that one")
    if data == "hang":
        time.sleep(1000)
    if data == "crash":
        ctypes.string_at(0)
    return data + model["offset"]

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""


def test_code_that_fails_is_answered_in_one_sentence(samples: Samples, tmp_path: Path) -> None:
    model = with_code(samples, tmp_path, OWN_FUNCTIONS)
    with container(model, "--env", "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS=2") as endpoint:
        endpoint.wait_ready()
        assert endpoint.invoke(b"41", JSON).json == 42

        answer = endpoint.invoke(b'"raise"', JSON)
        assert answer.status == 500 and "log" in answer.error and "secret" not in answer.error
        endpoint.wait_until(lambda: "RuntimeError: a secret of the container" in endpoint.logs())
        assert endpoint.logs().count("RuntimeError: a secret") == 1  # it is not run twice

        answer = endpoint.invoke(b'"refuse"', JSON)
        assert (answer.status, answer.json) == (422, {"error": "not that one"})

        for word in (b'"hang"', b'"crash"'):
            answer = endpoint.invoke(word, JSON)
            assert answer.status == 503 and "has ended" in answer.error
            assert endpoint.invoke(b"41", JSON).json == 42
        lines = endpoint.logs().splitlines()
        assert len([line for line in lines if "a request took over 2 s" in line]) == 1
        assert len([line for line in lines if "has died while it worked on a request" in line]) == 1


PROCESSES = """
import io, json, multiprocessing, os, sys

sys.stdout = io.StringIO()

def double(number):
    return 2 * number

def model_fn(model_dir):
    return os.path.expanduser("~")

def transform_fn(home, body, content_type, accept):
    os.makedirs(f"{home}/.cache/own", exist_ok=True)
    print("still printed")
    with multiprocessing.Pool(2) as pool:
        return json.dumps(pool.map(double, json.loads(body)))
"""


def test_code_may_start_processes_and_has_a_home_and_an_output(samples: Samples, tmp_path: Path) -> None:
    """Leaving the pool ends its processes by SIGTERM, for which the worker itself has a handler."""
    with container(with_code(samples, tmp_path, PROCESSES)) as endpoint:
        endpoint.wait_ready()
        for _ in range(2):
            assert endpoint.invoke(b"[1, 2]", JSON).json == [2, 4]
        endpoint.wait_until(lambda: "still printed" in endpoint.logs())


OWN_ANSWERS = """
import sys

ANSWERS = {
    "0": lambda: "fine",
    "1": lambda: {1},
    "2": lambda: ("x", "x" * 9000),
    "3": lambda: ("x", "text/plän"),
    "4": lambda: ("x", "text/plain", 200),
    "5": lambda: b"x" * (16 * 1024 * 1024),
    "6": lambda: sys.exit("no more"),
}

def transform_fn(model, body, content_type, accept):
    return ANSWERS[body]()
"""


def test_code_that_answers_what_cannot_be_sent_hurts_nobody(samples: Samples, tmp_path: Path) -> None:
    with container(with_code(samples, tmp_path, OWN_ANSWERS)) as endpoint:
        endpoint.wait_ready()
        workers, before = endpoint.processes("model_service_worker.py"), len(endpoint.logs().splitlines())
        words = ("TypeError", "'xxx", "'text/pl", "3 values", "6 MB", "SystemExit: no more")
        for number, _ in enumerate(words, start=1):
            answer = endpoint.invoke(str(number).encode(), JSON)
            assert answer.status == 500 and "log" in answer.error
            assert endpoint.invoke(b"0", JSON).body == b"fine"
        endpoint.wait_until(lambda: len(endpoint.logs().splitlines()) >= before + len(words))
        lines = endpoint.logs().splitlines()[before:]
        assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines, strict=True)), lines
        assert endpoint.processes("model_service_worker.py") == workers


def test_code_that_ends_its_process_ends_the_container_with_one_line(samples: Samples, tmp_path: Path) -> None:
    with container(with_code(samples, tmp_path, "import sys\nsys.exit('no licence')\n")) as endpoint:
        assert len(check_failure(endpoint, "SystemExit: no licence").splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_package\n", "No module named 'no_such_package'"),
        ("def model_fn(model_dir):\n    raise OSError('no such weights')\n", "no such weights"),
        ("def model_fn(model_dir):\n    return None\n", "predict_fn"),
        ("def transform_fn(*a):\n    pass\ndef input_fn(*a):\n    pass\n", "transform_fn"),
    ],
)
def test_code_that_cannot_be_used_ends_the_container(samples: Samples, tmp_path: Path, source: str, words: str) -> None:
    with container(with_code(samples, tmp_path, source)) as endpoint:
        check_failure(endpoint, words)


def test_a_named_program_that_is_missing_ends_the_container(samples: Samples) -> None:
    with container(samples.model, "--env", "SAGEMAKER_PROGRAM=other.py") as endpoint:
        check_failure(endpoint, "SAGEMAKER_PROGRAM names other.py")


# -------------------------------------------------------------------------------------------------- other containers


def test_a_multi_model_endpoint_loads_and_unloads_models(samples: Samples, tmp_path: Path) -> None:
    for name in ("a", "b", "broken"):
        shutil.copytree(samples.model, tmp_path / name / "model")
    not_a_number(tmp_path / "broken" / "model")
    with container(tmp_path, "--env", "SAGEMAKER_MULTI_MODEL=true", target="/opt/ml/models") as endpoint:
        endpoint.wait_ready()

        def load(name: str, url: str | None = None) -> Answer:
            body = {"model_name": name, "url": url or f"/opt/ml/models/{name}/model"}
            return endpoint.request("POST", "/models", json.dumps(body).encode(), JSON)

        assert endpoint.request("GET", "/models").json == {"models": []}
        assert endpoint.request("POST", "/models/a/invoke", samples.picture(), JPEG).status == 404
        assert load("a").status == 200
        assert load("b").status == 200
        answer = load("a")
        assert answer.status == 409 and answer.error

        for name in ("a", "b"):
            answer = endpoint.request("POST", f"/models/{name}/invoke", samples.picture("2.jpg"), JPEG)
            assert samples.is_right(answer, "2.jpg")
        answer = endpoint.request("POST", "/models/a/invoke", b"hello", JPEG)
        assert answer.status == 400 and "not a picture" in answer.error

        a = {"modelName": "a", "modelUrl": "/opt/ml/models/a/model"}
        assert endpoint.request("GET", "/models/a").json == a
        assert a in endpoint.request("GET", "/models").json["models"]
        assert 'model="a"' in endpoint.request("GET", "/metrics").body.decode()
        assert endpoint.request("DELETE", "/models/a").status == 200
        assert 'model="a"' not in endpoint.request("GET", "/metrics").body.decode()
        for method in ("GET", "DELETE"):
            answer = endpoint.request(method, "/models/a")
            assert answer.status == 404 and answer.error
        assert endpoint.request("POST", "/models/a/invoke", samples.picture(), JPEG).status == 404
        assert load("a").status == 200

        for name, url, words in (
            ("broken", None, "NaN"),
            ("c", None, "not a folder"),
            ("c", "https://127.0.0.1/model.mar", "not a folder"),
            ("c", "/opt/ml/models/../../../etc", "not a folder"),
            ("c", "/opt/ml/models/a/../b/model", "not a folder"),
            ("c/../d", "/opt/ml/models/a/model", "cannot name"),
        ):
            answer = load(name, url)
            assert answer.status == 400 and words in answer.error
        answer = endpoint.request("POST", "/models", b"[]", JSON)
        assert answer.status == 400 and "model_name" in answer.error
        assert endpoint.request("PUT", "/models/b?min_worker=9").status == 405

        # Without what starts its workers a model is unloaded, here that of b, which is the oldest; the others stay.
        endpoint.kill(endpoint.processes("model_service_worker.py")[0])
        endpoint.wait_until(lambda: endpoint.request("GET", "/models/b").status == 404)
        assert "model b is unloaded: the process that starts its workers has died" in endpoint.logs()
        assert samples.is_right(endpoint.request("POST", "/models/a/invoke", samples.picture(), JPEG), "0.jpg")
        assert load("b").status == 200
        answer = endpoint.request("POST", "/models/b/invoke", samples.picture(), JPEG)
        assert samples.is_right(answer, "0.jpg")
        assert endpoint.invoke(samples.picture()).status == 404


def test_it_runs_read_only_without_root_on_another_port(samples: Samples) -> None:
    user = f"{os.getuid() or 1000}:{os.getgid() or 1000}"
    for file in (samples.model, *samples.model.iterdir()):
        file.chmod(0o755)
    options = ("--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--user", user, "--cpus", "1", "--memory", "2g")
    port = ("--env", "SAGEMAKER_BIND_TO_PORT=9090", "--publish", "127.0.0.1:0:9090")
    with container(samples.model, *options, *port) as started:
        endpoint = Container(started.name, int(docker("port", started.name, "9090").strip().rpartition(":")[2]))
        endpoint.wait_ready()
        assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")
        assert "workers 1, threads per worker 1" in endpoint.logs()
        assert "heap 158 MB" in endpoint.logs()
