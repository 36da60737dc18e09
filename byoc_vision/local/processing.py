"""Processing jobs: one container between folders that are its inputs and its outputs."""

import json
from pathlib import Path

from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers, hosts, process
from byoc_vision.local.containers import mount
from byoc_vision.local.files import locate
from byoc_vision.local.hosts import Hosts
from byoc_vision.local.one_process import Jobs
from byoc_vision.local.store import Record, Request, ServiceError, Store, delete_ended, now, refuse

_HOST = "algo-1"


def create(store: Store, request: Request) -> Request:
    """CreateProcessingJob: begin the job and return at once."""
    if request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] != 1:
        raise ServiceError("ValidationException", "The local engine runs a processing job on one instance.")
    for item in request.get("ProcessingInputs", []):
        refuse(item, "DatasetDefinition")
        source = item["S3Input"]
        refuse(source, "S3CompressionType")
        if source["S3DataType"] != "S3Prefix" or source.get("S3InputMode", "File") != "File":
            raise ServiceError("ValidationException", "The local engine takes inputs of S3Prefix in File mode.")
        if not locate(store, source["S3Uri"]).exists():
            raise ServiceError("ValidationException", f"There is nothing at {source['S3Uri']}.")
    for output in request.get("ProcessingOutputConfig", {}).get("Outputs", []):
        refuse(output, "FeatureStoreOutput")
        locate(store, output["S3Output"]["S3Uri"])
    containers.require(request["AppSpecification"]["ImageUri"])
    record, lock = store.create(_JOBS.kind, request["ProcessingJobName"], request, ProcessingJobStatus="InProgress")
    process.start(record, lock)
    return {"ProcessingJobArn": record.arn}


def run(record: Record) -> None:
    """Run the container to its end; the status says how that came."""
    record.update(ProcessingStartTime=now())
    try:
        ending = Hosts(record, {_HOST: _command(record)}).run()
    except UserError as error:
        ended: Request = {"ProcessingJobStatus": "Failed", "FailureReason": str(error)}
    else:
        ended = {"ProcessingJobStatus": "Completed"}
        if ending.stopped == "Stopped":
            ended = {"ProcessingJobStatus": "Stopped"}
        elif reason := "AlgorithmError: its time was up" if ending.stopped else ending.reason():
            ended = {"ProcessingJobStatus": "Failed", "FailureReason": reason}
    image = record.request["AppSpecification"]["ImageUri"]
    containers.give_to_caller(image, *(folder for _, folder in _outputs(record)))
    record.update(ProcessingEndTime=now(), **ended)


def _command(record: Record) -> list[str]:
    """Return what `docker run` is told."""
    request, specification = record.request, record.request["AppSpecification"]
    config = record.folder / "config"
    config.mkdir()
    resources = {"current_host": _HOST, "hosts": [_HOST]}
    (config / "resourceconfig.json").write_text(json.dumps(resources), encoding="utf-8")
    (config / "processingjobconfig.json").write_text(json.dumps(request), encoding="utf-8")
    instance_type = request["ProcessingResources"]["ClusterConfig"]["InstanceType"]
    options = hosts.options(request.get("Environment", {}), instance_type)
    options += mount(config, "/opt/ml/config", readonly=True)
    for item in request.get("ProcessingInputs", []):
        source = locate(record.store, item["S3Input"]["S3Uri"])
        target = item["S3Input"]["LocalPath"].rstrip("/")
        options += mount(source, target if source.is_dir() else f"{target}/{source.name}", readonly=True)
    for target, folder in _outputs(record):
        folder.mkdir(parents=True, exist_ok=True)
        options += mount(folder, target)
    entrypoint = specification.get("ContainerEntrypoint", [])
    return options + hosts.program(entrypoint, specification["ImageUri"], specification.get("ContainerArguments", []))


def _outputs(record: Record) -> list[tuple[str, Path]]:
    """Return the container's output folders, and where they are on this machine."""
    outputs = record.request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    places = [output["S3Output"] for output in outputs]
    return [(place["LocalPath"], locate(record.store, place["S3Uri"])) for place in places]


_JOBS = Jobs("processing", "Processing", hosts.clear)


def delete(store: Store, request: Request) -> Request:
    """DeleteProcessingJob."""
    record = store.find(_JOBS.kind, request["ProcessingJobName"])
    return delete_ended(record, _JOBS.describe(record)["ProcessingJobStatus"])


OPERATIONS = _JOBS.operations(create) | {"DeleteProcessingJob": delete}
