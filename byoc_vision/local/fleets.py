"""The containers that serve an endpoint, one for each production variant, and how new ones take their place.

A container belongs to dockerd; the background process that brings it up (`run`) ends once it serves. The endpoint's
status holds, for whoever asks:

    Serving   the fleet that answers: a list of what `_member` returns
    Next      {"Share", "Fleet"} while traffic is being shifted: the fleet that gets this share of the requests
    Port      where the first variant's container listens
    Home      the port that the endpoint keeps
"""

import contextlib
import shutil
import time
from functools import partial
from pathlib import Path

from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers, server
from byoc_vision.local.store import Record, Request
from byoc_vision.requests import operations

#: The labels of a container that name its variant, and say that this one is a shadow.
VARIANT, _SHADOW = "byoc-vision.variant", "byoc-vision.shadow"

#: Seconds a container may take to its first 200 of /ping, where the configuration does not say.
_START_SECONDS = 480


def serving(status: Request) -> list[Request]:
    """Return the fleet that answers; none before the endpoint is first in service."""
    return list(status.get("Serving", []))


def adopted(container: str) -> Request:
    """Return the member of a fleet that a container is whose endpoint's folder is gone."""
    wanted = f'{{{{index .Config.Labels "{VARIANT}"}}}} {{{{index .Config.Labels "{_SHADOW}"}}}}'
    name, _, shadow = containers.docker("inspect", "--format", wanted, container).partition(" ")
    port = containers.published_port(container)
    member = {"Name": container, "Model": "", "Port": port, "Variant": {"VariantName": name}, "Container": {}}
    return member | ({"Shadow": True} if shadow else {})


def weight(member: Request) -> float:
    """Return a member's part of the traffic, in relation to those of the others."""
    return float(member["Variant"].get("InitialVariantWeight", 1.0))


def is_shadow(member: Request) -> bool:
    """Whether a member gets copies of requests, whose answers nobody sees."""
    return bool(member.get("Shadow"))


def asked_port(definition: Request) -> str | None:
    """Return the port that a model's container asks for on this machine, as it is written."""
    port: str | None = definition.get("Environment", {}).get(operations.PORT_VARIABLE)
    return port


def run(record: Record) -> None:
    """Bring up the fleet that the status asks for, and take down the one before.

    A port belongs to one container, and the first variant keeps the endpoint's. So its new container shows on another
    port that it can serve, and is asked there while one on the endpoint's own port takes the old one's place.
    """
    status = record.status
    wanted, port = status["Wanted"], status["Home"]
    fixed = bool(asked_port(wanted["Variants"][0]["Container"]))
    try:
        if serving(status):
            fleet = _brought_up(record, wanted["Variants"])
            _shift(record, fleet, wanted.get("Deployment", {}).get("BlueGreenUpdatePolicy", {}))
        else:
            fleet = _brought_up(record, wanted["Variants"], port, fixed)
            port = fleet[0]["Port"]  # another one, if that was taken since
            record.update(Home=port)
    except UserError as error:
        give_up(record, f"{str(error).rstrip('.')}.")
        return
    _serve(record, fleet, **wanted["Fields"])
    if fleet[0]["Port"] != port == server.free_port(port):
        with contextlib.suppress(UserError):  # it serves already, if not where it should
            first = _brought_up(record, wanted["Variants"][:1], port, model=Path(fleet[0]["Model"]))
            _serve(record, first + fleet[1:])
    record.update(EndpointStatus="InService", EndpointConfigName=wanted["EndpointConfigName"], Wanted=None)


def give_up(record: Record, reason: str) -> None:
    """Go on with the containers that serve, if there are some."""
    asked = "Next" in record.status  # then the others may be answering, too
    record.update(Next=None)
    _remove_others(record, at_once=not asked)
    status = "InService" if serving(record.status) else "Failed"
    record.update(EndpointStatus=status, FailureReason=reason, Wanted=None)


