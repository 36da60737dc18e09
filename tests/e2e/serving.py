"""The serving images as SageMaker meets them: real containers, real HTTP, on a loopback port.

Needs Docker (`DOCKER` names the client) and the built images.
"""

import base64
import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
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

DOCKER = os.environ.get("DOCKER", "docker")
#: Other names of these images can be given, to try what is built beside them.
TRAIN, SERVE, LEAN = (
    os.environ.get(f"BYOC_TEST_{name.upper().replace('-', '_')}", f"byoc-vision-{name}:latest")
    for name in ("train", "serve", "serve-cpu")
)
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
        for attempt in itertools.count(1):
            if condition():
                return
            # Now and then: to ask the engine costs more than most conditions do.
            assert time.monotonic() < deadline and (attempt % 10 or self.running()), self.logs()
            time.sleep(0.05)

    def wait_ready(self) -> None:
        self.wait_until(lambda: self.ping() == 200)

    def running(self) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", self.name).strip() == "true"

    def logs(self) -> str:
        return docker("logs", self.name)

    def wait_for_line(self, start: str) -> None:
        """Wait until the log has a line that begins so: to ask for the log again and again would cost a core."""
        command = [DOCKER, "logs", "--follow", self.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as log:
            late = threading.Timer(120, log.kill)
            late.start()
            assert log.stdout
            there = any(line.startswith(start) for line in log.stdout)
            late.cancel()
            log.kill()
        assert there, self.logs()

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

    def kill(self, *processes: int, number: int = signal.SIGKILL) -> None:
        docker("exec", self.name, "python", "-c", f"import os; [os.kill(one, {int(number)}) for one in {processes}]")


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
        # Threads that wait busily for each other would, beside other tests, mostly wait.
        environment = ("--env", f"BYOC_PRECISION={precision}", "--env", "OMP_WAIT_POLICY=passive")
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


def check_failure(endpoint: Container, words: str) -> str:
    """The container ends by itself, was never ready, and its last line says why. Returns the log."""
    pings = set()
    with subprocess.Popen([DOCKER, "wait", endpoint.name], stdout=subprocess.PIPE, text=True) as end:
        while end.poll() is None:
            pings.add(endpoint.ping())
            time.sleep(0.05)
        assert end.communicate()[0] == "1\n"
    logs = endpoint.logs()
    assert 200 not in pings
    assert words in logs.splitlines()[-1], logs
    return logs
