"""The local engine as tests use it: jobs so small that they take seconds, and a client whose answers are checked.

Every answer is held against the service's own model (botocore's): its fields are there, and of the right type.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.validate import ParamValidator

from byoc_vision.local.machine import Machine
from byoc_vision.requests import operations
from tests.e2e import small_training
from tests.e2e.small_training import ENVIRONMENT

SETTINGS = small_training.SETTINGS | {"epochs": "2"}
FOREVER = SETTINGS | {"epochs": "5000", "patience": "5000"}


class Checked:
    """A client whose every answer is held against the operation's output shape."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            answer = getattr(self._client, method)(**arguments)
            shape = self._client.meta.service_model.operation_model(self._client.meta.method_to_api_mapping[method])
            if shape.output_shape is not None:
                content = {field: value for field, value in answer.items() if field != "ResponseMetadata"}
                report = ParamValidator().validate(content, shape.output_shape).generate_report()
                # Required by the model, and yet not there in the service either until there are any.
                lines = [line for line in report.splitlines() if '"ModelArtifacts"' not in line]
                assert not lines, report
            return answer

        return call


class Local:
    """The engine with what the tests do again and again."""

    def __init__(self, root: Path, pictures: Path) -> None:
        self.engine = Machine(root)
        self.sagemaker = Checked(self.engine.sagemaker)
        self.data = self.engine.place(str(pictures), self.engine.output(), send=True)

    def training_job(self, name: str, settings: dict[str, str] = SETTINGS, **more: Any) -> dict[str, Any]:
        engine = self.engine
        channels, output = {"training": self.data}, engine.output()
        request = operations.training_job(
            name, engine.image("train"), engine.role(), channels, settings, output, "local", **more
        )
        return request | {"Environment": ENVIRONMENT}

    def train(self, name: str, settings: dict[str, str] = SETTINGS, **more: Any) -> dict[str, Any]:
        """Run a training job to its end and return its description."""
        self.sagemaker.create_training_job(**self.training_job(name, settings, **more))
        return self.ended("TrainingJob", name)

    def describe(self, kind: str, name: str) -> dict[str, Any]:
        operation = {"HyperParameterTuningJob": "hyper_parameter_tuning_job", "TrainingJob": "training_job"}
        method = f"describe_{operation.get(kind, 'transform_job')}"
        return dict(getattr(self.sagemaker, method)(**{f"{kind}Name": name}))

    def ended(self, kind: str, name: str) -> dict[str, Any]:
        """Wait for a job's end and return its description."""
        while (job := self.describe(kind, name))[f"{kind}Status"] in ("InProgress", "Stopping"):
            time.sleep(0.5)
        return job

    def wait_for_line(self, name: str, text: str, count: int = 1) -> None:
        """Wait until the training job has logged `count` lines with the text."""
        new_lines, found = self.engine.logs("training", name), 0
        while found < count:
            found += sum(text in line for line in new_lines())
            job = self.describe("TrainingJob", name)
            assert job["TrainingJobStatus"] == "InProgress", job
            time.sleep(0.2)

    def deployed(self, endpoint: str) -> dict[str, Any]:
        """Wait until the endpoint is what was last asked for, or failed, and return its description."""
        while (found := self.sagemaker.describe_endpoint(EndpointName=endpoint))["EndpointStatus"] in (
            "Creating",
            "Updating",
        ):
            time.sleep(0.5)
        return dict(found)

    def create_config(self, name: str, artifact: str) -> None:
        engine = self.engine
        self.sagemaker.create_model(**operations.model(name, engine.image("serve"), engine.role(), artifact))
        self.sagemaker.create_endpoint_config(**operations.endpoint_config(name, name, "local"))

    def ask(self, endpoint: str, picture: bytes) -> dict[str, Any]:
        answer = self.engine.runtime.invoke_endpoint(EndpointName=endpoint, ContentType="image/jpeg", Body=picture)
        assert answer["ContentType"] == "application/json"
        return dict(json.loads(answer["Body"].read()))

    def kill(self, kind: str, name: str) -> None:
        """Kill the process that sees a job through, as no process can prevent."""
        command = f"byoc_vision.local.process {self.engine.root} {kind} {name}"
        for pid in subprocess.check_output(["pgrep", "--full", command], text=True).split():
            os.kill(int(pid), signal.SIGKILL)
