"""Serve a model: build CreateModel, CreateEndpointConfig and CreateEndpoint, send them, and wait until it answers.

    python -m launch.deploy --model JOB
    python -m launch.deploy --model s3://bucket/model.tar.gz --endpoint dogs --instance-type ml.g4dn.xlarge
    python -m launch.deploy --model JOB --source DIR       # with another handler script
    python -m launch.deploy --model JOB --image serve      # on a CPU with torch, which the default does without
    python -m launch.deploy --delete --endpoint dogs

An endpoint that runs already is given the new model (UpdateEndpoint): the old one answers until the new one does.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.hyperparameters import unquote
from launch import requests
from launch.engine import SERVING, Engine, Target
from launch.errors import not_found
from launch.launcher import Launch, parser, positive
from launch.source import repack


def options() -> argparse.ArgumentParser:
    """Return the launcher's options."""
    new = parser("deploy", __doc__)
    new.add_argument("--model", metavar="JOB|URI|FILE", help="a training job, or a model.tar.gz: S3 URI or file")
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
    new.add_argument("--source", metavar="DIR", help="folder with another handler script, inference.py")
    new.add_argument("--delete", action="store_true", help="remove the endpoint with its configuration and model")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    options_parser = options()
    given = options_parser.parse_args(arguments)
    if given.delete == bool(given.model):
        options_parser.error("give either --model or --delete")
    if given.serverless and given.instance_type:
        options_parser.error("give either --serverless or --instance-type")
    launch = Launch(given)
    return delete(launch, given.endpoint) if given.delete else deploy(launch, given)


def deploy(launch: Launch, given: argparse.Namespace) -> int:
    """Create the endpoint, or give the running one the new model."""
    engine, name = launch.engine, given.endpoint
    old = _describe(engine, name)
    _refuse_if_taken(name, old)
    replaces = old is not None and old["EndpointStatus"] == "InService"
    version = requests.new_name(name)
    instance_type = engine.instance_type(given.instance_type or "ml.m5.large")
    if given.serverless:
        instance_type = ""
        config = requests.serverless_config(version, version, given.serverless)
    else:
        config = requests.endpoint_config(version, version, instance_type, given.instance_count)
    last = "UpdateEndpoint" if replaces else "CreateEndpoint"
    image = serving_image(engine, given.model, instance_type, given.image)
    uri = artifact(launch, given.model, given.source)
    plan = launch.finish(
        {
            "CreateModel": requests.model(version, image, launch.role(), uri),
            "CreateEndpointConfig": config,
            last: requests.endpoint(name, version),
        }
    )
    if not launch.send:
        launch.show(plan)
        return 0
    if old and not replaces:  # it failed, and serves nothing
        _remove(engine, name, old["EndpointConfigName"])
    with contextlib.ExitStack() as undo:
        for operation, request in plan.items():
            launch.call(operation, request)
            if operation == "CreateModel":
                undo.callback(engine.sagemaker.delete_model, ModelName=request["ModelName"])
            if operation == "CreateEndpointConfig":
                undo.callback(engine.sagemaker.delete_endpoint_config, EndpointConfigName=request["EndpointConfigName"])
        undo.pop_all()
    print(f"{'updating' if replaces else 'creating'} the endpoint {name}", file=sys.stderr)
    if given.no_wait and replaces:
        print("the old model and its configuration stay, since they are in use until that is done", file=sys.stderr)
    if not given.no_wait:
        _wait(engine, name, plan[last]["EndpointConfigName"])
        if replaces and old:
            _remove_config(engine, old["EndpointConfigName"])
        print(f"the endpoint {name} is in service")
    print(engine.curl(name))
    return 0


def delete(launch: Launch, name: str) -> int:
    """Remove the endpoint, its configuration and its model."""
    engine = launch.engine
    found = _describe(engine, name)
    if found is None:
        raise UserError(f"there is no endpoint {name!r} in {engine.region}; check the name and the region")
    if not _is_ours(name, found):
        raise UserError(f"the endpoint {name!r} was not made by launch.deploy; delete it where it was made")
    if not launch.send:
        launch.show({"DeleteEndpoint": {"EndpointName": name}})
        return 0
    _remove(engine, name, found["EndpointConfigName"])
    print(f"removed the endpoint {name}")
    return 0


def artifact(launch: Launch, model: str, source: str | None = None) -> str:
    """Return the URI of the model.tar.gz that `model` (training job, URI or file) names, with `source` as its code/."""
    engine = launch.engine
    if job := _training_job(engine, model):
        if "S3ModelArtifacts" not in job.get("ModelArtifacts", {}):
            raise UserError(f"the training job {model} is {job['TrainingJobStatus']} and has no model")
        model = job["ModelArtifacts"]["S3ModelArtifacts"]
    if Path(model).is_dir():
        raise UserError(f"{model} is a folder; name the model.tar.gz in it")
    models = f"{engine.output()}/models"
    if source is None:
        return launch.place(model, model if "://" in model else models)
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(model)
        if "://" in model:
            (archive,) = engine.fetch(model, Path(scratch))
            models = model.rpartition("/")[0]  # what may read the model may read what is made of it
        return engine.place(str(repack(archive, Path(source), Path(scratch))), models, send=launch.send)


