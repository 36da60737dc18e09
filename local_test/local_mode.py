"""The SageMaker SDK's own local mode, as it is. The engine of `--local` and `byoc service` does without it."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError, one_line
from byoc_vision.local import containers, server
from byoc_vision.local.files import follow_links, link_or_copy, links_out, path
from byoc_vision.local.store import REGION, Request

#: The network that local mode makes for the containers of all jobs.
NETWORK = "sagemaker-local"

#: Seconds an endpoint's container may take to its first 200 of /ping, as local mode has it.
_START_SECONDS = 120


def client(work: Path) -> Any:
    """Return local mode's client, working in `work`.

    All that local mode wants of AWS is a region: no credentials are read or handed on, no usage data is sent.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    # Compose may be a Python program, with packages of its own.
    os.environ.pop("PYTHONPATH", None)
    # Takes seconds to import, and reads the environment.
    import boto3
    from sagemaker.core.local import LocalSession

    opt_out = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
    session = LocalSession(boto3.Session(region_name=REGION), sagemaker_config=opt_out)
    session.config = {"local": {"container_root": str(work)}}
    return session.sagemaker_client


def acceptable(request: Request, work: Path) -> Request:
    """Return CreateTrainingJob with its channels behind links in `work`: local mode refuses some places (all of /root).

    What the job leaves goes to `work`/results.
    """
    request = deepcopy(request)
    for channel in request.get("InputDataConfig", []):
        folder = path(channel["DataSource"]["S3DataSource"]["S3Uri"]).resolve()
        place = work / "channels" / channel["ChannelName"]
        place.parent.mkdir(exist_ok=True)
        if folder.is_dir() and links_out(folder):
            follow_links(folder, place)
        elif folder.is_dir():
            place.symlink_to(folder)
        else:  # a channel is a folder, and in a container a link to a file would lead nowhere
            place.mkdir()
            link_or_copy(folder, place / folder.name)
        channel["DataSource"]["S3DataSource"]["S3Uri"] = f"file://{place}"
    request["OutputDataConfig"] = {"S3OutputPath": f"file://{work / 'results'}"}
    return request


