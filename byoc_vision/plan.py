"""The way from built requests to sent ones: the user's own fields, the service's checks, and what is to be uploaded."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError
from byoc_vision.engine import Engine
from byoc_vision.requests import request_file, search_space, validation
from byoc_vision.requests.operations import Request


class Plan:
    """Requests for an engine, with the fields of the request files; `send` is false for a dry run."""

    def __init__(self, engine: Engine, request_files: Iterable[str | Path], send: bool) -> None:
        self.engine = engine
        self.send = send
        self._overrides = request_file.load(request_files)
        self._unsent: list[tuple[str, str, bool]] = []

    def role(self) -> str:
        """Return the execution role: the request files', else the engine's."""
        return request_file.role(self._overrides) or self.engine.role()

    def field(self, *path: str) -> Any:
        """Return what the request files say of a field (operation, field, field in that, …); None without a word."""
        value: Any = self._overrides
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def output(self, wanted: str | None) -> str:
        """Return the URI that results go to, `wanted` or the engine's own, without a slash at its end."""
        if wanted and not re.match(r"\w+://[^/]|file:///.", wanted):
            raise UserError(f"results cannot go to {wanted!r}; give s3://BUCKET/FOLDER, or with --local file:///FOLDER")
        return (wanted or self.engine.output()).rstrip("/")

    def place(self, source: str, under: str, pictures: bool = False) -> str:
        """Return the URI at which containers will find `source`; see `Engine.place`.

        It is sent by `finish`, so that a request that is wrong costs no upload.
        """
        if not source.strip():
            raise UserError("nothing is given where a folder, a file or an S3 URI is wanted; name one")
        self._unsent.append((source, under, pictures))
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
            _check_hyperparameters(request, requests[operation])
        while self.send and self._unsent:
            source, under, pictures = self._unsent.pop(0)
            self.engine.place(source, under, send=True, pictures=pictures)
        return finished

    def call(self, operation: str, request: Request) -> None:
        """Send the request, unless this is a dry run."""
        if self.send:
            from botocore import xform_name

            getattr(self.engine.sagemaker, xform_name(operation))(**request)


def _check_hyperparameters(request: Request, built: Request) -> None:
    """Raise `UserError` for hyperparameters that a job of this project's training would refuse.

    The request files may have put another image or a program in the place of what the request was `built` with.
    """
    job, ours = (fields.get("TrainingJobDefinition", fields) for fields in (request, built))
    algorithm = job.get("AlgorithmSpecification", {})
    values = job.get("HyperParameters", {}) | job.get("StaticHyperParameters", {})
    if (
        algorithm.get("TrainingImage") == ours.get("AlgorithmSpecification", {}).get("TrainingImage")
        and "ContainerEntrypoint" not in algorithm
        and "sagemaker_program" not in values
        and "SAGEMAKER_PROGRAM" not in job.get("Environment", {})
    ):
        ranges = request.get("HyperParameterTuningJobConfig", {}).get("ParameterRanges", {})
        search_space.check(ranges, {name: value for name, value in values.items() if not name.startswith("sagemaker_")})
