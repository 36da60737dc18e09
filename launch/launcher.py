"""What all launchers share: their common options, and the way from built requests to sent ones."""

import argparse
import json
import sys
from typing import Any

from byoc_vision.contract.errors import UserError
from launch import engine, request_file, validation
from launch.requests import Request


def parser(module: str, doc: str | None, sends: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the options that all launchers share; `doc` is the launcher's docstring."""
    new = argparse.ArgumentParser(
        prog=f"python -m launch.{module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    new.add_argument("--local", action="store_true", help="on this machine instead of AWS")
    if sends:
        new.add_argument(
            "--request", action="append", default=[], metavar="FILE", help="YAML with any other field of the API"
        )
        new.add_argument("--no-wait", action="store_true", help="return once the request was accepted")
        new.add_argument("--dry-run", action="store_true", help="print the requests as JSON and send nothing")
    return new


def positive(text: str) -> int:
    """Return the whole number from 1 up that an option was given."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


class Launch:
    """One launcher's run: its engine, its request files, and the requests as they will be sent."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.engine = engine.pick(options.local)
        self.send = not options.dry_run
        self._overrides = request_file.load(options.request)
        self._unsent: list[tuple[str, str]] = []

    def role(self) -> str:
        """Return the execution role: the request files', else the engine's."""
        return request_file.role(self._overrides) or self.engine.role()

    def place(self, source: str, under: str) -> str:
        """Return the URI at which containers will find `source`; see `Engine.place`.

        It is sent by `finish`, so that a request that is wrong costs no upload.
        """
        self._unsent.append((source, under))
        return self.engine.place(source, under, send=False)

    def finish(self, requests: dict[str, Request]) -> dict[str, Request]:
        """Return `requests` (operation -> arguments) with the request files laid over them, checked.

        What they need of this machine has been uploaded then, unless this is a dry run.
        """
        unused = set(self._overrides) - set(requests) - {"CreateEndpoint", "UpdateEndpoint"}
        if self._overrides and unused == set(self._overrides):
            raise UserError(
                f"the request files hold nothing for {' or '.join(requests)}, only for {', '.join(sorted(unused))}"
            )
        finished = {
            operation: request_file.merged(request, self._overrides.get(operation, {}))
            for operation, request in requests.items()
        }
        # From the last one back: it has the name that the user chose, from which the others' are made.
        for operation, request in reversed(finished.items()):
            validation.check(operation, request)
        while self.send and self._unsent:
            self.engine.place(*self._unsent.pop(0), send=True)
        return finished

    def show(self, requests: dict[str, Request]) -> None:
        """Print the requests as JSON."""
        json.dump(requests, sys.stdout, indent=2)
        print()

    def call(self, operation: str, request: Request) -> dict[str, Any]:
        """Send the request; return the answer."""
        from botocore import xform_name

        return dict(getattr(self.engine.sagemaker, xform_name(operation))(**request))
