"""Serve a model: build CreateModel, CreateEndpointConfig and CreateEndpoint, send them, and wait until it answers.

    byoc deploy --model JOB
    byoc deploy --model s3://bucket/model.tar.gz --endpoint dogs --instance-type ml.g4dn.xlarge
    byoc deploy --model JOB --source DIR       # with another handler script
    byoc deploy --model model.pth --source DIR # a model of any origin, with the code for it
    byoc deploy --model JOB --image serve      # on a CPU with torch, which the default does without
    byoc deploy --model JOB --shadow           # beside the running model: it gets copies of the requests
    byoc deploy --delete --endpoint dogs

An endpoint that runs already is given the new model (UpdateEndpoint): the old one answers until the new one does.
"""

import argparse
import sys

from byoc_vision.cli.launcher import command, opened, parser, port, positive, show, waiting
from byoc_vision.engine import ARRAY, SERVING


def options() -> argparse.ArgumentParser:
    new = parser("deploy", __doc__)
    new.add_argument(
        "--model",
        metavar="JOB|URI|PATH",
        help="a training job; a model.tar.gz: S3 URI or file; a folder or a .pth file",
    )
    new.add_argument("--endpoint", default="byoc-vision", metavar="NAME", help="default: %(default)s")
    new.add_argument("--instance-type", metavar="TYPE", help="default: ml.m5.large")
    new.add_argument("--instance-count", type=positive, default=1, metavar="N", help="default: 1")
    new.add_argument(
        "--serverless",
        nargs="?",
        type=positive,
        const=4096,
        metavar="MB",
        help="no instances; memory in MB (default: 4096)",
    )
    new.add_argument("--image", choices=SERVING, help="default: serve for GPUs, the lean serve-cpu for all else")
    new.add_argument("--port", type=port, metavar="N", help="with --local: a new endpoint's (default: 8080 if free)")
    new.add_argument(
        "--shadow",
        action="store_true",
        help="beside the running model: gets copies of its requests, and answers nobody",
    )
    new.add_argument("--delete", action="store_true", help="remove the endpoint with its configuration and model")
    own = new.add_argument_group("a handler of your own")
    own.add_argument("--source", metavar="DIR", help="folder with the script inference.py, and what it imports")
    return new


def main(arguments: list[str] | None = None) -> int:
    options_parser = options()
    args = options_parser.parse_args(arguments)
    if args.delete == bool(args.model):
        options_parser.error("give either --model or --delete")
    if args.serverless and args.instance_type:
        options_parser.error("give either --serverless or --instance-type")
    if args.shadow and (args.serverless or args.port):
        options_parser.error("a shadow stands beside a model on instances: leave out --serverless and --port")
    if args.port and not args.local:
        options_parser.error("give --port with --local only")

    session = opened(args)
    if args.delete:
        endpoint = session.endpoint(args.endpoint)
        endpoint.delete(args.dry_run)
        if args.dry_run:
            return show(endpoint.request)
        print(f"removed the endpoint {endpoint.name}")
        return 0
    endpoint = session.deploy(
        args.model,
        args.endpoint,
        instance_type=args.instance_type,
        instance_count=args.instance_count,
        serverless=args.serverless,
        image=args.image,
        source=args.source,
        port=args.port,
        shadow=args.shadow,
        dry_run=args.dry_run,
    )
    if args.dry_run:
        return show(endpoint.request)
    if args.no_wait:
        if endpoint.replaced:
            print("the old model and its configuration stay, since they are in use until that is done", file=sys.stderr)
    else:
        remove = command(f"deploy --delete --endpoint {endpoint.name} {session.engine.option}")
        with waiting(f"The endpoint goes on being made. To remove it with all it serves: {remove}"):
            endpoint.wait()
        print(f"the endpoint {endpoint.name} is in service")
    if endpoint.content is ARRAY:
        print(
            "it reads arrays: array.json is the model's input as lists of numbers, [[0.5, …], …]; text/csv, "
            "application/x-npy and application/x-npz are read, too",
            file=sys.stderr,
        )
    print(endpoint.curl())
    return 0
