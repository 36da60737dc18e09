"""Ask an endpoint what is in pictures.

byoc predict dog.jpg pictures/ https://example.org/dog.jpg
byoc predict --json pictures/ | jq .
"""

import argparse
import json
import sys

from byoc_vision.cli.launcher import opened, parser, show
from byoc_vision.contract.folders import text


def options() -> argparse.ArgumentParser:
    new = parser("predict", __doc__, sends=False)
    new.add_argument("pictures", nargs="+", metavar="PICTURE", help="file, folder or URL")
    new.add_argument("--endpoint", default="byoc-vision", metavar="NAME", help="default: %(default)s")
    new.add_argument("--json", action="store_true", help="one JSON object a picture, a line each, instead of a table")
    new.add_argument("--dry-run", action="store_true", help="print the requests without their bodies; send nothing")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code: 1 when a picture had no answer."""
    args = options().parse_args(arguments)

    from byoc_vision import pictures
    from byoc_vision.prediction import request

    endpoint = opened(args).endpoint(args.endpoint)
    if args.dry_run:
        shown = [request(endpoint.name, pictures.read(name)) for name in pictures.names(args.pictures)]
        return show({"InvokeEndpoint": [fields | {"Body": f"{len(fields['Body'])} bytes"} for fields in shown]})
    failed = False
    for said in endpoint.predictions(args.pictures):
        failed |= bool(said.error)
        if args.json:
            answer = {"error": said.error} if said.error else said.answer
            escaped = sys.stdout.encoding.lower() != "utf-8"
            print(json.dumps({"picture": text(said.picture)} | answer, ensure_ascii=escaped), flush=True)
        elif said.error:
            print(f"{text(said.picture)}: {said.error}", file=sys.stderr)
        else:
            print(said, flush=True)
    return int(failed)
