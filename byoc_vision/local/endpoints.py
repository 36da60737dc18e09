"""Endpoints: each is one container on a loopback port of its own, which it keeps when its model is replaced.

The container belongs to dockerd; a background process (`run`) only brings it up, or a new one in its place.
"""

import contextlib
import shutil
import time
from pathlib import Path

from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers, models, process, server
from byoc_vision.local.store import Record, Request, ServiceError, Store, page, refuse
from byoc_vision.requests import operations

KIND = "endpoint"

#: The port of an endpoint that asks for none, where it is free.
PORT = 8080

#: Seconds a container may take to its first 200 of /ping, where the configuration does not say.
_START_SECONDS = 480


def create(store: Store, request: Request) -> Request:
    """CreateEndpoint: begin to start its container and return at once."""
    wanted = _wanted(store, request)
    asked, taken = _port(wanted), _taken(store)
    port = server.free_port(0 if (asked or PORT) in taken else asked or PORT)
    if asked not in (None, port):
        raise ServiceError("ValidationException", f"Port {asked} is in use; take another, or end what listens there.")
    status = {"EndpointStatus": "Creating", "Port": port, "Home": port, "Wanted": wanted}
    record, lock = store.create(KIND, request["EndpointName"], request, used="ValidationException", **status)
    process.start(record, lock)
    return {"EndpointArn": record.arn}


def update(store: Store, request: Request) -> Request:
    """UpdateEndpoint: begin to start a container of the new configuration; the old one serves until that one does."""
    refuse(request, "DeploymentConfig", "RetainAllVariantProperties")
    record = find(store, request["EndpointName"])
    wanted = _wanted(store, request)
    if _port(wanted) not in (None, home := _home(record.status)):
        reason = f"The endpoint {record.name} has port {home} and keeps it; delete it to change that."
        raise ServiceError("ValidationException", reason)
    status = describe(record)["EndpointStatus"]
    lock = record.take() if status == "InService" else None
    if lock is None:
        raise ServiceError("ValidationException", f"Cannot update endpoint {record.name} while it is {status}.")
    record.update(EndpointStatus="Updating", FailureReason=None, Wanted=wanted)
    process.start(record, lock)
    return {"EndpointArn": record.arn}


def delete(store: Store, request: Request) -> Request:
    """DeleteEndpoint: end its containers and forget it."""
    record = find(store, request["EndpointName"])
    record.ask_to_stop()
    while (lock := record.take()) is None:  # until the background process has given up
        if not record.folder.exists():  # someone else has deleted it
            return {}
        time.sleep(0.2)
    with lock:
        for container in containers.owned(record.folder):
            server.stop(container)
        record.remove()
    return {}


def run(record: Record) -> None:
    """Bring up the container that the status asks for, and take down the one before.

    A port belongs to one container. So a new model shows on another port that it can serve, and is asked there while
    its container for the endpoint's own port takes the old one's place.
    """
    status = record.status
    wanted, home = status["Wanted"], _home(status)
    if "Serving" not in status and _port(wanted) is None and (free := server.free_port(home)) != home:
        home = free  # another has taken the port since
        record.update(Port=home, Home=home)
    try:
        model = server.unpack(record, wanted["Container"])
        _serve(record, wanted, model, server.free_port() if "Serving" in status else home)
    except UserError as error:
        _give_up(record, f"{str(error).rstrip('.')}.")
        return
    if record.status["Port"] != home == server.free_port(home):
        with contextlib.suppress(UserError):  # it serves already, if not where it should
            _serve(record, wanted, model, home)
    record.update(EndpointStatus="InService", EndpointConfigName=wanted["EndpointConfigName"], Wanted=None)


def _serve(record: Record, wanted: Request, model: Path, port: int) -> None:
    """Let a new container serve the model on the port, and remove the one that did; `UserError` where it does not."""
    variant, options = wanted["Variant"], server.options(wanted["Variant"])
    container = server.start(record.folder, wanted["Container"], model, port, options=options)
    seconds = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", _START_SECONDS)
    server.wait(container, port, seconds, lambda: record.stopping)
    # From here on dockerd starts it again should it end, and after the machine was started again.
    containers.docker("update", "--restart", "unless-stopped", container)
    record.update(Serving={"Container": container, "Model": str(model), "Variant": variant}, Port=port)
    _remove_others(record)