def serving_image(engine: Engine, model: str, instance_type: str, wanted: Target | None = None) -> str:
    """Return the image that serves `model` on instances of the type ("": serverless): the one `wanted`, if any.

    Else it is the lean one, where there is no GPU and the training job, if that is known, has left the graphs it needs.
    """
    if wanted is None:
        job = _training_job(engine, model) or {}
        exported = unquote(job.get("HyperParameters", {}).get("export", "true")) == "true"
        gpu = requests.is_gpu(instance_type) or instance_type == "local_gpu"
        wanted = "serve" if gpu or not exported else "serve-cpu"
    return engine.image(wanted)


def _training_job(engine: Engine, model: str) -> dict[str, Any] | None:
    """Return the training job that `model` names, if it names one and no URI or file."""
    if "/" in model or Path(model).exists():
        return None
    try:
        return dict(engine.sagemaker.describe_training_job(TrainingJobName=model))
    except Exception as error:
        if not not_found(error):
            raise
        where = engine.region
        raise UserError(f"{model!r} is neither a training job in {where} nor a file; check the name") from None


def _describe(engine: Engine, name: str) -> dict[str, Any] | None:
    try:
        return dict(engine.sagemaker.describe_endpoint(EndpointName=name))
    except Exception as error:
        if not not_found(error):
            raise
        return None


def _is_ours(name: str, endpoint: dict[str, Any]) -> bool:
    """Whether the endpoint's configuration has the kind of name that this launcher gives."""
    return requests.is_made_from(name, endpoint["EndpointConfigName"])


def _refuse_if_taken(name: str, endpoint: dict[str, Any] | None) -> None:
    if endpoint is None:
        return
    if not _is_ours(name, endpoint):
        raise UserError(f"the endpoint name {name!r} is in use by something else; take another with --endpoint")
    if endpoint["EndpointStatus"] not in ("InService", "Failed"):
        raise UserError(f"the endpoint {name!r} is {endpoint['EndpointStatus']}; wait until that is done and try again")


def _wait(engine: Engine, name: str, config: str) -> None:
    """Wait until the endpoint answers with the configuration; raise `UserError` with the reason when it will not."""
    from launch.waiting import pauses

    logs = engine.logs("endpoint", name)
    try:
        for pause in pauses():
            found = engine.sagemaker.describe_endpoint(EndpointName=name)
            if found["EndpointStatus"] in ("InService", "Failed", "OutOfService", "UpdateRollbackFailed"):
                break
            time.sleep(pause)
    except BaseException:  # Ctrl-C, or a network that is gone
        command = f"python -m launch.deploy --delete --endpoint {name} {engine.option}".rstrip()
        print(f"\nThe endpoint goes on being made. To remove it with all it serves: {command}", file=sys.stderr)
        raise
    if found["EndpointStatus"] == "InService" and found["EndpointConfigName"] == config:
        return
    print(*logs()[-15:], sep="\n  ", file=sys.stderr)
    reason = " ".join(found.get("FailureReason", "the service gives no reason").rstrip(".").split())
    if found["EndpointStatus"] == "InService":
        _remove_config(engine, config)
        raise UserError(f"the endpoint {name} went on with its old model, because the new one did not start: {reason}")
    raise UserError(f"the endpoint {name} did not start: {reason}; --delete removes it, deploying again replaces it")


def _remove(engine: Engine, name: str, config: str) -> None:
    models = _models(engine, config)  # only the configuration knows them
    engine.sagemaker.delete_endpoint(EndpointName=name)
    _remove_config(engine, config, models)


def _remove_config(engine: Engine, config: str, models: list[str] | None = None) -> None:
    models = _models(engine, config) if models is None else models
    with _unless_gone():
        engine.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    for model in models:
        with _unless_gone():
            engine.sagemaker.delete_model(ModelName=model)


def _models(engine: Engine, config: str) -> list[str]:
    with _unless_gone():
        described = engine.sagemaker.describe_endpoint_config(EndpointConfigName=config)
        return [variant["ModelName"] for variant in described["ProductionVariants"]]
    return []


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """Go on where something that is to be removed has been removed by hand."""
    try:
        yield
    except Exception as error:
        if not not_found(error):
            raise


if __name__ == "__main__":
    from launch.errors import guarded

    guarded("launch.deploy", main)
