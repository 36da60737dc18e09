"""Processing jobs: one container between folders that are its inputs and its outputs."""

import json
import secrets
import threading
import time
from pathlib import Path

from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers, process
from byoc_vision.local.files import locate
from byoc_vision.local.instances import local_type
from byoc_vision.local.one_process import Jobs
from byoc_vision.local.store import Record, Request, ServiceError, Store, delete_ended, now, refuse

#: Seconds from SIGTERM to SIGKILL, as in the service.
_STOP_SECONDS = 120


def create(store: Store, request: Request) -> Request:
    """CreateProcessingJob: begin the job and return at once."""
    if request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] != 1:
        raise ServiceError("ValidationException", "The local engine runs a processing job on one instance.")
    for given in request.get("ProcessingInputs", []):
        refuse(given, "DatasetDefinition")
        source = given["S3Input"]
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
        container = _start(record)
        code = _follow(record, container)
    except UserError as error:
        ended: Request = {"ProcessingJobStatus": "Failed", "FailureReason": str(error)}
    else:
        ended = {"ProcessingJobStatus": "Completed"}
        if record.stopping:
            ended = {"ProcessingJobStatus": "Stopped"}
        elif code != 0:
            reason = "its time was up" if code is None else f"exit code: {code}"
            ended = {"ProcessingJobStatus": "Failed", "FailureReason": f"AlgorithmError: {reason}"}
    for _, folder in _outputs(record):
        containers.give_to_caller(folder, record.request["AppSpecification"]["ImageUri"])
    _clear(record)
    record.update(ProcessingEndTime=now(), **ended)


def _start(record: Record) -> str:
    """Start the job's container; return its name."""
    request, specification = record.request, record.request["AppSpecification"]
    cluster = request["ProcessingResources"]["ClusterConfig"]
    config = record.folder / "config"
    config.mkdir()
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"]}
    (config / "resourceconfig.json").write_text(json.dumps(hosts), encoding="utf-8")
    (config / "processingjobconfig.json").write_text(json.dumps(request), encoding="utf-8")
    name = f"byoc-vision-{record.name}-{secrets.token_hex(3)}"
    options = ["--detach", "--name", name, "--hostname", "algo-1", "--label", f"{containers.OWNER}={record.folder}"]
    options += _mount(config, "/opt/ml/config", ",readonly")
    for given in request.get("ProcessingInputs", []):
        source = locate(record.store, given["S3Input"]["S3Uri"])
        target = given["S3Input"]["LocalPath"].rstrip("/")
        options += _mount(source, target if source.is_dir() else f"{target}/{source.name}", ",readonly")
    for target, folder in _outputs(record):
        folder.mkdir(parents=True, exist_ok=True)
        options += _mount(folder, target)
    for variable, value in request.get("Environment", {}).items():
        options += ["--env", f"{variable}={value}"]
    if request.get("NetworkConfig", {}).get("EnableNetworkIsolation"):
        options += ["--network", "none"]
    if local_type(cluster["InstanceType"]) == "local_gpu":
        options += ["--gpus", "all"]
    entrypoint, *arguments = specification.get("ContainerEntrypoint") or [""]
    if entrypoint:
        options += ["--entrypoint", entrypoint]
    containers.run(*options, specification["ImageUri"], *arguments, *specification.get("ContainerArguments", []))
    return name


def _follow(record: Record, container: str) -> int | None:
    """Log what the container prints until its end; return its exit code, or None where its time was up."""

    def read() -> None:
        with (record.folder / "log").open("a", encoding="utf-8") as log:
            for line in containers.follow(container):
                print(f"{now()} {line}", file=log, flush=True)

    reader = threading.Thread(target=read)
    reader.start()
    longest = record.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", float("inf"))
    deadline, late = time.monotonic() + longest, False
    while (code := containers.exit_code(container)) is None:
        late = time.monotonic() > deadline
        if late or record.stopping:
            containers.stop(container, _STOP_SECONDS)
        time.sleep(0.5)
    reader.join()
    return None if late else code


def _outputs(record: Record) -> list[tuple[str, Path]]:
    """Return the container's output folders, and where they are on this machine."""
    outputs = record.request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    places = [output["S3Output"] for output in outputs]
    return [(place["LocalPath"], locate(record.store, place["S3Uri"])) for place in places]


def _mount(source: Path, target: str, mode: str = "") -> list[str]:
    return ["--mount", f'type=bind,"source={source}","target={target}"{mode}']


def _clear(record: Record) -> None:
    for container in containers.labelled(containers.OWNER, str(record.folder)):
        containers.remove(container)


_JOBS = Jobs("processing", "Processing", _clear)


def delete(store: Store, request: Request) -> Request:
    """DeleteProcessingJob."""
    record = store.find(_JOBS.kind, request["ProcessingJobName"])
    return delete_ended(record, _JOBS.describe(record)["ProcessingJobStatus"])


OPERATIONS = _JOBS.operations(create) | {"DeleteProcessingJob": delete}
