"""The model registry: versions of a model with their figures, approved before they serve, and the way back.

byoc models                              what there is
byoc models register JOB --group dogs    the job's model becomes the next version of the group dogs
byoc models approve dogs/3               or reject
byoc deploy --model dogs                 serves its newest approved version; dogs/3 that one
byoc models rollback                     gives the endpoint the approved version before the one it has
"""

import argparse
import sys
from typing import TYPE_CHECKING

from byoc_vision.cli.launcher import command, opened, parser, show, waiting

if TYPE_CHECKING:
    from byoc_vision.versions import ModelVersion

_ACTIONS = ("list", "register", "approve", "reject", "rollback")


def options() -> argparse.ArgumentParser:
    """Return the command's options."""
    new = parser("models", __doc__)
    new.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help="default: %(default)s")
    new.add_argument("name", nargs="?", metavar="NAME", help="a training job, a version GROUP/N, or a group to list")
    new.add_argument("--group", default="byoc-vision", help="for register: the group (default: %(default)s)")
    new.add_argument("--endpoint", default="byoc-vision", metavar="NAME", help="for rollback (default: %(default)s)")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    options_parser = options()
    given = options_parser.parse_args(arguments)
    if given.action in ("register", "approve", "reject") and not given.name:
        options_parser.error(f"name what to {given.action}")

    session = opened(given)
    option = session.engine.option
    if given.action == "list":
        found = session.models(given.name)
        if not found:
            print(f"there is no version of a model {session.engine.where}", file=sys.stderr)
        _print(found)
    elif given.action == "register":
        version = session.register(given.name, given.group, dry_run=given.dry_run)
        if given.dry_run:
            return show(version.request)
        _print([version])
        print(f"to let it serve: {command(f'models approve {version.name} {option}')}")
    elif given.action == "rollback":
        endpoint = session.rollback(given.endpoint, dry_run=given.dry_run)
        if given.dry_run:
            return show(endpoint.request)
        with waiting("The endpoint goes on being updated."):
            endpoint.wait()
        print(f"the endpoint {endpoint.name} serves {endpoint.version.name}")
    else:
        version = session.model(given.name)
        _print([version.approve() if given.action == "approve" else version.reject()])
    return 0


def _print(versions: "list[ModelVersion]") -> None:
    for version in versions:
        figures = " ".join(f"{name}={value}" for name, value in version.metrics.items())
        print(f"{version.name:<20} {version.status:<22} {figures}")
