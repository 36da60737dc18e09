"""SageMaker as a service on this machine, for any client: the SageMaker SDK, boto3, the AWS command line.

byoc service start
eval "$(byoc service env)"
byoc service stop

It answers on 127.0.0.1. Jobs and endpoints are those of --local, and go on when the service ends.
"""

import argparse
import shlex
import sys

from byoc_vision.cli.launcher import Parser, command, port


def options() -> argparse.ArgumentParser:
    new = Parser(prog=command("service"), description=__doc__)
    actions = new.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, purpose in (("start", "start it in the background"), ("foreground", "serve until Ctrl-C")):
        action = actions.add_parser(name, help=purpose)
        action.add_argument("--port", type=port, help="its port (the last one, else 4545; 0: a free one)")
        action.add_argument("--host", help="its address (127.0.0.1); on another one clients need the token in `env`")
    actions.add_parser("stop", help="end it; jobs and endpoints go on")
    actions.add_parser("status", help="say whether it runs, and where")
    actions.add_parser("env", help="print the variables that lead clients to it")
    return new


def main(arguments: list[str] | None = None) -> int:
    args = options().parse_args(arguments)

    from byoc_vision.contract.errors import UserError
    from byoc_vision.service.daemon import Service

    service = Service()
    if args.action == "foreground":
        service.serve(args.host, args.port)
    elif args.action == "start":
        print(service.start(args.host, args.port).url)
    elif args.action == "stop":
        print("stopped" if service.stop() else "the service does not run")
    elif args.action == "status":
        address = service.address
        print(f"the service runs at {address.url}, process {address.pid}" if address else "the service does not run")
        return 0 if address else 1
    else:
        from byoc_vision.service import env

        if (address := service.address) is None:
            raise UserError(f"the service does not run; start it: {command('service start')}")
        print(f"unset {' '.join(env.UNSET)}")
        for name, value in env.variables(service.root, address.url, address.token).items():
            print(f"export {name}={shlex.quote(value)}")
        if sys.stdout.isatty():
            print(f'# to set them: eval "$({command("service env")})"')
    return 0
