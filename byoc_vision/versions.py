"""The model registry: groups of numbered versions, each with its job's figures, and approved before it serves.

A version is written GROUP/NUMBER; the name of a group alone means its newest approved version.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError
from byoc_vision.engine import ACCOUNT, VERSION, Engine
from byoc_vision.plan import Plan
from byoc_vision.refusals import unless_missing
from byoc_vision.requests import operations
from byoc_vision.requests.operations import Request
from byoc_vision.trained_model import artifact, serving_image

_GROUP = r"[A-Za-z0-9][A-Za-z0-9-]*"
_VERSION = re.compile(rf"({_GROUP})/([1-9]\d{{0,8}})")


@dataclass(frozen=True, repr=False)
class ModelVersion:
    """A model in the registry. `metrics` are the last figures of the training job that has made it.

    >>> version = Session().register("my-training-job", "dogs")
    >>> version.approve()
    ModelVersion('dogs/1', 'Approved')
    >>> Session().deploy("dogs")
    """

    engine: Engine
    group: str
    number: int
    arn: str
    status: str
    metrics: dict[str, str]
    #: What was sent to register or approve it, or, after a dry run, would have been.
    request: dict[str, Request] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """GROUP/NUMBER."""
        return f"{self.group}/{self.number}"

    def __repr__(self) -> str:
        return f"ModelVersion({self.name!r}, {self.status!r})"

    def approve(self, dry_run: bool = False) -> "ModelVersion":
        """Allow endpoints to serve it; return it as it is then."""
        return self._set("Approved", dry_run)

    def reject(self, dry_run: bool = False) -> "ModelVersion":
        """Forbid that; return it as it is then. Endpoints that serve it go on."""
        return self._set("Rejected", dry_run)

    def _set(self, status: str, dry_run: bool) -> "ModelVersion":
        request = {"ModelPackageArn": self.arn, "ModelApprovalStatus": status}
        if not dry_run:
            self.engine.sagemaker.update_model_package(**request)
        return replace(self, status=self.status if dry_run else status, request={"UpdateModelPackage": request})


def register(plan: Plan, job: str, group: str) -> ModelVersion:
    """Add the model of the training job to the group, which is made where it is missing. See `Session.register`."""
    engine = plan.engine
    described = unless_missing(engine.sagemaker.describe_training_job, TrainingJobName=job) if engine.known else {}
    if described is None:
        raise UserError(f"there is no training job {job!r} {engine.where}; check the name")
    metrics = {metric["MetricName"]: f"{metric['Value']:.6g}" for metric in described.get("FinalMetricDataList", [])}
    properties = {"training_job": job} | metrics
    package = operations.model_package(group, serving_image(engine, job, ""), artifact(plan, job), properties)
    request: dict[str, Request] = {"CreateModelPackage": package}
    if not engine.known or _group(engine, group) is None:
        request = {"CreateModelPackageGroup": {"ModelPackageGroupName": group}} | request
    request = plan.finish(request)
    if not plan.send:
        return ModelVersion(engine, group, 0, "", package["ModelApprovalStatus"], properties, request)
    if "CreateModelPackageGroup" in request:
        plan.call("CreateModelPackageGroup", request["CreateModelPackageGroup"])
    created = engine.sagemaker.create_model_package(**request["CreateModelPackage"])
    return replace(find(engine, created["ModelPackageArn"]), request=request)


def listed(engine: Engine, group: str | None = None) -> list[ModelVersion]:
    """Return the versions of the group, or of all groups, the newest first; raises `UserError` without that group."""
    sagemaker = engine.sagemaker
    if group is None:
        pages = sagemaker.get_paginator("list_model_package_groups").paginate()
        groups = [entry["ModelPackageGroupName"] for page in pages for entry in page["ModelPackageGroupSummaryList"]]
    else:
        if _group(engine, group) is None:
            raise UserError(f"there is no group of models {group!r} {engine.where}; byoc models lists them")
        groups = [group]
    arns = [
        summary["ModelPackageArn"]
        for name in groups
        for page in sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=name)
        for summary in page["ModelPackageSummaryList"]
    ]
    described = [find(engine, arn) for arn in arns]
    return sorted(described, key=lambda version: (version.group, -version.number))


def find(engine: Engine, name: str) -> ModelVersion:
    """Return the version of that name, GROUP/NUMBER or an ARN; raises `UserError` where there is none."""
    arn = name
    if parts := _VERSION.fullmatch(name):
        if not engine.known:
            arn = f"arn:aws:sagemaker:{engine.region}:{ACCOUNT}:model-package/{name}"
            return ModelVersion(engine, parts[1], int(parts[2]), arn, "", {})
        described = _group(engine, parts[1]) or {"ModelPackageGroupArn": ""}
        arn = described["ModelPackageGroupArn"].replace(":model-package-group/", ":model-package/") + f"/{parts[2]}"
    elif not engine.known:
        raise UserError(f"{name!r} is not the name of a version; give GROUP/NUMBER, as dogs/3")
    description = unless_missing(engine.sagemaker.describe_model_package, ModelPackageName=arn)
    if description is None:
        raise UserError(f"there is no version {name!r} of a model {engine.where}; byoc models lists them")
    metrics = dict(description.get("CustomerMetadataProperties", {}))
    group, number = description["ModelPackageGroupName"], int(description["ModelPackageVersion"])
    return ModelVersion(
        engine, group, number, description["ModelPackageArn"], description["ModelApprovalStatus"], metrics
    )


def meant(engine: Engine, model: str) -> str | None:
    """Return the ARN of the approved version that `model` names, if it names one, or a group, and nothing else.

    Raises `UserError` where it may not serve.
    """
    if model == VERSION:  # only the account knows which
        return f"arn:aws:sagemaker:{engine.region}:{ACCOUNT}:model-package/{VERSION}"
    if Path(model).exists():
        return None
    if _VERSION.fullmatch(model):
        chosen = find(engine, model)
        if engine.known and chosen.status != "Approved":
            raise UserError(f"{model} is {chosen.status}; to let it serve: byoc models approve {model}")
        return chosen.arn
    if not engine.known or not re.fullmatch(_GROUP, model):
        return None
    if unless_missing(engine.sagemaker.describe_training_job, TrainingJobName=model) or not _group(engine, model):
        return None
    return newest(engine, model).arn


def newest(engine: Engine, group: str, below: int | None = None) -> ModelVersion:
    """Return the group's newest approved version, or the newest `below` that number; raises `UserError` without one."""
    for version in listed(engine, group):
        if version.status == "Approved" and (below is None or version.number < below):
            return version
    before = "" if below is None else f" before {group}/{below}"
    raise UserError(f"the group {group} has no approved version{before}; byoc models list {group} shows what it has")


