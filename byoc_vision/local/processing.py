"""Processing jobs: one container between folders that are its inputs and its outputs.

Inputs are copies, as in the service: the SDK's own processors unpack their code where it lies.
"""

import json
import shutil
from pathlib import Path

from byoc_vision.contract.errors import UserError
from byoc_vision.local import channels, containers, hosts, jobs, process
from byoc_vision.local.containers import mount
from byoc_vision.local.files import locate, text_of
from byoc_vision.local.hosts import Hosts
from byoc_vision.local.store import InvalidError, Record, Request, Store, now, refuse

_KIND = "processing-job"
_HOST = "algo-1"

#: How a LocalPath begins: elsewhere an input would hide what the image has there.
_ROOTS = {"S3Input": "/opt/ml/processing/", "S3Output": "/"}

#: The folders of the inputs' copies, and of what the container has in /opt/ml/output, in the record's.
_INPUTS, _OUTPUT = "inputs", "output"


def create(store: Store, request: Request) -> Request:
    """CreateProcessingJob: begin the job and return at once."""
    if request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] != 1:
        raise InvalidError("The local engine runs a processing job on one instance.")
    inputs, outputs = request.get("ProcessingInputs", []), request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    for field, items in (("InputName", inputs), ("OutputName", outputs)):
        if len({item[field] for item in items}) < len(items):
            raise InvalidError(f"Two inputs or outputs have one {field}.")
    for item in inputs:
        refuse(item, "DatasetDefinition", "AppManaged")
        source = _place(item, "S3Input")
        refuse(source, "S3CompressionType")
        if source.get("S3InputMode", "File") != "File":
            raise InvalidError("The local engine has inputs in File mode only.")
        channels.check_source(store, source, f"input {item['InputName']}")
    for output in outputs:
        refuse(output, "FeatureStoreOutput", "AppManaged")
        locate(store, _place(output, "S3Output")["S3Uri"])
    containers.require(request["AppSpecification"]["ImageUri"])
    record, lock = store.create(_KIND, request["ProcessingJobName"], request, ProcessingJobStatus="InProgress")
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
    if message := text_of(record.folder / _OUTPUT / "message", 1 << 10):
        ended["ExitMessage"] = message
    _clear(record)
    record.update(ProcessingEndTime=now(), **ended)


def _command(record: Record) -> list[str]:
    """Return what `docker run` is told."""
    request, specification = record.request, record.request["AppSpecification"]
    config, output = record.folder / "config", record.folder / _OUTPUT
    config.mkdir()
    resources = {"current_host": _HOST, "hosts": [_HOST]}
    (config / "resourceconfig.json").write_text(json.dumps(resources), encoding="utf-8")
    told = request | {"ProcessingJobArn": record.arn}
    (config / "processingjobconfig.json").write_text(json.dumps(told), encoding="utf-8")
    instance_type = request["ProcessingResources"]["ClusterConfig"]["InstanceType"]
    options = hosts.options(request.get("Environment", {}), instance_type)
    options += mount(config, "/opt/ml/config", readonly=True)
    for target, folder in ({"/opt/ml/output": output} | _inputs(record) | dict(_outputs(record))).items():
        folder.mkdir(parents=True, exist_ok=True)
        options += mount(folder, target)
    entrypoint = specification.get("ContainerEntrypoint", [])
    return options + hosts.program(entrypoint, specification["ImageUri"], specification.get("ContainerArguments", []))


def _inputs(record: Record) -> dict[str, Path]:
    """Copy the inputs; return the container's folders with those that they are."""
    copies: dict[str, Path] = {}
    for number, item in enumerate(record.request.get("ProcessingInputs", [])):
        place = item["S3Input"]
        listed = record.folder / _INPUTS / f"listed-{number}"
        source, target = channels.folder(record.store, place, listed), place["LocalPath"].rstrip("/")
        folder = copies.setdefault(target, record.folder / _INPUTS / str(len(copies)))
        folder.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copy(source, folder)
        else:
            shutil.copytree(source, folder, ignore_dangling_symlinks=True, dirs_exist_ok=True)
    return copies


def _outputs(record: Record) -> list[tuple[str, Path]]:
    """Return the container's output folders, and where they are on this machine."""
    outputs = record.request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    places = [output["S3Output"] for output in outputs]
    return [(place["LocalPath"], locate(record.store, place["S3Uri"])) for place in places]


def _place(item: Request, field: str) -> Request:
    """Return the place of an input or output, which the request's model does not make sure of."""
    place = item.get(field, {})
    if "LocalPath" not in place:
        raise InvalidError(f"Each input or output needs an {field} with a LocalPath.")
    path, root = place["LocalPath"], _ROOTS[field]
    if not path.startswith(root) or ".." in path.split("/"):
        raise InvalidError(f"The LocalPath {path!r} of an {field} must begin with {root} and have no '..'.")
    return dict(place)


def _clear(record: Record) -> None:
    """Remove what the job's container has left, but for its outputs."""
    hosts.clear(record)
    left = [record.folder / _INPUTS, record.folder / _OUTPUT]
    outputs = [folder for _, folder in _outputs(record)]
    containers.give_to_caller(record.request["AppSpecification"]["ImageUri"], *left, *outputs)
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)


def _describe(record: Record) -> Request:
    return jobs.describe(record, "ProcessingJob", _clear)


OPERATIONS = jobs.operations(_KIND, "ProcessingJob", create, _describe)