class LocalMode:
    """Local mode, and what the SDK leaves to its users: a readable log, early failure, a clean machine afterwards.

        with LocalMode(logs) as local:
            local.train(training_job, show=print)
            local.deploy(model, endpoint_config, endpoint)

    It works in a temporary folder, which is gone afterwards, as are the containers and the network. What the containers
    print goes to `logs`/training.log and `logs`/endpoint.log. One training job and one endpoint, in this order.
    """

    def __init__(self, logs: Path) -> None:
        # Resolved, because on macOS the temporary folder lies behind a link.
        self.work = Path(tempfile.mkdtemp(prefix="byoc-vision-")).resolve()
        self.results = self.work / "results"
        self.port = 0  # of the endpoint, once there is one
        self._logs = logs
        self._client = client(self.work)
        self._call: _Call | None = None
        self._image = self._container = self._endpoint = ""

    def __enter__(self) -> "LocalMode":
        from sagemaker.core.local import image

        image._stream_output = _wait  # the containers' own log is easier to read
        # Of the client's own threads: that a container has ended is noticed and told below.
        threading.excepthook = lambda _: None
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A second Ctrl-C must not leave half of it behind.
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
        projects = self._projects()  # remembered, because the client removes some before their containers
        if self._endpoint:
            # The client leaves the container to compose, which kills it after ten seconds.
            if self._container:
                server.stop(self._container, log=self._logs / "endpoint.log")
            with suppress(Exception):  # when it never came up
                self._client.delete_endpoint(EndpointName=self._endpoint)
        # Where compose was broken off, the engine may yet carry out what it was asked before.
        for pause in (0, 1, 2) if kind else (0,):
            time.sleep(pause)
            projects |= self._projects()
            for container in (name for file in projects for name in _of_compose(file)):
                containers.remove(container)
        containers.docker("network", "rm", NETWORK)  # refused, rightly, where others are using it
        if self._call:
            self._call.join(30)
        containers.give_to_caller(self._image, self.work)
        shutil.rmtree(self.work, ignore_errors=True)
        threading.excepthook = threading.__excepthook__
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def train(self, request: Request, show: Callable[[str], object]) -> dict[str, Any]:
        """Send CreateTrainingJob, `show` its log, and return what DescribeTrainingJob says after its end.

        `results` has model.tar.gz then and, also when the job has failed, its output folder. Raises `UserError`.
        """
        self._image = request["AlgorithmSpecification"]["TrainingImage"]
        self._call = _Call(self._client.create_training_job, acceptable(request, self.work))
        self._container = self._started(self._call)
        line = ""
        with (self._logs / "training.log").open("w", encoding="utf-8") as log:
            for line in filter(None, _follow(self._container)):
                print(line, file=log, flush=True)
                show(line)
        self._call.join()
        broken = _state(self._container) != "exited 0"
        containers.remove(self._container)
        output, archive = self.results / "output", self.results / "output.tar.gz"
        if archive.exists():
            output.mkdir()
            subprocess.run(["tar", "-xzf", archive, "-C", output], check=True)
            archive.unlink()
        if (output / "failure").exists():
            raise UserError((output / "failure").read_text(encoding="utf-8").splitlines()[0])
        if broken or self._call.error:
            raise UserError(f"local mode broke off ({line if broken else one_line(self._call.error)})")
        return dict(self._client.describe_training_job(request["TrainingJobName"]))

    def deploy(self, model: Request, endpoint_config: Request, endpoint: Request) -> float:
        """Send CreateModel, CreateEndpointConfig and CreateEndpoint; return the seconds to the first 200 of /ping."""
        self._image = model["PrimaryContainer"]["Image"]
        self._client.create_model(**deepcopy(model))
        self._client.create_endpoint_config(**deepcopy(endpoint_config))
        self._endpoint, self._container = endpoint["EndpointName"], ""
        # Only now: while the job ran, others may have taken a port that was free before. The client would not notice,
        # for it takes any answer at its port for that of its container.
        self.port = server.free_port(8080)
        self._client.sagemaker_session.config["local"]["serving_port"] = self.port
        # The client asks /ping every five seconds, and never whether the container still runs.
        begun = time.monotonic()
        self._call = _Call(self._client.create_endpoint, endpoint)
        self._container = self._started(self._call)
        server.wait(self._container, self.port, _START_SECONDS, lambda: False)
        return time.monotonic() - begun

    def endpoint_started(self) -> datetime:
        """Return when the endpoint's container was started."""
        return datetime.fromisoformat(containers.docker("inspect", "--format", "{{.State.StartedAt}}", self._container))

    def _started(self, call: "_Call") -> str:
        """Return the container that the call has let compose start; raise `UserError` where the call ends without."""
        while True:
            over = not call.is_alive()
            for file in self._projects():
                for container in _of_compose(file):
                    if _state(container).startswith(("running", "exited", "dead")):
                        return container
            if over:
                why = one_line(call.error) if call.error else f"something else answers at port {self.port}"
                raise UserError(f"local mode started no container ({why}); try again")
            time.sleep(0.1)

    def _projects(self) -> set[Path]:
        return set(self.work.glob("*/docker-compose.yaml"))


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


def _wait(process: "subprocess.Popen[bytes]") -> None:
    """Wait for compose's end; what it has printed last becomes the error, if it is one."""
    printed, _ = process.communicate()
    if process.returncode not in (0, 130):
        raise RuntimeError(printed.decode(errors="replace").strip().rpartition("\n")[2])


def _of_compose(file: Path) -> list[str]:
    """Return the ids of the compose file's containers; compose calls a project after the file's folder."""
    return containers.labelled("com.docker.compose.project", file.parent.name)


def _follow(container: str) -> Iterator[str]:
    """Yield the lines the container prints, from its start to its end."""
    count, ended = 0, False
    while not ended:
        # Following ends at once where the container has not begun, and may end before the last lines. Only what is read
        # of a container that had ended is all.
        ended = not _state(container).startswith(("created", "running", "restarting", "paused"))
        command = ["docker", "logs", *([] if ended else ["--follow"]), container]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            for number, line in enumerate(process.stdout):
                if number >= count:
                    yield containers.readable(line.decode(errors="replace"))
                    count = number + 1
        time.sleep(0.1)


def _state(container: str) -> str:
    """Return the container's state and exit code; nothing where there is no such container."""
    return containers.docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", container)
