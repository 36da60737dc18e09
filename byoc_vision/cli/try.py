"""Try a model in the browser: drop pictures, see the answers, keep those that are wrong for the next training.

byoc try                                   asks the endpoint byoc-vision
byoc try my-endpoint --keep more-pictures
byoc try --local --model JOB               serves the model for as long as the page is open

The page is for this machine only. An endpoint in AWS is asked with your own credentials, which stay here.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from byoc_vision.cli.launcher import browse, opened, parser, path, port

if TYPE_CHECKING:
    from byoc_vision.endpoint import Endpoint
    from byoc_vision.session import Session


def options() -> argparse.ArgumentParser:
    new = parser("try", __doc__, sends=False)
    new.add_argument("endpoint", nargs="?", default="byoc-vision", metavar="ENDPOINT", help="default: %(default)s")
    new.add_argument("--model", help="with --local: a model instead, as byoc deploy takes it")
    new.add_argument("--keep", type=path, default="kept", metavar="FOLDER", help="for pictures to keep (%(default)s)")
    new.add_argument("--port", type=port, default=0, metavar="N", help="the page's (default: any that is free)")
    new.add_argument("--no-open", action="store_true", help="only print the page's address")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say, until Ctrl-C; return the exit code."""
    options_parser = options()
    args = options_parser.parse_args(arguments)
    if args.model and not args.local:
        options_parser.error("give --model with --local only; in AWS, byoc deploy makes an endpoint of it")

    from byoc_vision.demo.kept import Kept
    from byoc_vision.demo.server import Demo

    session = opened(args)
    asked: contextlib.AbstractContextManager[Endpoint] = contextlib.nullcontext(session.endpoint(args.endpoint))
    with _serving(session, args.model) if args.model else asked as endpoint:
        status = endpoint.status  # an endpoint that is not there is said now
        if status not in ("InService", "Updating"):
            print(f"the endpoint {endpoint.name} is {status}, so it may not answer", file=sys.stderr)
        with Demo(endpoint.answer, endpoint.name, session.engine.where, Kept(args.keep), args.port) as demo:
            print(f"the page is {demo.url}", "Ctrl-C ends it", sep="\n", flush=True)
            if not args.no_open:
                browse(demo.url)
            with contextlib.suppress(KeyboardInterrupt):
                demo.serve_forever(0.1)
    return 0


@contextlib.contextmanager
def _serving(session: "Session", model: str) -> Iterator["Endpoint"]:
    """Serve a model on this machine; remove its endpoint at the end."""
    from byoc_vision.requests.operations import new_name

    endpoint = session.deploy(model, new_name("try"))
    try:
        yield endpoint.wait()
    finally:
        endpoint.delete()
