"""SageMaker local mode, and what the SDK leaves to its users: readable logs, early failure, a clean machine afterwards.

    with LocalMode(logs) as local:
        local.train(training_job)
        local.deploy(model, endpoint_config, endpoint)

Local mode runs the requests' images under docker compose. No AWS account takes part: no credentials are read, none are
handed to the containers, and no usage data is sent.
"""

import contextlib
import io
import itertools
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from byoc_vision.local import containers, server
from byoc_vision.local.local_mode import plain_client
from byoc_vision.requests.operations import Request

#: The network local mode makes for the containers of all its projects.
NETWORK = "sagemaker-local"

#: Seconds an endpoint has to end in when told to, as in hosting.
STOP_SECONDS = 30


class LocalModeError(Exception):
    """A job or an endpoint failed; the text says why in one sentence."""


class LocalMode:
    """The SDK's local client.

    Local mode writes into the folder `work`, which is gone afterwards, as are the containers and the network. What the
    containers print goes to `logs`/training.log and `logs`/endpoint.log; a job's lines are shown as well.
    """

    def __init__(self, logs: Path) -> None:
        # Resolved, because on macOS the temporary folder lies behind a link.
        self.work = Path(tempfile.mkdtemp(prefix="byoc-vision-")).resolve()
        self.port = _free_port(8080)
        self._client = plain_client(self.work, serving_port=self.port)
        self._logs = logs
        self._output = _Output(sys.stdout)
        self._exit = contextlib.ExitStack()
        self._call: _Call | None = None
        self._image = ""
        self._endpoint = ""
        self._compose_files: set[Path] = set()

    def __enter__(self) -> "LocalMode":
        self._exit.enter_context(contextlib.redirect_stdout(self._output))
        # Of the client's own threads: that the endpoint's container has ended is noticed and told below.
        self._exit.callback(setattr, threading, "excepthook", threading.excepthook)
        threading.excepthook = lambda _: None
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A second Ctrl-C must not leave half of it behind.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        self._undeploy()
        # Where compose was broken off, the engine may yet carry out what it was asked before.
        for pause in (0, 1, 2) if kind else (0,):
            time.sleep(pause)
            self._remove_containers()
        containers.docker("network", "rm", NETWORK)  # refused, rightly, where others are using it
        if self._call:
            self._call.join(STOP_SECONDS)
        containers.give_to_caller(self.work, self._image)
        shutil.rmtree(self.work, ignore_errors=True)
        if self.work.exists():
            print(f"could not remove {self.work}; remove it by hand", file=sys.stderr)
        self._exit.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def train(self, request: Request) -> dict[str, Any]:
        """Send CreateTrainingJob, wait for the job's end, and return what DescribeTrainingJob says.

        Unpacks the job's output.tar.gz into `output` beside its model.tar.gz, also when the job has failed.
        """
        self._image = request["AlgorithmSpecification"]["TrainingImage"]
        self._output.log_to(self._logs / "training.log", show=True)
        self._call = _Call(self._client.create_training_job, request)
        self._call.join()
        self._remove_containers()
        results = Path(request["OutputDataConfig"]["S3OutputPath"].removeprefix("file://"))
        output, archive = results / "output", results / "output.tar.gz"
        if archive.exists():
            output.mkdir()
            subprocess.run(["tar", "-xzf", archive, "-C", output], check=True)
            archive.unlink()
        if (output / "failure").exists():
            raise LocalModeError((output / "failure").read_text(encoding="utf-8").splitlines()[0])
        if isinstance(self._call.error, RuntimeError):  # what the client raises for a container's exit status
            raise LocalModeError(f"the container broke off ({self._last_line('training.log', self._call.error)})")
        if self._call.error:
            raise LocalModeError(f"local mode broke off ({self._call.error})")
        return dict(self._client.describe_training_job(request["TrainingJobName"]))

    def deploy(self, model: Request, endpoint_config: Request, endpoint: Request) -> float:
        """Send CreateModel, CreateEndpointConfig and CreateEndpoint; return the seconds to the first 200 of /ping."""
        self._image = model["PrimaryContainer"]["Image"]
        self._client.create_model(**deepcopy(model))
        self._client.create_endpoint_config(**deepcopy(endpoint_config))
        self._endpoint = endpoint["EndpointName"]
        self._output.log_to(self._logs / "endpoint.log")
        # The client asks /ping every five seconds, and never whether the container still runs.
        begun = time.monotonic()
        self._call = _Call(self._client.create_endpoint, endpoint)
        for attempt in itertools.count():
            if server.answers_ping(self.port):
                break
            if attempt % 10 == 9 and any(containers.exit_code(each) is not None for each in self._containers()):
                raise LocalModeError(f"the endpoint's container ended ({self._last_line('endpoint.log', 'silently')})")
            if self._call.error:
                raise LocalModeError(f"the endpoint did not become ready ({self._call.error})")
            time.sleep(0.1)
        return time.monotonic() - begun

    def endpoint_started(self) -> datetime:
        """Return when the endpoint's container was started."""
        begun = containers.docker("inspect", "--format", "{{.State.StartedAt}}", self._containers()[0])
        return datetime.fromisoformat(begun)

    def _undeploy(self) -> None:
        if self._endpoint:
            # The client stops compose and leaves the container to it, which kills it after ten seconds.
            for container in self._containers():
                containers.stop(container, STOP_SECONDS)
            with contextlib.suppress(Exception):  # when it never came up
                self._client.delete_endpoint(EndpointName=self._endpoint)

    def _containers(self) -> list[str]:
        # Remembered, because the client removes a file before its containers.
        self._compose_files |= set(self.work.glob("*/docker-compose.yaml"))
        return [container for file in self._compose_files for container in containers.of_compose(file)]

    def _remove_containers(self) -> None:
        for container in self._containers():
            containers.remove(container)

    def _last_line(self, log: str, otherwise: object) -> str:
        lines = (self._logs / log).read_text(encoding="utf-8").splitlines()
        return lines[-1] if lines else str(otherwise)


class _Call(threading.Thread):
    """A call of the client, on its way in a thread; `error` is what it has raised."""

    def __init__(self, method: Callable[..., object], request: Request) -> None:
        super().__init__(daemon=True)
        self._method = method
        self._request = deepcopy(request)  # the client writes into it
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._method(**self._request)
        except Exception as error:
            self.error = error


class _Output(io.TextIOBase):
    """Stands in for sys.stdout, where the client's threads print what containers print; the main thread's passes."""

    _ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
    _PREFIX = re.compile(r"^\S*algo-\d+-\w+ *\| ?")

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._log: Path | None = None
        self._show = False

    def log_to(self, log: Path, show: bool = False) -> None:
        """From now on append containers' lines to `log`, and perhaps show them."""
        log.touch()
        self._log, self._show = log, show

    def flush(self) -> None:
        self._terminal.flush()

    def write(self, text: str) -> int:
        if threading.current_thread() is threading.main_thread():
            return self._terminal.write(text)
        # Local mode gives containers a terminal, where a progress bar is one line written over and over.
        line, found = self._PREFIX.subn("", self._ESCAPES.sub("", text.rstrip()))
        line = line.rsplit("\r", 1)[-1]
        if found and line and self._log:
            with self._log.open("a", encoding="utf-8") as log:
                print(line, file=log)
            if self._show:
                print(line, file=self._terminal, flush=True)
        return len(text)


def _free_port(preferred: int) -> int:
    """Return `preferred`, or any other port where something listens on that one already."""
    for port in (preferred, 0):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", port))
            return int(listener.getsockname()[1])
    raise LocalModeError("no port is free for the endpoint")
