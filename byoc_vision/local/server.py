"""One container of a serving image on a loopback port, for an endpoint or a transform job."""

import http.client
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from byoc_vision import archives
from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers, models, source
from byoc_vision.local.files import locate
from byoc_vision.local.instances import local_type
from byoc_vision.local.store import Record, Request, ServiceError

#: The variable that names where the code of the user's own is, if it is not in the model.
_CODE = "SAGEMAKER_SUBMIT_DIRECTORY"

#: Seconds from SIGTERM to SIGKILL, as in hosting.
_STOP_SECONDS = 30

#: How many ports are tried until one is still free when a container is to listen on it.
_PORT_TRIES = 5

#: What dockerd says of a port that is taken by another container, and by another program.
_PORT_TAKEN = ("port is already allocated", "address already in use")


class PortTakenError(UserError):
    """Something listens on the port that a container was to listen on."""


def wait(container: str, port: int, seconds: float, given_up: Callable[[], bool]) -> None:
    """Return at the container's first 200 of /ping; raise `UserError` when there will be none."""
    deadline = time.monotonic() + seconds
    while not answers_ping(port):
        if not containers.running(container):
            lines = [line for _, line in containers.printed(container) if line]
            said = lines[-1] if lines else "it printed nothing"
            raise UserError(f"the container ended before it could serve: {said}")
        if given_up():
            raise UserError("its end was asked for before it could serve")
        if time.monotonic() > deadline:
            raise UserError(f"the container did not answer /ping within {seconds:.0f} s")
        time.sleep(0.1)


def stop(container: str, log: Path | None = None, *, at_once: bool = False) -> None:
    """End the container, after the requests it is answering or `at_once`, and remove it.

    What it printed is added to the file `log`. A program that still starts hears no SIGTERM.
    """
    containers.stop(container, seconds=0 if at_once else _STOP_SECONDS)
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.writelines(f"{time} {line}\n" for time, line in containers.printed(container))
    containers.remove(container)


def free_port(preferred: int = 0) -> int:
    """Return `preferred`, or another port that nothing listens on where something listens on that one."""
    for port in (preferred, 0):
        with socket.socket() as listener, suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", port))
            return int(listener.getsockname()[1])
    raise UserError("no port is free for the endpoint; end something that listens on one")


def on_free_port(begin: Callable[[int], str], preferred: int = 0) -> tuple[str, int]:
    """Return what `begin` returns of a free port, and that port: `preferred`, where that one is free.

    Another may take a port after it was found free, which `begin` says by a `PortTakenError`: then it gets another one.
    """
    for port in (preferred, *(0 for _ in range(_PORT_TRIES))):
        port = free_port(port)
        try:
            return begin(port), port
        except PortTakenError as error:
            taken = error
    raise taken


def unpack(record: Record, definition: Request) -> Path:
    """Unpack the model.tar.gz of a model's container into a new folder of the record; return the model's folder.

    Of a multi-model container that is the folder of all its models, yet empty.
    """
    uri, compressed = ("", True) if models.is_multi(definition) else models.data(definition)
    if uri and not compressed:
        return locate(record.store, uri)
    model = record.folder / f"model-{secrets.token_hex(4)}"
    model.mkdir()
    if uri:
        try:
            archive = locate(record.store, uri)
        except ServiceError as error:
            raise UserError(str(error)) from None
        archives.unpack(archive, model)
    return model


def start(
    record: Record,
    definition: Request,
    model: Path,
    port: int,
    environment: Request | None = None,
    options: tuple[str, ...] = (),
) -> str:
    """Start a model's container on the port, as the service would, with more docker `options`; return its name.

    It belongs to the record. `PortTakenError` where something listens on the port, else `UserError`.
    """
    multi = models.is_multi(definition)
    variables = definition.get("Environment", {}) | (environment or {})
    variables |= {"SAGEMAKER_MULTI_MODEL": "true"} if multi else {}
    code: list[str] = []
    if submitted := variables.get(_CODE):
        variables[_CODE], code = source.handed_over(record.store, submitted, readonly=True)
    name = f"byoc-vision-{record.name}-{secrets.token_hex(3)}"
    arguments = [
        *("--detach", "--name", name, "--label", f"{containers.OWNER}={record.folder}"),
        *("--publish", f"127.0.0.1:{port}:8080"),
        *containers.mount(model, "/opt/ml/models" if multi else "/opt/ml/model", readonly=True),
        *code,
        *(part for variable, value in variables.items() for part in ("--env", f"{variable}={value}")),
        *options,
    ]
    try:
        containers.checked("run", *arguments, definition["Image"], "serve")
    except UserError as error:
        containers.remove(name)  # it may be there, if not running
        if any(said in str(error) for said in _PORT_TAKEN):
            raise PortTakenError(f"something listens on port {port}; end it, or take another port") from None
        raise
    return name


def options(instance: Request) -> tuple[str, ...]:
    """Return docker's options for what a variant or a transform job asks of its machine."""
    if "ServerlessConfig" in instance:
        return ("--memory", f"{instance['ServerlessConfig']['MemorySizeInMB']}m")
    return ("--gpus", "all") if local_type(instance.get("InstanceType", "")) == "local_gpu" else ()


def answers_ping(port: int) -> bool:
    """Return whether GET /ping is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
