"""The model registry: groups of model packages, whose versions are numbered, approved, and deployed by ARN."""

from itertools import count

from byoc_vision.local.store import InvalidError, Record, Request, ServiceError, Store, page, refuse

GROUP = "model-package-group"

#: Fields that UpdateModelPackage changes.
_UPDATED = (
    *("ModelApprovalStatus", "ApprovalDescription", "InferenceSpecification", "SourceUri", "ModelCard"),
    "ModelLifeCycle",
)

#: A field that it changes key by key, and another that it makes longer.
_PROPERTIES, _SPECIFICATIONS = "CustomerMetadataProperties", "AdditionalInferenceSpecifications"


def find(store: Store, name: str) -> Record:
    """Return the model package of that ARN or name, `GROUP/VERSION`."""
    kind, _, version = (
        (name if name.startswith("arn:") else f":model-package/{name}").rpartition(":")[2].rpartition("/")
    )
    group = kind.removeprefix("model-package/")
    record = store.find(kind, version) if kind != group and version.isdigit() and _exists(store, group) else None
    if record is None or name not in (record.arn, f"{group}/{version}"):
        raise InvalidError(f"ModelPackage {name} does not exist.")
    return record


def containers(store: Store, name: str) -> list[Request]:
    """Return the definitions of the containers of the model package of that ARN; it must be approved."""
    description = _describe(find(store, name))
    if description["ModelApprovalStatus"] != "Approved":
        raise InvalidError(f"The model package {name} is {description['ModelApprovalStatus']}.")
    return list(description["InferenceSpecification"]["Containers"])


def _create_group(store: Store, request: Request) -> Request:
    name = request["ModelPackageGroupName"]
    status = {"ModelPackageGroupStatus": "Completed", "CreatedBy": {}}
    record, lock = store.create(GROUP, name, request, used="ValidationException", **status)
    lock.release()
    return {"ModelPackageGroupArn": record.arn}


def _describe_group(record: Record) -> Request:
    return record.request | record.status | {"ModelPackageGroupArn": record.arn}


def _list_groups(store: Store, request: Request) -> Request:
    others = request.get("CrossAccountFilterOption") == "CrossAccount"  # what other accounts share: nothing here
    groups = [] if others else list(store.told(GROUP, _describe_group))
    return page(groups, request, "ModelPackageGroupSummaryList", "", "ModelPackageGroupName")


def _delete_group(store: Store, request: Request) -> Request:
    record = store.find(GROUP, _group_name(request))
    if any(store.all(_kind(record.name))):
        raise ServiceError("ConflictException", f"The model package group {record.name} still has model packages.")
    record.remove()
    return {}


def _create(store: Store, request: Request) -> Request:
    refuse(request, "ModelPackageName", "SourceAlgorithmSpecification", "ValidationSpecification")
    if "ModelPackageGroupName" not in request or "InferenceSpecification" not in request:
        raise InvalidError("A model package needs a ModelPackageGroupName and an InferenceSpecification.")
    group = store.find(GROUP, _group_name(request)).name
    versions = [int(record.name) for record in store.all(_kind(group))]
    status = {
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": []},
        "ModelApprovalStatus": request.get("ModelApprovalStatus", "PendingManualApproval"),
    }
    for version in count(max(versions, default=0) + 1):
        try:
            record, lock = store.create(_kind(group), str(version), request, used="ResourceInUse", **status)
        except ServiceError as error:
            if error.code != "ResourceInUse":  # another client took the number
                raise
            continue
        lock.release()
        break
    return {"ModelPackageArn": record.arn}


def _describe(record: Record) -> Request:
    group = record.kind.rpartition("/")[2]
    identity = {"ModelPackageGroupName": group, "ModelPackageVersion": int(record.name), "ModelPackageArn": record.arn}
    return record.request | record.status | identity | {"ModelPackageName": f"{group}/{record.name}"}


def _list(store: Store, request: Request) -> Request:
    if "ModelPackageGroupName" in request:
        groups = [store.find(GROUP, _group_name(request)).name]
    else:  # by default those are listed that are in no group, of which there are none here
        versioned = request.get("ModelPackageType") in ("Versioned", "Both")
        groups = [record.name for record in store.all(GROUP)] if versioned else []
    packages = [package for group in groups for package in store.told(_kind(group), _describe)]
    wanted = request.get("ModelApprovalStatus")
    packages = [package for package in packages if wanted in (None, package["ModelApprovalStatus"])]
    return page(packages, request, "ModelPackageSummaryList", "", "ModelPackageName")


def _update(store: Store, request: Request) -> Request:
    record = find(store, request["ModelPackageArn"])
    if (lock := record.take()) is None:
        raise ServiceError("ConflictException", f"The model package {record.arn} is being updated.")
    with lock:
        before = _describe(record)
        changed = {field: request[field] for field in _UPDATED if field in request}
        properties = before.get(_PROPERTIES, {}) | request.get(_PROPERTIES, {})
        removed = request.get(f"{_PROPERTIES}ToRemove", [])
        changed[_PROPERTIES] = {key: value for key, value in properties.items() if key not in removed}
        changed[_SPECIFICATIONS] = before.get(_SPECIFICATIONS, []) + request.get(f"{_SPECIFICATIONS}ToAdd", [])
        record.update(**changed)
    return {"ModelPackageArn": record.arn}


def _delete(store: Store, request: Request) -> Request:
    find(store, request["ModelPackageName"]).remove()
    return {}


def _kind(group: str) -> str:
    """Return the kind of the packages in a group: their ARNs end in model-package/GROUP/VERSION."""
    return f"model-package/{group}"


def _group_name(request: Request) -> str:
    return str(request["ModelPackageGroupName"]).rpartition("/")[2]  # an ARN will do


def _exists(store: Store, group: str) -> bool:
    try:
        return bool(store.find(GROUP, group))
    except ServiceError:
        return False


OPERATIONS = {
    "CreateModelPackageGroup": _create_group,
    "DescribeModelPackageGroup": lambda store, request: _describe_group(store.find(GROUP, _group_name(request))),
    "ListModelPackageGroups": _list_groups,
    "DeleteModelPackageGroup": _delete_group,
    "CreateModelPackage": _create,
    "DescribeModelPackage": lambda store, request: _describe(find(store, request["ModelPackageName"])),
    "ListModelPackages": _list,
    "UpdateModelPackage": _update,
    "DeleteModelPackage": _delete,
}
