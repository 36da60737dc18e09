"""Show which images were pushed to the registry; push.sh needs the other actions.

byoc images                        print the images that were pushed, which requests will name
byoc images registry               print the registry to log in to
byoc images password               print its password, which is valid for 12 hours
byoc images repository NAME        create the repository where it is missing, and print its URI
byoc images record NAME=URI...     remember pushed images
"""

import argparse
import sys

from byoc_vision.cli.launcher import Parser, command
from byoc_vision.cli.screen import tell

_ACTIONS = ("list", "registry", "password", "repository", "record")


def options() -> argparse.ArgumentParser:
    new = Parser(prog=command("images"), description=__doc__)
    new.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help="default: %(default)s")
    new.add_argument("names", nargs="*", metavar="NAME", help="a repository's name, or NAME=URI")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    options_parser = options()
    args = options_parser.parse_args(arguments)
    if args.action == "repository" and len(args.names) != 1:
        options_parser.error("name one repository")
    if args.action == "record" and not (args.names and all("=" in name for name in args.names)):
        options_parser.error("name the images that were pushed, as NAME=URI")
    if args.action not in ("repository", "record") and args.names:
        options_parser.error(f"{args.action} takes no name")

    from byoc_vision.aws import ecr, images
    from byoc_vision.aws.cloud import Cloud

    tell()
    cloud = Cloud()
    if args.action == "list":
        pushed = images.all_of()
        if not pushed:
            print("no images were pushed from here; run ./push.sh", file=sys.stderr)
        for place, uris in pushed.items():
            print(*(f"{place}  {uri}" for uri in uris.values()), sep="\n")
    elif args.action == "record":
        images.record(cloud.account, cloud.region, dict(name.split("=", 1) for name in args.names))
    elif args.action == "repository":
        print(ecr.repository(cloud.client("ecr"), *args.names))
    else:
        print({"registry": ecr.registry, "password": ecr.password}[args.action](cloud.client("ecr")))
    return 0
