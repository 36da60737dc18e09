"""Endpoints: one container for each production variant, on loopback ports. `fleets` brings them up."""

import contextlib
import time

from byoc_vision.local import containers, fleets, models, process, server
from byoc_vision.local.store import InvalidError, Record, Request, ServiceError, Store, page, refuse
from byoc_vision.requests import operations

KIND = "endpoint"

#: The port of an endpoint that asks for none, where it is free.
PORT = 8080

#: The field of a variant that holds its number of instances; here it is only told again.
_COUNT = "InitialInstanceCount"


def create(store: Store, request: Request) -> Request:
    """CreateEndpoint: begin to start its containers and return at once."""
    wanted = _wanted(store, request)
    asked, taken = _port(wanted), _taken(store)
    port = server.free_port(0 if (asked or PORT) in taken else asked or PORT)
    if asked not in (None, port):
        raise InvalidError(f"Port {asked} is in use; take another, or end what listens there.")
    status = {"EndpointStatus": "Creating", "Port": port, "Home": port, "Wanted": wanted}
    record, lock = store.create(KIND, request["EndpointName"], request, used="ValidationException", **status)
    process.start(record, lock)
    return {"EndpointArn": record.arn}


def update(store: Store, request: Request) -> Request:
    """UpdateEndpoint: begin to start containers of the new configuration; the old ones serve until those do."""
    refuse(request, "RetainDeploymentConfig")
    _check_deployment(request)
    record = find(store, request["EndpointName"])
    wanted = _wanted(store, request)
    if _port(wanted) not in (None, home := record.status["Home"]):
        raise InvalidError(f"The endpoint {record.name} has port {home} and keeps it; delete it to change that.")
    status = describe(record)["EndpointStatus"]
    lock = record.take() if status == "InService" else None
    if lock is None:
        raise InvalidError(f"Cannot update endpoint {record.name} while it is {status}.")
    if request.get("RetainAllVariantProperties"):
        excluded = {
            exclusion["VariantPropertyType"] for exclusion in request.get("ExcludeRetainedVariantProperties", [])
        }
        _retain(wanted, fleets.serving(record.status), excluded)
    record.update(EndpointStatus="Updating", FailureReason=None, Wanted=wanted)
    process.start(record, lock)
    return {"EndpointArn": record.arn}


def weigh(store: Store, request: Request) -> Request:
    """UpdateEndpointWeightsAndCapacities: at once, since a variant has one container whatever its capacity."""
    record = find(store, request["EndpointName"])
    status = describe(record)["EndpointStatus"]
    lock = record.take() if status == "InService" else None
    if lock is None:
        raise InvalidError(f"Cannot update endpoint {record.name} while it is {status}.")
    with lock:
        fleet = fleets.serving(record.status)
        variants = {member["Variant"]["VariantName"]: member["Variant"] for member in fleet}
        for wanted in request["DesiredWeightsAndCapacities"]:
            if (variant := variants.get(wanted["VariantName"])) is None:
                raise InvalidError(f"The endpoint {record.name} has no variant {wanted['VariantName']}.")
            for field, name in (("DesiredWeight", "InitialVariantWeight"), ("DesiredInstanceCount", _COUNT)):
                if field in wanted:
                    variant[name] = wanted[field]
            if "ServerlessUpdateConfig" in wanted:
                variant["ServerlessConfig"] = variant.get("ServerlessConfig", {}) | wanted["ServerlessUpdateConfig"]
        record.update(Serving=fleet)
    return {"EndpointArn": record.arn}


def delete(store: Store, request: Request) -> Request:
    """DeleteEndpoint: end its containers and forget it."""
    record = find(store, request["EndpointName"])
    containers.answered("version")  # without Docker its containers would outlive it
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


def describe(record: Record) -> Request:
    """Return DescribeEndpoint's answer."""
    status = record.status
    if status["EndpointStatus"] in ("Creating", "Updating") and (lock := record.take()):
        with lock:
            if record.status["EndpointStatus"] in ("Creating", "Updating"):
                reason = "The process that started the container was killed, or the machine was restarted."
                fleets.give_up(record, reason)
        status = record.status
    fleet = fleets.serving(status)
    if dead := [member for member in fleet if not containers.running(member["Name"])]:
        reason = f"The container of the variant {dead[0]['Variant']['VariantName']} does not run."
        status |= {"EndpointStatus": "Failed", "FailureReason": reason}
    answer = record.request | {"EndpointArn": record.arn} | status
    if fleet:
        answer |= _variants(fleet)
    if shifting := status.get("Next"):
        config = {"EndpointConfigName": status["Wanted"]["EndpointConfigName"]}
        answer["PendingDeploymentSummary"] = config | _variants(shifting["Fleet"])
    if capture := status.get("Capture"):
        answer["DataCaptureConfig"] = {
            "EnableCapture": True,
            "CaptureStatus": "Started",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": capture.get("KmsKeyId", ""),
        }
    return answer