def _brought_up(
    record: Record, variants: list[Request], first: int = 0, fixed: bool = True, model: Path | None = None
) -> list[Request]:
    """Start a container for each variant and return them once all can serve; `UserError` where one cannot.

    The first one listens on the port `first`, if given, or where that is taken and not `fixed`, on another; and serves
    `model` where that is unpacked already.
    """
    fleet = []
    for number, member in enumerate(variants):
        definition, variant = member["Container"], member["Variant"]
        folder = model or server.unpack(record, definition)
        options = (*server.options(variant), *(("--label", f"{_SHADOW}=true") if is_shadow(member) else ()))
        options += ("--label", f"{VARIANT}={variant['VariantName']}")
        begin = partial(server.start, record, definition, folder, options=options)
        port = 0 if number else first
        container, port = (begin(port), port) if port and fixed else server.on_free_port(begin, port)
        fleet.append({**member, "Name": container, "Model": str(folder), "Port": port})
    for member in fleet:
        seconds = member["Variant"].get("ContainerStartupHealthCheckTimeoutInSeconds", _START_SECONDS)
        server.wait(member["Name"], member["Port"], seconds, lambda: record.stopping)
        # From here on dockerd starts it again should it end, and after the machine was started again.
        containers.docker("update", "--restart", "unless-stopped", member["Name"])
    return fleet


def _shift(record: Record, fleet: list[Request], policy: Request) -> None:
    """Give the new fleet a growing share of the requests, as the deployment's policy wants it."""
    routing = policy.get("TrafficRoutingConfiguration", {})
    steps = {"CANARY": [_percentage(routing, "CanarySize")], "LINEAR": []}.get(routing.get("Type", ""), [])
    if routing.get("Type") == "LINEAR":
        step = _percentage(routing, "LinearStepSize")
        steps = list(range(step, 100, step))
    pause = routing.get("WaitIntervalInSeconds", 0)
    for percentage in steps:
        record.update(Next={"Share": percentage / 100, "Fleet": fleet})
        _wait(record, pause)
    for member in fleet if steps else []:
        if not containers.running(member["Name"]):
            raise UserError(f"the new container of {member['Variant']['VariantName']} ended while traffic was shifted")
    if seconds := policy.get("TerminationWaitInSeconds", 0):
        record.update(Next={"Share": 1, "Fleet": fleet})
        _wait(record, seconds)


def _percentage(routing: Request, field: str) -> int:
    return max(1, min(100, int(routing.get(field, {}).get("Value", 10))))


def _wait(record: Record, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if record.stopping:
            raise UserError("its end was asked for before all traffic was shifted")
        time.sleep(min(0.2, seconds))


def _serve(record: Record, fleet: list[Request], **fields: Request | None) -> None:
    """Let the fleet answer from now on, and remove the containers that did."""
    record.update(Serving=fleet, Next=None, Port=fleet[0]["Port"], **fields)
    _remove_others(record)


def _remove_others(record: Record, *, at_once: bool = False) -> None:
    """Remove the endpoint's containers and models except those that serve; keep what the containers printed.

    They end after the requests that they are answering, or `at_once`.
    """
    fleet = serving(record.status)
    wanted = f'{{{{.Id}}}} {{{{index .Config.Labels "{VARIANT}"}}}}'
    kept = {containers.docker("inspect", "--format", "{{.Id}}", member["Name"]) for member in fleet}
    for container in containers.owned(record.folder):
        name, _, variant = containers.docker("inspect", "--format", wanted, container).partition(" ")
        if name not in kept:
            server.stop(container, log=log(record.folder, variant), at_once=at_once)
    models = {member["Model"] for member in fleet}
    for folder in record.folder.glob("model-*"):
        if str(folder) not in models:
            shutil.rmtree(folder)


def log(folder: Path, variant: str) -> Path:
    """Return the file with what those of the variant's containers printed that are gone."""
    return folder / (f"log-{variant}" if variant else "log")