def describe(record: Record) -> Request:
    """Return DescribeEndpoint's answer."""
    status = record.status
    if status["EndpointStatus"] in ("Creating", "Updating") and (lock := record.take()):
        with lock:
            if record.status["EndpointStatus"] in ("Creating", "Updating"):
                _give_up(record, "The process that started the container was killed, or the machine was restarted.")
        status = record.status
    serving = status.get("Serving")
    if serving and not containers.running(serving["Container"]):
        status |= {"EndpointStatus": "Failed", "FailureReason": "The endpoint's container does not run."}
    answer = record.request | {"EndpointArn": record.arn} | status
    if serving:
        name = serving["Variant"]["VariantName"]
        answer["ProductionVariants"] = [{"VariantName": name, "CurrentInstanceCount": 1, "CurrentWeight": 1.0}]
    return answer


def _wanted(store: Store, request: Request) -> Request:
    """Return what is to be brought up. It is looked up now: the configuration may be deleted before it is needed."""
    config = store.find(models.CONFIG, request["EndpointConfigName"]).request
    variant = config["ProductionVariants"][0]
    definition = models.container(store, variant["ModelName"])
    return {"EndpointConfigName": config["EndpointConfigName"], "Variant": variant, "Container": definition}


def _port(wanted: Request) -> int | None:
    """Return the port that the model's container asks for, if it does."""
    asked = wanted["Container"].get("Environment", {}).get(operations.PORT_VARIABLE)
    if asked and not (asked.isascii() and asked.isdigit() and 1 <= int(asked) <= 65535):
        raise ServiceError("ValidationException", f"Port {asked!r} is none; give a number from 1 to 65535.")
    return int(asked) if asked else None


def _taken(store: Store) -> set[int]:
    """Return the ports of all endpoints, whether or not their containers listen there yet."""
    ports = set()
    for record in store.all(KIND):
        with contextlib.suppress(ServiceError):  # it is being deleted
            ports.add(_home(record.status))
    return ports


def _home(status: Request) -> int:
    """Return the port that the endpoint keeps; one of an earlier version of this program has noted the present one."""
    return int(status["Home"] if "Home" in status else status["Port"])


def _give_up(record: Record, reason: str) -> None:
    """Go on with the container that serves, if there is one."""
    _remove_others(record)
    status = "InService" if "Serving" in record.status else "Failed"
    record.update(EndpointStatus=status, FailureReason=reason, Wanted=None)


def _remove_others(record: Record) -> None:
    """Remove the endpoint's containers and models except those that serve; keep what the containers printed."""
    serving = record.status.get("Serving", {"Container": "", "Model": ""})
    kept = containers.docker("inspect", "--format", "{{.Id}}", serving["Container"])
    for container in containers.owned(record.folder):
        if container != kept:
            server.stop(container, log=record.folder / "log")
    for folder in record.folder.glob("model-*"):
        if str(folder) != serving["Model"]:
            shutil.rmtree(folder)


def find(store: Store, name: str) -> Record:
    """Return the endpoint's record; where that is gone and a container of it is not, a new one."""
    if not (store.root / KIND / name).exists() and name in containers.orphans(KIND):
        return _adopted(store, name)
    return store.find(KIND, name)


def _adopted(store: Store, name: str) -> Record:
    container, *_ = containers.owned(store.root / KIND / name)
    request = {"EndpointName": name, "EndpointConfigName": operations.new_name(name)}
    port = containers.published_port(container)
    serving = {"Container": container, "Model": "", "Variant": {"VariantName": "AllTraffic"}}
    status: Request = {"EndpointStatus": "InService", "Port": port, "Home": port, "Serving": serving}
    record, lock = store.create(KIND, name, request, **status)
    lock.release()
    return record


def _list(store: Store, request: Request) -> Request:
    for name in containers.orphans(KIND):
        find(store, name)
    return page([describe(each) for each in store.all(KIND)], request, "Endpoints", "EndpointStatus", "EndpointName")


OPERATIONS = {
    "CreateEndpoint": create,
    "UpdateEndpoint": update,
    "DescribeEndpoint": lambda store, request: describe(find(store, request["EndpointName"])),
    "ListEndpoints": _list,
    "DeleteEndpoint": delete,
}
