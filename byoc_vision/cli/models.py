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
    new = parser("models", __doc__)
    new.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help="default: %(default)s")
    new.add_argument("name", nargs="?", metavar="NAME", help="a training job, a version GROUP/N, or a group to list")
    new.add_argument("--group", default="byoc-vision", help="for register: the group (default: %(default)s)")
    new.add_argument("--endpoint", default="byoc-vision", metavar="NAME", help="for rollback (default: %(default)s)")
    return new


def main(arguments: list[str] | None = None) -> int:
    options_parser = options()
    args = options_parser.parse_args(arguments)
    if args.action in ("register", "approve", "reject") and not args.name:
        options_parser.error(f"name what to {args.action}")
    if args.action == "rollback" and args.name:
        options_parser.error(
            f"rollback takes no name but --endpoint; to serve {args.name}: byoc deploy --model {args.name}"
        )

    session = opened(args)
    option = session.engine.option
    if args.action == "list":
        versions = session.models(args.name)
        if not versions:
            print(f"there is no version of a model {session.engine.where}", file=sys.stderr)
        _print(versions)
    elif args.action == "register":
        version = session.register(args.name, args.group, dry_run=args.dry_run)
        if args.dry_run:
            return show(version.request)
        _print([version])
        print(f"to let it serve: {command(f'models approve {version.name} {option}')}")
    elif args.action == "rollback":
        endpoint = session.rollback(args.endpoint, dry_run=args.dry_run)
        if args.dry_run:
            return show(endpoint.request)
        if args.no_wait:
            print(f"the endpoint {endpoint.name} is being updated; what it served stays in use until that is done")
        else:
            with waiting("The endpoint goes on being updated."):
                endpoint.wait()
            print(f"the endpoint {endpoint.name} serves {endpoint.version.name}")
    else:
        version = session.model(args.name, dry_run=args.dry_run)
        version = version.approve(args.dry_run) if args.action == "approve" else version.reject(args.dry_run)
        if args.dry_run:
            return show(version.request)
        _print([version])
    return 0


def _print(versions: "list[ModelVersion]") -> None:
    for version in versions:
        figures = " ".join(f"{name}={value}" for name, value in version.metrics.items())
        print(f"{version.name:<20} {version.status:<22} {figures}")
