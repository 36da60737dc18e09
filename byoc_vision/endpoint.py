"""Endpoints: made, replaced, asked and removed with the configuration and the model that were made for them."""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from byoc_vision import prediction, versions
from byoc_vision.contract.errors import UserError, one_line
from byoc_vision.engine import ACCOUNT, PICTURE, VERSION, Engine, Target
from byoc_vision.pictures import Picture
from byoc_vision.plan import Plan
from byoc_vision.prediction import Prediction
from byoc_vision.refusals import unless_missing
from byoc_vision.requests import operations
from byoc_vision.requests.operations import Request
from byoc_vision.trained_model import artifact, content, serving_image
from byoc_vision.versions import ModelVersion

_log = logging.getLogger(__name__)


class FailedError(UserError):
    """A job failed or was stopped, or an endpoint did not start; `log` has the last lines that it printed."""

    def __init__(self, sentence: str, log: Iterable[str] = ()) -> None:
        super().__init__(sentence)
        self.log = list(log)


def pauses(longest: float) -> Iterator[float]:
    """Yield seconds to pause between looks: a tenth of the time so far, and `longest` at most."""
    seconds = 0.5
    while True:
        yield seconds
        seconds = min(longest, seconds * 1.1)


class Endpoint:
    """A model that answers requests. `request` is what was sent for it, or, after a dry run, would have been.

    >>> endpoint = Session(local=True).deploy("my-training-job").wait()
    >>> endpoint.predict("dog.jpg").label
    'dog'
    >>> endpoint.delete()
    """

    def __init__(
        self, engine: Engine, name: str, request: Mapping[str, Request] | None = None, sent: bool = True
    ) -> None:
        self._engine = engine
        self._sent = sent
        self.name = name
        self.request = dict(request or {})
        #: The configuration that a running endpoint had before: it is in use until the new one is.
        self.replaced: str | None = None
        #: What it can be asked with, as far as `deploy` could see.
        self.content = PICTURE

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def status(self) -> str:
        """InService, Creating, Updating, Failed …"""
        return str(versions.endpoint_described(self._engine, self.name)["EndpointStatus"])

    @property
    def version(self) -> ModelVersion:
        """The version of the model registry that it serves; raises `UserError` where it serves another model."""
        return versions.served(self._engine, self.name)[0]

    @property
    def is_ours(self) -> bool:
        """Whether `deploy` has made it, and it is still there."""
        description = _describe(self._engine, self.name)
        return description is not None and _is_ours(self.name, description)

    def wait(self) -> Self:
        """Wait until it answers with its newest model; raises `FailedError` with the reason when it will not."""
        if not self._sent:
            raise UserError(f"the endpoint {self.name} is a dry run's, so nothing was sent; deploy without dry_run")
        logs = self._engine.logs("endpoint", self.name)
        for pause in pauses(self._engine.longest_pause):
            description = self._engine.sagemaker.describe_endpoint(EndpointName=self.name)
            if description["EndpointStatus"] in ("InService", "Failed", "OutOfService", "UpdateRollbackFailed"):
                break
            time.sleep(pause)
        name, now = self.name, description["EndpointConfigName"]
        config = self.request.get("CreateEndpointConfig", {}).get("EndpointConfigName", now)
        if description["EndpointStatus"] == "InService" and now == config:
            if self.replaced:
                _retire(self._engine, self.replaced, now)
                self.replaced = None
            return self
        reason = one_line(description.get("FailureReason", "the service gives no reason").rstrip("."), None)
        said = f"the endpoint {name} did not start: {reason}; delete it, or deploy again, which replaces it"
        if description["EndpointStatus"] == "InService":
            _remove_config(self._engine, config, [self.request["CreateModel"]["ModelName"]])
            said = f"the endpoint {name} went on with its old model, because the new one did not start: {reason}"
        raise FailedError(said, logs()[-15:])

    def predict(self, picture: str | Path) -> Prediction:
        """Return what the endpoint says of the picture, a file or a URL. Raises `UserError` where it says nothing."""
        return prediction.ask(self._engine.runtime, self.name, str(picture))

    def answer(self, picture: Picture) -> dict[str, Any]:
        """Return the endpoint's answer about a picture that was read; raises `UserError` where it gives none."""
        return prediction.answer(self._engine.runtime, self.name, picture)

    def predictions(self, pictures: Iterable[str | Path]) -> Iterator[Prediction]:
        """Yield what the endpoint says of each file, URL, and picture in a folder; several are under way at a time.

        A picture that is refused has a prediction, too, whose `error` says why.
        """
        return prediction.ask_all(self._engine.runtime, self.name, map(str, pictures))

    def curl(self) -> str:
        """Return a command line that sends picture.jpg to the endpoint, or array.json, where its model reads arrays."""
        return self._engine.curl(self.name, self.content)

    def delete(self, dry_run: bool = False) -> None:
        """Remove the endpoint, its configuration and its model; of a dry run there is only the `request`."""
        engine, name = self._engine, self.name
        self.request = {"DeleteEndpoint": {"EndpointName": name}}
        if dry_run and not engine.sketch().known:
            return
        description = versions.endpoint_described(engine, name)
        if not _is_ours(name, description):
            raise UserError(f"the endpoint {name!r} was not made by byoc-vision; delete it where it was made")
        self.request = {"DeleteEndpoint": {"EndpointName": name}}
        if not dry_run:
            _remove(engine, name, description["EndpointConfigName"])


