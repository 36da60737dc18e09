"""push.sh's half of the talk with ECR: what docker itself cannot do.

    python -m launch.ecr registry              print the registry to log in to
    python -m launch.ecr password              print its password, which is valid for 12 hours
    python -m launch.ecr repository NAME       create it where it is missing, and print its URI
    python -m launch.ecr record NAME=URI...    remember pushed images for the launchers

Registry names are always the service's own answers, so every partition's suffix is right.
"""

import base64
import sys
from typing import Any

from byoc_vision.contract.errors import UserError
from launch import images
from launch.cloud import Cloud
from launch.errors import code_of, guarded


def repository(ecr: Any, name: str) -> str:
    """Return the URI of the named repository, having created it, with scan on push, where it did not exist."""
    from botocore.exceptions import ClientError

    try:
        return str(ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"])
    except ClientError as error:
        if code_of(error) != "RepositoryNotFoundException":
            raise
    created = ecr.create_repository(repositoryName=name, imageScanningConfiguration={"scanOnPush": True})
    print(f"created the repository {name}", file=sys.stderr)
    return str(created["repository"]["repositoryUri"])


def _authorization(ecr: Any) -> dict[str, str]:
    return dict(ecr.get_authorization_token()["authorizationData"][0])


def main(arguments: list[str] | None = None) -> None:
    """Do what the module's docstring says."""
    command, *names = sys.argv[1:] if arguments is None else arguments
    cloud = Cloud()
    if command == "repository":
        print(repository(cloud.client("ecr"), *names))
    elif command == "registry":
        print(_authorization(cloud.client("ecr"))["proxyEndpoint"].split("://")[-1])
    elif command == "password":
        token = base64.b64decode(_authorization(cloud.client("ecr"))["authorizationToken"]).decode()
        print(token.removeprefix("AWS:"))
    elif command == "record":
        images.record(cloud.account, cloud.region, dict(name.split("=", 1) for name in names))
    else:
        raise UserError(f"there is no command {command!r}; see the head of launch/ecr.py")


if __name__ == "__main__":
    guarded("launch.ecr", main)