def _variants(fleet: list[Request]) -> Request:
    """Return what DescribeEndpoint says of a fleet."""
    shadows = [_described(member) for member in fleet if fleets.is_shadow(member)]
    answer = {"ProductionVariants": [_described(member) for member in fleet if not fleets.is_shadow(member)]}
    return answer | ({"ShadowProductionVariants": shadows} if shadows else {})


def _described(member: Request) -> Request:
    """Return what DescribeEndpoint says of a variant."""
    variant, weight = member["Variant"], fleets.weight(member)
    summary = {"VariantName": variant["VariantName"], "CurrentWeight": weight, "DesiredWeight": weight}
    if image := member["Container"].get("Image"):
        summary["DeployedImages"] = [{"SpecifiedImage": image, "ResolvedImage": image}]
    if serverless := variant.get("ServerlessConfig"):
        return summary | {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
    count = variant.get(_COUNT, 1)
    return summary | {"CurrentInstanceCount": count, "DesiredInstanceCount": count}


def _check_deployment(request: Request) -> None:
    deployment = request.get("DeploymentConfig", {})
    refuse(deployment, "RollingUpdatePolicy")
    # There are no alarms here, so none would ever roll a deployment back.
    refuse(deployment.get("AutoRollbackConfiguration", {}), "Alarms")


def _wanted(store: Store, request: Request) -> Request:
    """Return what is to be brought up. It is looked up now: the configuration may be deleted before it is needed."""
    config = store.find(models.CONFIG, request["EndpointConfigName"]).request
    capture = config.get("DataCaptureConfig", {})
    return {
        "EndpointConfigName": config["EndpointConfigName"],
        "Variants": [
            {"Variant": variant, "Container": models.container(store, variant["ModelName"])} | role
            for field, role in (("ProductionVariants", {}), ("ShadowProductionVariants", {"Shadow": True}))
            for variant in config.get(field, [])
        ],
        "Deployment": request.get("DeploymentConfig", {}),
        "Fields": {
            "AsyncInferenceConfig": config.get("AsyncInferenceConfig"),
            "Capture": capture if capture.get("EnableCapture") else None,
        },
    }


def _retain(wanted: Request, fleet: list[Request], excluded: set[str]) -> None:
    """Let the wanted variants have what was changed of those of the same names since they were made."""
    old = {member["Variant"]["VariantName"]: member["Variant"] for member in fleet}
    for variant in wanted["Variants"]:
        before = old.get(variant["Variant"]["VariantName"], {})
        for kind, field in (("DesiredWeight", "InitialVariantWeight"), ("DesiredInstanceCount", _COUNT)):
            if field in before and kind not in excluded:
                variant["Variant"][field] = before[field]


def _port(wanted: Request) -> int | None:
    """Return the port that the first model's container asks for, if it does."""
    asked = fleets.asked_port(wanted["Variants"][0]["Container"])
    if asked and not (asked.isascii() and asked.isdigit() and 1 <= int(asked) <= 65535):
        raise InvalidError(f"Port {asked!r} is none; give a number from 1 to 65535.")
    return int(asked) if asked else None


def _taken(store: Store) -> set[int]:
    """Return the ports of all endpoints, whether or not their containers listen there yet."""
    ports = set()
    for record in store.all(KIND):
        with contextlib.suppress(ServiceError):  # it is being deleted
            ports.add(record.status["Home"])
    return ports


def find(store: Store, name: str) -> Record:
    """Return the endpoint's record; where that is gone and a container of it is not, a new one."""
    if not (store.root / KIND / name).exists() and name in containers.orphans(KIND):
        return _adopted(store, name)
    return store.find(KIND, name)


def _adopted(store: Store, name: str) -> Record:
    fleet = [fleets.adopted(container) for container in containers.owned(store.root / KIND / name)]
    request = {"EndpointName": name, "EndpointConfigName": operations.new_name(name)}
    port = fleet[0]["Port"]
    status: Request = {"EndpointStatus": "InService", "Port": port, "Home": port, "Serving": fleet}
    record, lock = store.create(KIND, name, request, **status)
    lock.release()
    return record


def _list(store: Store, request: Request) -> Request:
    for name in containers.orphans(KIND):
        find(store, name)
    return page(list(store.told(KIND, describe)), request, "Endpoints", "EndpointStatus", "EndpointName")


OPERATIONS = {
    "CreateEndpoint": create,
    "UpdateEndpoint": update,
    "UpdateEndpointWeightsAndCapacities": weigh,
    "DescribeEndpoint": lambda store, request: describe(find(store, request["EndpointName"])),
    "ListEndpoints": _list,
    "DeleteEndpoint": delete,
}
