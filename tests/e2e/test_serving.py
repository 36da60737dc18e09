"""The serving images as SageMaker meets them: real containers, real HTTP, on a loopback port.

Both have one handler and one front: what these do is tested in the lean image, the answers and the log in both. Needs
Docker (`DOCKER` names the client) and the built images.
"""

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DOCKER = os.environ.get("DOCKER", "docker")
TRAIN, SERVE, LEAN = (f"byoc-vision-{name}:latest" for name in ("train", "serve", "serve-cpu"))
SAMPLES = Path(__file__).with_name("serving_samples.py")
HEIC = Path(__file__).parents[1] / "samples" / "picture.heic"
MB = 1024 * 1024
JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
OCTETS = {"Content-Type": "application/octet-stream"}
CSV = {"Content-Type": "text/csv"}


def docker(*arguments: str, check: bool = True) -> str:
    """Run the Docker client and return what it printed, stdout and stderr."""
    done = subprocess.run([DOCKER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0 or not check, done.stdout
    return done.stdout


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one sentence of an answer that follows the contract for errors."""
        assert self.headers.get_content_type() == "application/json", self.body
        assert list(self.json) == ["error"]
        sentence = self.json["error"]
        assert isinstance(sentence, str) and sentence and "\n" not in sentence
        assert "Traceback" not in sentence and "Exception" not in sentence
        return sentence


@dataclass(frozen=True)
class Container:
    name: str
    port: int = field(default=0)

    def request(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def invoke(self, body: bytes, headers: dict[str, str] = JPEG) -> Answer:
        return self.request("POST", "/invocations", body, headers)

    def ping(self) -> int:
        """The status of /ping, or 0 while nobody listens."""
        try:
            return self.request("GET", "/ping").status
        except (OSError, http.client.HTTPException):
            return 0

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline and self.running(), self.logs()
            time.sleep(0.05)

    def wait_ready(self) -> None:
        self.wait_until(lambda: self.ping() == 200)

    def running(self) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", self.name).strip() == "true"

    def logs(self) -> str:
        return docker("logs", self.name)

    def wait_exit(self) -> int:
        return int(docker("wait", self.name))

    def processes(self, *words: str) -> list[int]:
        """The processes whose command line holds all `words`, as numbered inside the container, oldest first."""
        script = (
            "import pathlib, sys\n"
            "for file in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
            "    line = file.read_text() if file.exists() else ''\n"
            "    if line and all(word in line for word in sys.argv[1:]): print(file.parent.name)\n"
        )
        listing = docker("exec", self.name, "python", "-c", script, *words).split()
        itself = max(map(int, listing), default=0)  # the script's own arguments hold the words too
        return sorted(number for number in map(int, listing) if number != itself)

    def kill(self, process: int) -> None:
        docker("exec", self.name, "python", "-c", f"import os; os.kill({process}, 9)")


@contextlib.contextmanager
def container(
    model: Path, *options: str, target: str = "/opt/ml/model", image: str = LEAN, precision: str = "float32"
) -> Iterator[Container]:
    """Start a serving container on `model`; it is gone afterwards, whatever happens.

    It computes in float32, so that its answers can be held against the right ones to the third digit.
    """
    name = f"test-serving-{uuid.uuid4().hex[:12]}"
    try:
        mount = ("--volume", f"{model}:{target}:ro", "--publish", "127.0.0.1:0:8080")
        environment = ("--env", f"BYOC_PRECISION={precision}")
        docker("run", "--detach", "--name", name, *mount, *environment, *options, image, "serve")
        published = docker("port", name, "8080", check=False).strip().rpartition(":")[2]
        yield Container(name, int(published) if published.isdigit() else 0)
    finally:
        docker("rm", "--force", "--volumes", name, check=False)


@dataclass(frozen=True)
class Samples:
    folder: Path
    expected: dict[str, list[float]]

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def picture(self, name: str = "0.jpg") -> bytes:
        return (self.folder / "pictures" / name).read_bytes()

    def is_right(self, answer: Answer, *names: str) -> bool:
        """Whether `answer` is the one that the network, run by itself, gives to the pictures `names`."""
        if answer.status != 200 or len(answer.json["predictions"]) != len(names):
            return False
        for name, prediction in zip(names, answer.json["predictions"], strict=True):
            expected = self.expected[name]
            best = max(range(len(expected)), key=expected.__getitem__)
            if prediction["predicted_class"] != best or abs(prediction["probability"] - expected[best]) > 1e-3:
                return False
        return True


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """A model, pictures and the right answers, made inside the training image."""
    folder = tmp_path_factory.mktemp("serving")
    mounts = (f"{SAMPLES}:/samples.py:ro", f"{HEIC}:/picture.heic:ro", f"{folder}:/out")
    volumes = [option for mount in mounts for option in ("--volume", mount)]
    user = f"{os.getuid()}:{os.getgid()}"
    docker("run", "--rm", "--user", user, *volumes, TRAIN, "python", "/samples.py", "/out")
    return Samples(folder, json.loads((folder / "expected.json").read_text()))


@pytest.fixture(scope="module")
def endpoint(samples: Samples) -> Iterator[Container]:
    """One ready container for all tests that leave it as it was."""
    with container(samples.model) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def torch_endpoint(samples: Samples) -> Iterator[Container]:
    """The same, of the image that runs torch."""
    with container(samples.model, image=SERVE) as running:
        running.wait_ready()
        yield running


@pytest.fixture(params=["endpoint", "torch_endpoint"])
def either(request: pytest.FixtureRequest) -> Container:
    """Each of the two in turn."""
    running: Container = request.getfixturevalue(request.param)
    return running


def with_code(samples: Samples, folder: Path, source: str, **files: str) -> Path:
    """A copy of the model with `source` as its code/inference.py."""
    shutil.copytree(samples.model, folder / "model")
    (folder / "model" / "code").mkdir()
    (folder / "model" / "code" / "inference.py").write_text(source)
    for name, text in files.items():
        (folder / "model" / "code" / name.replace("_", ".")).write_text(text)
    return folder / "model"


def instances(*pictures: bytes) -> bytes:
    return json.dumps({"instances": [{"b64": base64.b64encode(picture).decode()} for picture in pictures]}).encode()


def form(*files: bytes, text: bytes = b"a dog") -> bytes:
    """A form with the boundary `x`: a text and the files."""
    fields = [b'Content-Disposition: form-data; name="comment"\r\n\r\n' + text]
    fields += [b'Content-Disposition: form-data; name="file"; filename="dog.jpg"\r\n\r\n' + file for file in files]
    return b"".join(b"--x\r\n" + field + b"\r\n" for field in fields) + b"--x--\r\n"


def npy(shape: str, values: bytes, dtype: str = "<f4") -> bytes:
    """An .npy file by hand, so that its header can lie."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


# ---------------------------------------------------------------------------------------------------- good requests


@pytest.mark.parametrize("declared", ["image/jpeg", "application/x-image", "IMAGE/JPEG; charset=binary", "image/png"])
def test_a_picture_is_answered_whatever_it_is_called(either: Container, samples: Samples, declared: str) -> None:
    answer = either.invoke(samples.picture(), {"Content-Type": declared})
    assert samples.is_right(answer, "0.jpg"), answer
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["model"] == "mobilenet_v3_small"
    prediction = answer.json["predictions"][0]
    best = prediction["top_k"][0]
    assert {key: prediction[key] for key in ("predicted_class", "label", "probability")} == best
    assert best["label"] == f"{best['predicted_class'] + 1:03}.Hund_ß_{best['predicted_class']}"
    probabilities = [entry["probability"] for entry in prediction["top_k"]]
    assert len(probabilities) == 5 and probabilities == sorted(probabilities, reverse=True)


def test_every_kind_of_picture_is_answered_as_in_training(either: Container, samples: Samples) -> None:
    for name in samples.expected:
        answer = either.invoke(samples.picture(name), {"Content-Type": "application/x-image"})
        assert samples.is_right(answer, name), (name, answer)


@pytest.mark.parametrize("headers", [{}, OCTETS, {"Content-Type": "binary/octet-stream"}])
def test_a_body_of_no_told_type_is_answered_by_its_content(
    endpoint: Container, samples: Samples, headers: dict[str, str]
) -> None:
    for name in ("0.jpg", "png.png", "heic.heic", "avif.avif"):
        assert samples.is_right(endpoint.invoke(samples.picture(name), headers), name), name
    tensor = (samples.folder / "tensor.npy").read_bytes()
    assert samples.is_right(endpoint.invoke(tensor, headers), *list(samples.expected)[:3])


def test_a_form_is_answered(endpoint: Container, samples: Samples) -> None:
    for declared in ("multipart/form-data; boundary=x", 'Multipart/Form-Data; charset=utf-8; boundary="x"'):
        answer = endpoint.invoke(form(samples.picture()), {"Content-Type": declared})
        assert samples.is_right(answer, "0.jpg"), answer


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_base64_of_urls_is_answered(endpoint: Container, samples: Samples, prefix: str) -> None:
    text = prefix + base64.urlsafe_b64encode(samples.picture()).decode().rstrip("=")
    answer = endpoint.invoke(json.dumps({"instances": [{"b64": text}]}).encode(), JSON)
    assert samples.is_right(answer, "0.jpg"), answer


def test_a_batch_is_answered_in_its_order(either: Container, samples: Samples) -> None:
    names = list(samples.expected)
    body = instances(*(samples.picture(name) for name in names))
    assert samples.is_right(either.invoke(body, {"Content-Type": "application/json; charset=utf-8"}), *names)


def test_a_ready_tensor_is_answered(either: Container, samples: Samples) -> None:
    body = (samples.folder / "tensor.npy").read_bytes()
    answer = either.invoke(body, {"Content-Type": "application/x-npy"})
    assert samples.is_right(answer, *list(samples.expected)[:3]), answer


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html, application/*;q=0.5", "application/json"),
        ("application/jsonlines", "application/jsonlines"),
        ("application/json;q=0.5, application/jsonlines", "application/jsonlines"),
    ],
)
def test_the_answer_has_the_type_the_client_accepts(
    either: Container, samples: Samples, accept: str, content_type: str
) -> None:
    body = instances(samples.picture("0.jpg"), samples.picture("2.jpg"))
    answer = either.invoke(body, {**JSON, "Accept": accept})
    assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
    if content_type == "application/jsonlines":
        lines = [json.loads(line) for line in answer.body.decode().splitlines()]
        assert [set(line) for line in lines] == [{"predicted_class", "label", "probability", "top_k"}] * 2


def test_ping_tells_the_state(either: Container) -> None:
    answer = either.request("GET", "/ping")
    assert answer.status == 200
    assert answer.json["state"] == "ready" and answer.json["workers"] >= 1


# ----------------------------------------------------------------------------------------------------- bad requests

ONE_PIXEL = base64.b64encode(b"x").decode()
BAD_REQUESTS: dict[str, tuple[int, bytes, dict[str, str], str]] = {
    "empty body": (400, b"", JPEG, "empty"),
    "text as jpeg": (400, b"hello", JPEG, "not a picture"),
    "wrong content type": (415, b"hello", {"Content-Type": "text/plain"}, "text/plain"),
    "no content type": (415, b"hello", {}, "Content-Type"),
    "form": (415, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, "not read"),
    "broken form": (400, b"--x\r\n", FORM, "incomplete"),
    "a form without its boundary": (400, form(b"x"), {"Content-Type": "multipart/form-data"}, "boundary"),
    "a form without a file": (400, form(), FORM, "0 files"),
    "a form with two files": (400, form(b"x", b"y"), FORM, "2 files"),
    "a form with no picture": (400, form(b"hello"), FORM, "not a picture"),
    "bytes that are no picture": (415, b"hello", OCTETS, "not a picture"),
    "bytes of a document": (415, b"%PDF-1.7", OCTETS, "a PDF document"),
    "a document as jpeg": (400, b"%PDF-1.7", JPEG, "a PDF document"),
    "a video as jpeg": (400, b"\0\0\0\x18ftypmp42", JPEG, "a video"),
    "a page as jpeg": (400, b"<!DOCTYPE html>", JPEG, "an HTML page"),
    "a picture as csv": (400, b"\xff\xd8\xff\xe0", CSV, "image/jpeg"),
    "a picture as json": (400, b"\xff\xd8\xff\xe0", JSON, "image/jpeg"),
    "body over the limit": (413, b"x" * (6 * MB + 1), JPEG, "6 MB"),
    "broken json": (400, b'{"instances": [', JSON, "not JSON"),
    "json in latin-1": (400, '{"ä": 1}'.encode("latin-1"), JSON, "UTF-8"),
    "deep json": (400, b"[" * 100_000, JSON, "not JSON"),
    "huge number": (400, b'{"instances": ' + b"9" * 5000 + b"}", JSON, "not JSON"),
    "json list": (400, b"[]", JSON, "instances"),
    "no instances": (400, b"{}", JSON, "instances"),
    "empty instances": (400, b'{"instances": []}', JSON, "instances"),
    "instances of a wrong type": (400, b'{"instances": {"b64": ""}}', JSON, "instances"),
    "instance of a wrong type": (400, b'{"instances": [1]}', JSON, "instance 0"),
    "an address": (400, b'{"instances": [{"url": "http://127.0.0.1/"}]}', JSON, "b64"),
    "broken base64": (400, b'{"instances": [{"b64": "%%%"}]}', JSON, "base64"),
    "base64 of a wrong type": (400, b'{"instances": [{"b64": 7}]}', JSON, "b64"),
    "too many instances": (413, json.dumps({"instances": [{"b64": ONE_PIXEL}] * 65}).encode(), JSON, "64"),
    "not an npy": (400, b"hello", {"Content-Type": "application/x-npy"}, ".npy"),
}
NPY = {"Content-Type": "application/x-npy"}
BAD_TENSORS: dict[str, tuple[int, bytes, str]] = {
    "wrong size": (400, npy("(1, 3, 8, 8)", bytes(768)), "[N, 3, 224, 224]"),
    "wrong dimensions": (400, npy("(3, 8, 8)", bytes(768)), "[N, 3"),
    "float64": (400, npy("(1, 3, 8, 8)", bytes(1536), "<f8"), "float32"),
    "objects": (400, npy("(1, 3, 8, 8)", bytes(1536), "|O"), "float32"),
    "NaN": (400, npy("(1, 3, 224, 224)", struct.pack("<f", float("nan")) * 150_528), "NaN"),
    "infinity": (400, npy("(1, 3, 224, 224)", struct.pack("<f", float("inf")) * 150_528), "infinite"),
    "beyond every picture": (400, npy("(1, 3, 224, 224)", struct.pack("<f", 3e38) * 150_528), "too large"),
    "less than its header says": (400, npy("(1, 3, 224, 224)", bytes(1000)), "bytes"),
    "a header that asks for everything": (400, npy("(1000000000000, 3, 224, 224)", bytes(16)), "bytes"),
    "a header that is code": (400, npy("__import__('os').abort()", bytes(16)), ".npy"),
    "no pictures": (400, npy("(0, 3, 224, 224)", b""), "[N, 3"),
    "a truth for a number": (400, npy("(True, 3, 64, 64)", bytes(49_152)), "[N, 3"),
    "negative numbers": (400, npy("(-1, 3, -64, 64)", bytes(49_152)), "[N, 3"),
}
BAD_REQUESTS |= {f"tensor: {name}": (status, body, NPY, words) for name, (status, body, words) in BAD_TENSORS.items()}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_told_why_and_the_next_good_one_is_served(
    endpoint: Container, samples: Samples, case: str
) -> None:
    status, body, headers, words = BAD_REQUESTS[case]
    answer = endpoint.invoke(body, headers)
    assert answer.status == status, answer
    assert words in answer.error
    assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")


@pytest.mark.parametrize(
    ("name", "status", "words"), [("bad-truncated.jpg", 400, "damaged"), ("bad-bomb.png", 413, "million pixels")]
)
def test_a_bad_picture_is_refused(endpoint: Container, samples: Samples, name: str, status: int, words: str) -> None:
    answer = endpoint.invoke(samples.picture(name))
    assert (answer.status, words in answer.error) == (status, True), answer
    assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")


@pytest.mark.parametrize(("bad", "status"), [("bad-truncated.jpg", 400), ("bad-bomb.png", 413)])
def test_one_bad_picture_in_a_batch_is_named(endpoint: Container, samples: Samples, bad: str, status: int) -> None:
    answer = endpoint.invoke(instances(samples.picture(), samples.picture(bad), samples.picture()), JSON)
    assert answer.status == status
    assert answer.error.startswith("instance 1: ")


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json;q=0", "nonsense"])
def test_a_wrong_accept_is_refused(endpoint: Container, samples: Samples, accept: str) -> None:
    answer = endpoint.invoke(samples.picture(), {**JPEG, "Accept": accept})
    assert answer.status == 406
    assert "application/jsonlines" in answer.error


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/invocations", 405),
        ("DELETE", "/invocations", 405),
        ("OPTIONS", "/invocations", 405),
    ],
)
def test_other_paths_and_methods_are_refused(endpoint: Container, method: str, path: str, status: int) -> None:
    answer = endpoint.request(method, path)
    assert answer.status == status
    assert "/invocations" in answer.error


def raw(endpoint: Container, *parts: bytes) -> bytes:
    """Send `parts` as they are and return all that comes back."""
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=60) as connection:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        received = b""
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                received += data
        return received


def test_a_client_that_asks_first_is_told_before_it_sends(endpoint: Container) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    received = raw(endpoint, head + b"Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ") and b'{"error": ' in received


def test_a_client_that_asks_first_may_send_a_good_picture(endpoint: Container, samples: Samples) -> None:
    picture = samples.picture()
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    length = f"Expect: 100-continue\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
    received = raw(endpoint, head + length, picture)
    assert received.startswith(b"HTTP/1.1 100 Continue") and b'"predictions"' in received


def test_a_body_without_a_length_is_limited_too(endpoint: Container, samples: Samples) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b"x" * MB + b"\r\n"
    received = raw(endpoint, head, *([chunk] * 7), b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ") and b'{"error": ' in received
    picture = samples.picture()
    received = raw(
        endpoint,
        head.replace(b"Host: x", b"Host: x\r\nConnection: close"),
        f"{len(picture):x}\r\n".encode() + picture + b"\r\n0\r\n\r\n",
    )
    assert received.startswith(b"HTTP/1.1 200 ") and b'"predictions"' in received


def test_malformed_http_is_answered_in_json(endpoint: Container) -> None:
    received = raw(endpoint, b"POST /invocations HTTP/1.1\r\nContent-Length: x\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 400 ") and b'{"error": ' in received
    received = raw(endpoint, b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 4") and b'{"error": ' in received


def test_slow_clients_hold_up_nobody_and_are_cut_off(endpoint: Container, samples: Samples) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        slow = []
        for part in (b"POST /invoc", head + b"x" * 10) * 100:
            slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", endpoint.port), timeout=60)))
            slow[-1].sendall(part)
        assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")
        for connection in slow[:2]:
            assert b"200" not in connection.recv(65536)  # whatever it says, it then closes
            assert connection.recv(65536) == b""


# ------------------------------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models"),
        ("GET", "/models/model"),
        ("POST", "/models?url=/opt/ml/model&model_name=other"),
        ("DELETE", "/models/model"),
        ("POST", "/models/model/invoke"),
        ("POST", "/predictions/model"),
        ("GET", "/api-description"),
        ("POST", "/model/predict"),
    ],
)
def test_the_management_api_is_not_reachable(endpoint: Container, method: str, path: str) -> None:
    assert endpoint.request(method, path, b"{}", JSON).status == 404


def test_only_one_port_listens_and_secrets_stay_inside(endpoint: Container) -> None:
    script = (
        "for name in ('tcp', 'tcp6'):\n"
        "    for line in open(f'/proc/1/net/{name}').readlines()[1:]:\n"
        "        fields = line.split()\n"
        "        if fields[3] == '0A': print(int(fields[1].rpartition(':')[2], 16))\n"
    )
    assert docker("exec", endpoint.name, "python", "-c", script).split() == ["8080"]
    answer = endpoint.request("GET", "/ping")
    assert answer.headers["Server"] == "nginx"  # without its version


def test_the_log_says_once_what_was_chosen(either: Container) -> None:
    model = [line for line in either.logs().splitlines() if line.startswith("model model: on cpu, chose ")]
    assert len(model) == 1
    ready = [line for line in either.logs().splitlines() if line.startswith("ready after")]
    assert len(ready) == 1
    assert all(word in ready[0] for word in ("workers", "threads", "6 MB"))
    assert "GET /ping" not in either.logs()


@pytest.mark.parametrize("image", [LEAN, SERVE])
def test_the_form_that_is_chosen_gives_the_same_answers(samples: Samples, image: str) -> None:
    with container(samples.model, image=image, precision="fastest") as endpoint:
        endpoint.wait_ready()
        assert re.search(r"^model model: on cpu, chose \S+.* ms a picture", endpoint.logs(), re.MULTILINE)
        for name, expected in samples.expected.items():
            first, second = sorted(expected, reverse=True)[:2]
            (prediction,) = endpoint.invoke(samples.picture(name)).json["predictions"]
            # Where two classes are close, rounding may decide for either.
            assert prediction["predicted_class"] == expected.index(first) or first - second < 0.1, name


@pytest.mark.parametrize(
    ("image", "absent"),
    [(SERVE, ["smdebug", "sagemaker_training"]), (LEAN, ["smdebug", "sagemaker_training", "torch", "torchvision"])],
)
def test_an_image_holds_only_what_it_serves_with(image: str, absent: list[str]) -> None:
    script = "import importlib.util, sys; print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    assert docker("run", "--rm", image, "python", "-c", script, *absent).strip() == "[]"


def test_the_lean_image_is_lean() -> None:
    assert int(docker("image", "inspect", "--format", "{{.Size}}", LEAN)) <= 700e6


# ---------------------------------------------------------------------------------------------------------- readiness


class Hammer:
    """Threads that send the same picture again and again, and remember the answers that were not right."""

    def __init__(self, endpoint: Container, samples: Samples, threads: int = 4) -> None:
        self.wrong: list[Any] = []
        self.right = 0
        self._endpoint, self._samples = endpoint, samples
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        picture = self._samples.picture()
        while not self._stop.is_set():
            try:
                answer: Any = self._endpoint.invoke(picture)
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(error)
                continue
            if self._samples.is_right(answer, "0.jpg"):
                self.right += 1
            else:
                self.wrong.append(answer)

    def __enter__(self) -> "Hammer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


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
            for _ in range(2):
                done = hammer.right
                endpoint.wait_until(lambda done=done: hammer.right > done + 20)  # type: ignore[misc]
                endpoint.kill(endpoint.processes("model_service_worker.py")[-1])
                endpoint.wait_until(lambda: endpoint.request("GET", "/ping").json["workers"] < 2)
                endpoint.wait_until(lambda: endpoint.request("GET", "/ping").json["workers"] == 2)
        # Nobody knows whether that request killed it, so it is not given to the next worker.
        assert len(hammer.wrong) <= 2
        assert all(answer.status == 503 and "has ended" in answer.error for answer in hammer.wrong)
        assert endpoint.logs().count("has died") == 2
        # With none left /ping says so, and requests wait for the next.
        for process in endpoint.processes("model_service_worker.py")[1:]:
            endpoint.kill(process)
        endpoint.wait_until(lambda: endpoint.ping() == 503)
        assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")
        endpoint.wait_ready()


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


def check_failure(endpoint: Container, words: str) -> str:
    """The container ends by itself, was never ready, and its last line says why. Returns the log."""
    pings = set()
    while endpoint.running():
        pings.add(endpoint.ping())
    logs = endpoint.logs()
    assert endpoint.wait_exit() == 1
    assert 200 not in pings
    assert words in logs.splitlines()[-1], logs
    return logs


@pytest.mark.parametrize("case", BROKEN_MODELS)
def test_a_broken_model_ends_the_container_with_one_line(samples: Samples, tmp_path: Path, case: str) -> None:
    image, break_it, words = BROKEN_MODELS[case]
    model = shutil.copytree(samples.model, tmp_path / "model")
    break_it(model)
    with container(model, image=image) as endpoint:
        assert len(check_failure(endpoint, words).splitlines()) == 1


@pytest.mark.parametrize("variable", ["SAGEMAKER_MODEL_SERVER_WORKERS=many", "SAGEMAKER_BIND_TO_PORT=0"])
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
    slow = "import time\nfrom serve import inference\n"
    slow += "def predict_fn(data, model):\n    time.sleep(3)\n    return inference.predict_fn(data, model)\n"
    with container(with_code(samples, tmp_path, slow)) as endpoint:
        endpoint.wait_ready()
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(endpoint.invoke(samples.picture())))
        thread.start()
        time.sleep(1)  # the request is under way
        docker("kill", "--signal", "TERM", endpoint.name)
        thread.join()
        assert endpoint.wait_exit() == 0, endpoint.logs()
        assert samples.is_right(answers[0], "0.jpg"), endpoint.logs()
        assert [line.split()[0] for line in endpoint.logs().splitlines()] == ["model", "ready"]


def test_the_models_own_code_overrides_what_it_defines(samples: Samples, tmp_path: Path) -> None:
    source = "def output_fn(prediction, accept):\n    return prediction['predictions'][0]['label'], 'text/plain'\n"
    with container(with_code(samples, tmp_path, source, requirements_txt="no-such-package")) as endpoint:
        endpoint.wait_ready()
        answer = endpoint.invoke(samples.picture(), {**JPEG, "Accept": "text/plain"})
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain")
        assert answer.body.decode() == "003.Hund_ß_2"
        assert "requirements.txt is ignored" in endpoint.logs()


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
        assert endpoint.request("DELETE", "/models/a").status == 200
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
            ("c/../d", "/opt/ml/models/a/model", "cannot name"),
        ):
            answer = load(name, url)
            assert answer.status == 400 and words in answer.error
        answer = endpoint.request("POST", "/models", b"[]", JSON)
        assert answer.status == 400 and "model_name" in answer.error
        assert endpoint.request("PUT", "/models/b?min_worker=9").status == 405
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
        assert "heap 174 MB" in endpoint.logs()