def endpoint_described(engine: Engine, name: str) -> dict[str, Any]:
    """Return the service's description of an endpoint; raises `UserError` where there is none."""
    description = unless_missing(engine.sagemaker.describe_endpoint, EndpointName=name)
    if description is None:
        raise UserError(
            f"there is no endpoint {name!r} {engine.where}; check the name, and where it was made; "
            "byoc deploy makes one"
        )
    return description


def served(engine: Engine, endpoint: str) -> tuple[ModelVersion, dict[str, Any]]:
    """Return the version that the endpoint serves, and its variant: the instances on which it does.

    Raises `UserError` where the model came from no registry.
    """
    sagemaker = engine.sagemaker
    config = endpoint_described(engine, endpoint)["EndpointConfigName"]
    variant = dict(sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0])
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    container = (model.get("Containers") or [model.get("PrimaryContainer", {})])[0]
    if "ModelPackageName" not in container:
        raise UserError(f"the endpoint {endpoint} serves no version of the registry; deploy the model that you want")
    return find(engine, container["ModelPackageName"]), variant


def before_served(engine: Engine, endpoint: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the approved version before the one that the endpoint serves, and the endpoint's variant."""
    present, variant = served(engine, endpoint)
    return newest(engine, present.group, below=present.number).name, variant


def _group(engine: Engine, name: str) -> dict[str, Any] | None:
    return unless_missing(engine.sagemaker.describe_model_package_group, ModelPackageGroupName=name)
