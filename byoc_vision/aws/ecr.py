"""What of the talk with the registry (ECR) docker itself cannot do.

Registry names are always the service's own answers, so every partition's suffix is right.
"""

import base64
import logging
from typing import Any

from byoc_vision.refusals import code_of

_log = logging.getLogger(__name__)


def repository(ecr: Any, name: str) -> str:
    """Return the URI of the named repository, having created it, with scan on push, where it did not exist."""
    from botocore.exceptions import ClientError

    try:
        return str(ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"])
    except ClientError as error:
        if code_of(error) != "RepositoryNotFoundException":
            raise
    created = ecr.create_repository(repositoryName=name, imageScanningConfiguration={"scanOnPush": True})
    _log.info("created the repository %s", name)
    return str(created["repository"]["repositoryUri"])


def registry(ecr: Any) -> str:
    """Return the registry to log in to."""
    return str(_authorization(ecr)["proxyEndpoint"].split("://")[-1])


def password(ecr: Any) -> str:
    """Return the registry's password, which is valid for 12 hours."""
    return base64.b64decode(_authorization(ecr)["authorizationToken"]).decode().removeprefix("AWS:")


def _authorization(ecr: Any) -> dict[str, str]:
    return dict(ecr.get_authorization_token()["authorizationData"][0])
