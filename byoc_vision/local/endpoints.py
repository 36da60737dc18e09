"""Endpoints: each is one container on a loopback port of its own.

The container belongs to dockerd; a background process (`run`) only brings it up, or a new one in its place.
"""

import shutil
import time

from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers, models, process, server
from byoc_vision.local.store import Record, Request, ServiceError, Store, page, refuse

KIND = "endpoint"

#: Seconds a container may take to its first 200 of /ping, where the configuration does not say.
_START_SECONDS = 480


def create(store: Store, request: Request) -> Request:
    """CreateEndpoint: begin to start its container and return at once."""
    status = {"EndpointStatus": "Creating", "Port": server.free_port(), "Wanted": _wanted(store, request)}
    record, lock = store.create(KIND, request["EndpointName"], request, used="ValidationException", **status)
    process.start(record, lock)
    return {"EndpointArn": record.arn}


def update(store: Store, request: Request) -> Request:
    """UpdateEndpoint: begin to start a container of the new configuration; the old one serves until that one does."""
    refuse(request, "DeploymentConfig", "RetainAllVariantProperties")
    record = store.find(KIND, request["EndpointName"])
    wanted = _wanted(store, request)
    status = describe(record)["EndpointStatus"]
    lock = record.take() if status == "InService" else None
    if lock is None:
        raise ServiceError("ValidationException", f"Cannot update endpoint {record.name} while it is {status}.")
    record.update(EndpointStatus="Updating", FailureReason=None, Wanted=wanted)
    process.start(record, lock)
    return {"EndpointArn": record.arn}


def delete(store: Store, request: Request) -> Request:
    """DeleteEndpoint: end its containers and forget it."""
    record = store.find(KIND, request["EndpointName"])
    record.ask_to_stop()
    while (lock := record.take()) is None:  # until the background process has given up
        if not record.folder.exists():  # someone else has deleted it
            return {}
        time.sleep(0.2)
    with lock:
        for container in containers.labelled(containers.OWNER, str(record.folder)):
            server.stop(container)
        record.remove()
    return {}


def run(record: Record) -> None:
    """Bring up the container that the status asks for, and take down the one before."""
    status = record.status
    wanted, serving = status["Wanted"], status.get("Serving")
    port = server.free_port() if serving else status["Port"]
    try:
        model = server.unpack(record, wanted["Container"])
        options = server.options(wanted["Variant"])
        container = server.start(record.folder, wanted["Container"], model, port, options=options)
        seconds = wanted["Variant"].get("ContainerStartupHealthCheckTimeoutInSeconds", _START_SECONDS)
        server.wait(container, port, seconds, lambda: record.stopping)
    except UserError as error:
        _give_up(record, f"{str(error).rstrip('.')}.")
        return
    # From here on dockerd starts it again should it end, and after the machine was started again.
    containers.docker("update", "--restart", "unless-stopped", container)
    serving = {"Container": container, "Model": str(model), "Variant": wanted["Variant"]}
    done = {"EndpointStatus": "InService", "EndpointConfigName": wanted["EndpointConfigName"], "Port": port}
    record.update(Serving=serving, Wanted=None, **done)
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


def _give_up(record: Record, reason: str) -> None:
    """Go on with the container that serves, if there is one."""
    _remove_others(record)
    status = "InService" if "Serving" in record.status else "Failed"
    record.update(EndpointStatus=status, FailureReason=reason, Wanted=None)


def _remove_others(record: Record) -> None:
    """Remove the endpoint's containers and models except those that serve; keep what the containers printed."""
    serving = record.status.get("Serving", {"Container": "", "Model": ""})
    kept = containers.docker("inspect", "--format", "{{.Id}}", serving["Container"])
    for container in containers.labelled(containers.OWNER, str(record.folder)):
        if container != kept:
            server.stop(container, log=record.folder / "log")
    for folder in record.folder.glob("model-*"):
        if str(folder) != serving["Model"]:
            shutil.rmtree(folder)


def _list(store: Store, request: Request) -> Request:
    return page([describe(each) for each in store.all(KIND)], request, "Endpoints", "EndpointStatus", "EndpointName")


OPERATIONS = {
    "CreateEndpoint": create,
    "UpdateEndpoint": update,
    "DescribeEndpoint": lambda store, request: describe(store.find(KIND, request["EndpointName"])),
    "ListEndpoints": _list,
    "DeleteEndpoint": delete,
}
