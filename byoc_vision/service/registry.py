"""ECR: the images that this machine has, as repositories."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from byoc_vision.local import containers
from byoc_vision.local.store import ACCOUNT, REGION, ServiceError
from byoc_vision.service.message import Call, Reply, checked, json_reply

_HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


def answer(call: Call) -> Reply:
    """Answer a request."""
    operation = call.headers.get("x-amz-target", "").rpartition(".")[2]
    if operation not in _OPERATIONS:
        raise ServiceError("UnknownOperationException", f"ECR on this machine has no {operation}.")
    request = checked("ecr", operation, call, "InvalidParameterException")
    if request.get("registryId", ACCOUNT) != ACCOUNT:
        raise ServiceError("RepositoryNotFoundException", f"This machine is the registry {ACCOUNT} only.")
    return json_reply(_OPERATIONS[operation](request))


def _token(request: dict[str, Any]) -> dict[str, Any]:
    data = {
        "authorizationToken": base64.b64encode(b"AWS:local").decode(),
        "expiresAt": (datetime.now(UTC) + timedelta(hours=12)).timestamp(),
        "proxyEndpoint": f"https://{_HOST}",
    }
    return {"authorizationData": [data]}


def _repositories(request: dict[str, Any]) -> dict[str, Any]:
    names = sorted({image["Repository"] for image in _images()})
    wanted = request.get("repositoryNames", names)
    if missing := sorted(set(wanted) - set(names)):
        raise ServiceError("RepositoryNotFoundException", f"This machine has no image {missing[0]}.")
    return {
        "repositories": [
            {
                "repositoryName": name,
                "repositoryArn": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}",
                "registryId": ACCOUNT,
                "repositoryUri": name,
            }
            for name in wanted
        ]
    }


def _tags(request: dict[str, Any]) -> dict[str, Any]:
    repository = request["repositoryName"]
    images: dict[str, dict[str, Any]] = {}  # by their ids
    for image in _images():
        if image["Repository"] == repository:
            detail = {"registryId": ACCOUNT, "repositoryName": repository, "imageDigest": image["ID"], "imageTags": []}
            made = datetime.strptime(image["CreatedAt"][:25], "%Y-%m-%d %H:%M:%S %z").timestamp()
            images.setdefault(image["ID"], detail | {"imagePushedAt": made})["imageTags"].append(image["Tag"])
    if not images:
        raise ServiceError("RepositoryNotFoundException", f"This machine has no image {repository}.")
    wanted = request.get("imageIds", [{"imageDigest": digest} for digest in images])
    known = {name: image for image in images.values() for name in (image["imageDigest"], *image["imageTags"])}
    names = [identity.get("imageDigest") or identity.get("imageTag", "") for identity in wanted]
    if missing := [name for name in names if name not in known]:
        raise ServiceError("ImageNotFoundException", f"This machine has no image {repository}:{missing[0]}.")
    if request.get("filter", {}).get("tagStatus") == "UNTAGGED":  # of which none are told
        names = []
    return {"imageDetails": [known[name] for name in names]}


def _images() -> list[dict[str, str]]:
    lines = containers.answered("image", "ls", "--no-trunc", "--format", "{{json .}}").splitlines()
    images = (json.loads(line) for line in lines)
    return [image for image in images if "<none>" not in (image["Repository"], image["Tag"])]


_OPERATIONS = {
    "GetAuthorizationToken": _token,
    "DescribeRepositories": _repositories,
    "DescribeImages": _tags,
}
