"""List the endpoints that byoc deploy has made, each with its state, how to ask it, and how to remove it.

byoc endpoints
byoc endpoints --local
"""

import argparse
import sys

from byoc_vision.cli.launcher import command, opened, parser


def options() -> argparse.ArgumentParser:
    return parser("endpoints", __doc__, sends=False)


def main(arguments: list[str] | None = None) -> int:
    args = options().parse_args(arguments)

    session = opened(args)
    endpoints = session.endpoints()
    if not endpoints:
        print(f"byoc deploy has made no endpoint {session.engine.where}", file=sys.stderr)
    for endpoint in endpoints:
        remove = command(f"deploy --delete --endpoint {endpoint.name} {session.engine.option}")
        print(f"{endpoint.name}  {endpoint.status}", endpoint.curl(), f"to remove it: {remove}", "", sep="\n")
    return 0