def deploy(
    plan: Plan,
    model: str,
    name: str,
    instance_type: str | None,
    instance_count: int,
    serverless: int | None,
    image: Target | None,
    source: str | Path | None,
    port: int | None,
    shadow: bool = False,
) -> Endpoint:
    """Create the endpoint, or give the running one the new model, in place of its own or as a shadow.

    See `Session.deploy`.
    """
    engine = plan.engine
    old = _describe(engine, name) if engine.known else None
    _refuse_if_taken(name, old)
    replaces = old is not None and old["EndpointStatus"] == "InService"
    version = operations.new_name(name)
    running = _running(engine, name, old if replaces else None) if shadow else {}
    if running:
        instance_type = instance_type or running["ProductionVariants"][0]["InstanceType"]
    if serverless:
        instance_type = ""
        config = operations.serverless_config(version, version, serverless)
    else:
        instance_type = engine.instance_type(instance_type or "ml.m5.large")
        config = operations.endpoint_config(version, version, instance_type, instance_count)
    if running:
        config = operations.with_shadow(running, config)
    last = "UpdateEndpoint" if replaces or shadow or model == VERSION else "CreateEndpoint"
    if arn := versions.meant(engine, model):
        if source or image:
            raise UserError(f"{model} is served as it was registered; leave --source and --image out")
        create_model = operations.registered_model(version, arn, plan.role(), port)
    else:
        container = serving_image(engine, model, instance_type, image)
        create_model = operations.model(version, container, plan.role(), artifact(plan, model, source), port)
    request = plan.finish(
        {
            "CreateModel": create_model,
            "CreateEndpointConfig": config,
            last: operations.endpoint(name, version),
        }
    )
    made = Endpoint(engine, name, request, plan.send)
    if not arn:
        made.content = content(engine, model, source)
    if not plan.send:
        return made
    if old and not replaces:  # it failed, and serves nothing
        _remove(engine, name, old["EndpointConfigName"])
    with contextlib.ExitStack() as undo:
        for operation, fields in request.items():
            plan.call(operation, fields)
            if operation == "CreateModel":
                undo.callback(engine.sagemaker.delete_model, ModelName=fields["ModelName"])
            if operation == "CreateEndpointConfig":
                undo.callback(engine.sagemaker.delete_endpoint_config, EndpointConfigName=fields["EndpointConfigName"])
        undo.pop_all()
    _log.info("%s the endpoint %s", "updating" if replaces else "creating", name)
    if replaces and old:
        made.replaced = old["EndpointConfigName"]
    return made


def _describe(engine: Engine, name: str) -> dict[str, Any] | None:
    return unless_missing(engine.sagemaker.describe_endpoint, EndpointName=name)


def _running(engine: Engine, name: str, endpoint: dict[str, Any] | None) -> Request:
    """Return the configuration of the running endpoint, which a shadow variant is to stand beside."""
    if not engine.known:
        return operations.endpoint_config(ACCOUNT, ACCOUNT, "ml.m5.large")
    if endpoint is None:
        raise UserError(
            f"no endpoint {name!r} is in service {engine.where}, which a shadow can stand beside; deploy one"
        )
    config = dict(engine.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"]))
    variants = config["ProductionVariants"]
    if "AsyncInferenceConfig" in config or len(variants) != 1 or "InstanceType" not in variants[0]:
        raise UserError(f"the endpoint {name!r} is not one model on instances, which a shadow can stand beside")
    return config


def _is_ours(name: str, endpoint: dict[str, Any]) -> bool:
    """Whether the endpoint's configuration has the kind of name that `deploy` gives."""
    return operations.is_made_from(name, endpoint["EndpointConfigName"])


def _refuse_if_taken(name: str, endpoint: dict[str, Any] | None) -> None:
    if endpoint is None:
        return
    if not _is_ours(name, endpoint):
        raise UserError(f"the endpoint name {name!r} is in use by something else; take another one")
    if endpoint["EndpointStatus"] not in ("InService", "Failed"):
        raise UserError(f"the endpoint {name!r} is {endpoint['EndpointStatus']}; wait until that is done and try again")


def _remove(engine: Engine, name: str, config: str) -> None:
    models = _models(engine, config)  # only the configuration knows them
    engine.sagemaker.delete_endpoint(EndpointName=name)
    _remove_config(engine, config, models)


def _retire(engine: Engine, config: str, serving: str) -> None:
    """Remove a configuration with its models, but for those that the one which is `serving` has, too."""
    used = _models(engine, serving)
    _remove_config(engine, config, [model for model in _models(engine, config) if model not in used])


def _remove_config(engine: Engine, config: str, models: list[str]) -> None:
    # Either may have been removed by hand.
    unless_missing(engine.sagemaker.delete_endpoint_config, EndpointConfigName=config)
    for model in models:
        unless_missing(engine.sagemaker.delete_model, ModelName=model)


def _models(engine: Engine, config: str) -> list[str]:
    described = unless_missing(engine.sagemaker.describe_endpoint_config, EndpointConfigName=config) or {}
    kinds = ("ProductionVariants", "ShadowProductionVariants")
    return [variant["ModelName"] for kind in kinds for variant in described.get(kind, [])]
