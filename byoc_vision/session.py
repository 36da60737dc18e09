"""A session: the place where jobs and endpoints are made, in AWS or on this machine."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from byoc_vision import checks, hyperparameter_sources, jobs, listing, pictures, reports, versions
from byoc_vision import endpoint as endpoints
from byoc_vision.contract import hyperparameters as contract
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.folders import is_picture_type
from byoc_vision.contract.job import CHANNELS
from byoc_vision.endpoint import Endpoint
from byoc_vision.engine import VERSION, Engine, Target
from byoc_vision.jobs import Show, TrainingJob, TransformJob, TuningJob
from byoc_vision.listing import Listed
from byoc_vision.plan import Plan
from byoc_vision.refusals import sentence
from byoc_vision.reports import Report
from byoc_vision.requests import managed_debugger, operations, search_space
from byoc_vision.requests import script as scripts
from byoc_vision.requests.operations import Request
from byoc_vision.requests.script import Script
from byoc_vision.trained_model import artifact, serving_image
from byoc_vision.versions import ModelVersion

_log = logging.getLogger(__name__)

#: A folder, file or S3 URI of training pictures, or such a source for each channel.
Data = str | Path | Mapping[str, str | Path]


class Session:
    """Where jobs and endpoints are made: in the AWS account of the environment, or, with `local`, on this machine.

    >>> from byoc_vision import Session
    >>> job = Session(local=True).train("pictures", hyperparameters={"epochs": 2})
    >>> job.wait(show=print).metrics

    All that is made returns at once and has `wait`. With `dry_run` nothing is sent, and `request` holds what would have
    been: the service's own fields, by operation; without an account, placeholders such as <account> stand for what only
    that knows. `request_files` lay any other field over them. Nothing is printed; what happens is told to the logger
    "byoc_vision". Every method may raise `UserError`.
    """

    def __init__(self, local: bool = False, *, request_files: Iterable[str | Path] = ()) -> None:
        self._local = local
        self._request_files = tuple(request_files)

    @cached_property
    def engine(self) -> Engine:
        """AWS or this machine; only that one is imported."""
        if self._local:
            from byoc_vision.local import open_engine

            return open_engine()
        from byoc_vision.aws.cloud import Cloud

        return Cloud()

    def train(
        self,
        data: Data,
        *,
        hyperparameters: Mapping[str, Any] | str = {},
        instance_type: str = "ml.g4dn.xlarge",
        instance_count: int = 1,
        spot: bool = False,
        managed: bool = False,
        output: str | None = None,
        source: str | Path | None = None,
        program: str | None = None,
        metrics: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> TrainingJob:
        """Train a model on labelled pictures, or run a script of your own.

        hyperparameters: values by name, or a file, or the name of a tuning job for its best.
        spot: take spare capacity; the job goes on where it was interrupted.
        managed: add SageMaker's own Debugger and Profiler.
        output: the URI where results go; without it the account's SageMaker bucket.
        source, program: the folder of a script and the file in it that is run; hyperparameters and channels are its
            own.
        metrics: the figures in the lines that it prints: name -> regular expression with one group.
        """
        script = scripts.script(source, program, metrics)
        plan = self._plan(dry_run)
        engine, wanted, check = plan.engine, hyperparameters, scripts.texts if script else contract.checked
        values = hyperparameter_sources.collect(engine, wanted, (), check) if isinstance(wanted, str) else check(wanted)
        sources = _sources(data, script)
        if not script:
            values = checks.hyperparameters(sources, values)
        output = plan.output(output)
        job = operations.training_job(
            name=operations.new_name("byoc-vision"),
            image=engine.image("train"),
            role=plan.role(),
            channels=_channels(plan, sources, output),
            hyperparameters=values,
            output=output,
            instance_type=engine.instance_type(instance_type),
            instance_count=instance_count,
            spot=spot,
        )
        if script:
            job = script.of(job)
        if managed:
            job |= managed_debugger.managed(engine.region, output)
        request = plan.finish({"CreateTrainingJob": job})
        job = request["CreateTrainingJob"]
        try:
            plan.call("CreateTrainingJob", job)
        except Exception as error:
            if managed and re.search("debug|profiler", str(error), re.IGNORECASE):
                raise UserError(f"{sentence(error)}. If so, {managed_debugger.REFUSED}") from error
            raise
        return TrainingJob(self, job["TrainingJobName"], request, plan.send)

    def tune(
        self,
        space: str | Path | Mapping[str, Any],
        data: Data,
        *,
        hyperparameters: Mapping[str, Any] = {},
        max_jobs: int | None = None,
        parallel_jobs: int | None = None,
        instance_type: str = "ml.g4dn.xlarge",
        output: str | None = None,
        dry_run: bool = False,
        show: Show = lambda _: None,
    ) -> TuningJob:
        """Search for the best hyperparameters; those given here are the same in every trial.

        space: what is searched, and how: a YAML file, or what one holds (`byoc_vision.requests.search_space`).

        Where the trials train a head on features that are the same in all of them, a training job computes these first
        and is waited for; `show` gets the lines of its log.
        """
        chosen = search_space.load(space, max_jobs, parallel_jobs)
        plan, script = self._plan(dry_run), chosen.script
        engine = plan.engine
        static = chosen.fixed | (scripts.texts if script else contract.each_checked)(hyperparameters)
        searched = {parameter["Name"] for kind in chosen.ranges.values() for parameter in kind}
        if both := searched & static.keys():
            where = "the search space" if isinstance(space, Mapping) else space
            raise UserError(f"{min(both)} is searched in {where}, so it cannot be set; remove one of the two")
        sources = _sources(data, script)
        if not script:
            static = checks.hyperparameters(sources, static, searched)
            # Of many trials one is kept at most, and is trained again for that.
            static = {name: "false" for name in hyperparameter_sources.FOR_KEEPS if name not in searched} | static
        output = plan.output(output)
        trial = operations.training_job(
            name="",  # the service names the trials
            image=engine.image("train"),
            role=plan.role(),
            channels=_channels(plan, sources, output),
            hyperparameters=static,
            output=output,
            instance_type=engine.instance_type(instance_type),
        )
        request: dict[str, Request] = {}
        if script:
            trial = script.of(trial)
        elif _share_features(static, searched, trial):
            extraction = operations.extraction_job(operations.new_name("byoc-features"), trial)
            features = f"{extraction['CheckpointConfig']['S3Uri']}/features/"
            trial = operations.with_channel(trial, "features", features)
            request["CreateTrainingJob"] = extraction
        job = operations.tuning_job(operations.new_name("byoc-vision"), chosen.settings, chosen.ranges, trial)
        request = plan.finish(request | {"CreateHyperParameterTuningJob": job})
        if "CreateTrainingJob" in request and plan.send:
            plan.call("CreateTrainingJob", request["CreateTrainingJob"])
            TrainingJob(self, request["CreateTrainingJob"]["TrainingJobName"]).wait_or_stop(show)
        job = request["CreateHyperParameterTuningJob"]
        plan.call("CreateHyperParameterTuningJob", job)
        return TuningJob(self, job["HyperParameterTuningJobName"], request, plan.send)

    def deploy(
        self,
        model: str,
        endpoint: str = "byoc-vision",
        *,
        instance_type: str | None = None,
        instance_count: int = 1,
        serverless: int | None = None,
        image: Target | None = None,
        source: str | Path | None = None,
        port: int | None = None,
        shadow: bool = False,
        dry_run: bool = False,
    ) -> Endpoint:
        """Serve a model. An endpoint that runs already is given it: the old model answers until the new one does.

        model: a training job; a model.tar.gz, S3 URI or file; a folder, a .pt or a .pth file of any origin; or what is
            in the registry: an approved version, GROUP/NUMBER, or a group for its newest.
        serverless: MB of memory, in place of instances (ml.m5.large).
        image: "serve", or "serve-cpu"; without it serve for GPUs, and the lean serve-cpu for all else.
        source: a folder with another handler script, inference.py.
        port: where a new endpoint of this machine listens; without it on 8080, if that is free.
        shadow: beside the running endpoint's model: it gets copies of the requests; its answers are captured at most.
        """
        if port and not self._local:
            raise UserError("a port can be chosen on this machine only; leave it out, or add --local")
        plan = self._plan(dry_run)
        options = (instance_type, instance_count, serverless, image, source, port, shadow)
        return endpoints.deploy(plan, model, endpoint, *options)

    def transform(
        self,
        model: str,
        data: str | Path,
        *,
        instance_type: str = "ml.m5.xlarge",
        instance_count: int = 1,
        image: Target | None = None,
        source: str | Path | None = None,
        dry_run: bool = False,
    ) -> TransformJob:
        """Predict many pictures without an endpoint. The model that is made for the job stays: see `delete_model`.

        data: an S3 URI, of which all objects are asked about, or a folder, of which all that may be pictures are.
        source: a folder with another handler script, inference.py.
        """
        plan = self._plan(dry_run)
        engine = plan.engine
        name = operations.new_name("byoc-vision")
        instance_type = engine.instance_type(instance_type)
        container = serving_image(engine, model, instance_type, image)
        create_model = operations.model(name, container, plan.role(), artifact(plan, model, source))
        only_pictures = is_picture_type(
            str(plan.field("CreateTransformJob", "TransformInput", "ContentType") or "image/*")
        )
        found = []
        if only_pictures and (place := checks.local(str(data))):
            found = pictures.below(place) if place.is_dir() else [place]
        # Beside what training jobs read, which has all files.
        asked = plan.place(str(data), f"{engine.output()}/{'pictures' if only_pictures else 'data'}", only_pictures)
        answers = f"{engine.output()}/answers/{name}/"
        job = operations.transform_job(
            name, name, asked, answers, instance_type, instance_count, pictures.content_type(found)
        )
        request = plan.finish({"CreateModel": create_model, "CreateTransformJob": job})
        made = TransformJob(self, request["CreateTransformJob"]["TransformJobName"], request, plan.send)
        plan.call("CreateModel", request["CreateModel"])
        try:
            plan.call("CreateTransformJob", request["CreateTransformJob"])
        except BaseException:
            made.delete_model()
            raise
        return made

    def register(self, job: str, group: str = "byoc-vision", *, dry_run: bool = False) -> ModelVersion:
        """Make a training job's model the next version of a group in the model registry; it waits for approval."""
        return versions.register(self._plan(dry_run), job, group)

    def models(self, group: str | None = None) -> list[ModelVersion]:
        """Return the versions of models in the registry, of one group or of all, newest first."""
        return versions.listed(self.engine, group)

    def model(self, name: str, *, dry_run: bool = False) -> ModelVersion:
        """Return the version of that name, GROUP/NUMBER; for a dry run without an account, what its name says."""
        return versions.find(self._plan(dry_run).engine, name)

    def rollback(self, endpoint: str = "byoc-vision", *, dry_run: bool = False) -> Endpoint:
        """Give the endpoint the approved version before the one that it serves, on the same instances."""
        engine = self._plan(dry_run).engine
        older, variant = versions.before_served(engine, endpoint) if engine.known else (VERSION, {})
        return self.deploy(
            older,
            endpoint,
            instance_type=variant.get("InstanceType"),
            instance_count=variant.get("InitialInstanceCount", 1),
            serverless=variant.get("ServerlessConfig", {}).get("MemorySizeInMB"),
            dry_run=dry_run,
        )

    def report(
        self,
        job: str,
        *,
        rules: str | Path | None = None,
        data: str | Path | None = None,
        out: str | Path | None = None,
        price_per_hour: float | None = None,
    ) -> Report:
        """Make the report of a training job (again), whose rules run here, or of a tuning job's trials.

        job: its name, or what a training job has left: a folder, or an S3 URI of a folder or an archive.
        rules: names with commas, or a JSON file of rule configurations (without it: all).
        data: the pictures, of which the report then shows some.
        out: the report's folder; without it the job's own where `job` is one, else ./report.
        price_per_hour: of one of the job's machines; the report then says what the job cost.
        """
        pictures, folder = Path(data) if data else None, Path(out) if out else None
        return reports.make(lambda: self.engine, job, rules, pictures, folder, price_per_hour)

    def compare(self, jobs: Sequence[str], *, out: str | Path | None = None) -> Report:
        """Make one page of several training jobs, each named as for `report`, side by side."""
        return reports.compare(lambda: self.engine, jobs, Path(out) if out else None)

    def endpoint(self, name: str = "byoc-vision") -> Endpoint:
        """Return the endpoint of that name."""
        return Endpoint(self.engine, name)

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints that `deploy` has made, by their names."""
        pages = self.engine.sagemaker.get_paginator("list_endpoints").paginate()
        names = sorted(endpoint["EndpointName"] for page in pages for endpoint in page["Endpoints"])
        return [endpoint for endpoint in map(self.endpoint, names) if endpoint.is_ours]

    def job(self, name: str) -> TrainingJob | TuningJob | TransformJob:
        """Return the job of that name, of whatever kind; raises `UserError` where there is none."""
        return jobs.find(self, name)

    def jobs(self, most: int = 20) -> list[Listed]:
        """Return the newest training and tuning jobs of this project's images, with their figures; no trials."""
        return listing.jobs(self.engine, most)

    def _plan(self, dry_run: bool) -> Plan:
        engine = self.engine.sketch() if dry_run else self.engine
        return Plan(engine, self._request_files, send=not dry_run)


def _sources(data: Data, script: Script | None) -> dict[str, str | Path]:
    """Return channel -> source for the data and for the script, whose channels may have any name.

    What can be seen from here is checked.
    """
    sources = dict(data) if isinstance(data, Mapping) else {"training": data}
    if script:
        return {**sources, scripts.CHANNEL: script.source}
    for channel in sources:
        if channel not in CHANNELS:
            raise UserError(f"there is no channel {channel!r}; give one of {', '.join(CHANNELS)}")
    checks.pictures(sources)
    return sources


def _channels(plan: Plan, sources: Mapping[str, str | Path], output: str) -> dict[str, str]:
    """Return channel -> URI for the sources."""
    return {channel: plan.place(str(source), f"{output}/data") for channel, source in sources.items()}


def _share_features(static: dict[str, str], searched: set[str], trial: Request) -> bool:
    """Whether the trials train on the same features, so that one job computes them before the search."""
    if any(channel["ChannelName"] == "features" for channel in trial["InputDataConfig"]):
        return False
    if differs := searched & set(contract.FEATURES_DEPEND_ON):
        _log.info("every trial computes its own features, because %s is searched", min(differs))
        return False
    return contract.on_features(contract.parse(static))
