"""Transform jobs: a serving container is started, asked about each file of a folder, and taken down."""

import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.error import HTTPError

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.folders import is_picture_type, text
from byoc_vision.engine import visible
from byoc_vision.local import channels, containers, jobs, models, process, server
from byoc_vision.local.files import locate
from byoc_vision.local.store import InvalidError, Record, Request, Store, now, refuse

_KIND = "transform-job"
_START_SECONDS = 480

#: The most megabytes that the service sends at a time.
_PAYLOADS = 100

#: The folder of the files that a manifest lists, in the record's.
_LISTED = "listed"


def create(store: Store, request: Request) -> Request:
    """CreateTransformJob: begin the job and return at once."""
    refuse(request, "DataCaptureConfig", "DataProcessing")
    source, target = request["TransformInput"], request["TransformOutput"]
    for fields, field in ((source, "CompressionType"), (source, "SplitType"), (target, "AssembleWith")):
        if fields.get(field, "None") != "None":
            refuse(fields, field)
    payload = request.get("MaxPayloadInMB", 0)
    if max(payload, payload * request.get("MaxConcurrentTransforms", 0)) > _PAYLOADS:
        raise InvalidError(f"MaxPayloadInMB, and MaxConcurrentTransforms times it, may be {_PAYLOADS} at most.")
    data = source["DataSource"]["S3DataSource"]
    channels.check_source(store, data, "input")
    locate(store, target["S3OutputPath"])
    container = models.container(store, request["ModelName"])  # the model may be deleted while the job runs
    if models.is_multi(container):
        raise InvalidError("The local engine transforms with models of one container each.")
    status: Request = {"TransformJobStatus": "InProgress", "Container": container}
    record, lock = store.create(_KIND, request["TransformJobName"], request, **status)
    process.start(record, lock)
    return {"TransformJobArn": record.arn}


def run(record: Record) -> None:
    """Ask about all files. One that is refused does not hold up the others, but the job has then failed."""
    request = record.request
    definition = record.status["Container"]
    try:
        refused = _ask_about_all(record, request, definition)
    except UserError as error:
        ended: Request = {"TransformJobStatus": "Failed", "FailureReason": str(error)}
    else:
        ended = {"TransformJobStatus": "Completed"}
        if refused:
            name, reason = next(iter(refused.items()))
            reason = f"AlgorithmError: {len(refused)} of the files were refused. {name}: {reason}"[:1024]
            ended = {"TransformJobStatus": "Failed", "FailureReason": reason, "Refused": refused}
    if record.stopping:
        ended = {"TransformJobStatus": "Stopped"}
    _clear(record)
    record.update(TransformEndTime=now(), **ended)


def _ask_about_all(record: Record, request: Request, definition: Request) -> dict[str, str]:
    """Write an answer for each file; return name -> reason of those that there is none for."""
    concurrent = request.get("MaxConcurrentTransforms") or 1
    environment = request.get("Environment", {}) | {"SAGEMAKER_BATCH": "true"}
    model = server.unpack(record, definition)
    options = server.options(request["TransformResources"])
    begin = partial(server.start, record, definition, model, environment=environment, options=options)
    container, port = server.on_free_port(begin)
    server.wait(container, port, _START_SECONDS, lambda: record.stopping)
    record.update(TransformStartTime=now())

    data = request["TransformInput"]["DataSource"]["S3DataSource"]
    uri = data["S3Uri"]
    content_type = request["TransformInput"].get("ContentType", "application/octet-stream")
    source = channels.folder(record.store, data, record.folder / _LISTED)
    files = [source]
    if source.is_dir():
        # What is in S3 is asked about whole, as the service does it; of a folder, only what would be uploaded.
        files = list(visible(source, uri.startswith("file://") and is_picture_type(content_type)))
    target = locate(record.store, request["TransformOutput"]["S3OutputPath"])
    headers = {"Content-Type": content_type}
    if "Accept" in request["TransformOutput"]:
        headers["Accept"] = request["TransformOutput"]["Accept"]

    def named(file: Path) -> str:
        return str(file.relative_to(source)) if source.is_dir() else file.name

    def ask(file: Path) -> str:
        if record.stopping:
            return ""
        if not file.is_file():
            return "it is no file, or a link that leads nowhere"
        try:
            content = file.read_bytes()
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        limit = request.get("MaxPayloadInMB", 6)
        if limit and len(content) > limit << 20:
            return f"the file is larger than MaxPayloadInMB, {limit}"
        post = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", content, headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(post) as response:
                answer = response.read()
        except HTTPError as error:
            return error.read().decode(errors="replace")
        except OSError as error:
            return f"the container does not answer ({error})"
        out = target / f"{named(file)}.out"
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(answer)
        except OSError as error:  # of a name with no room for the ending, or a full disk
            return f"its answer cannot be written ({error.strerror})"
        return ""

    with ThreadPoolExecutor(concurrent) as pool:
        return {text(named(file)): reason for file, reason in zip(files, pool.map(ask, files), strict=True) if reason}


def _clear(record: Record) -> None:
    for container in containers.labelled(containers.OWNER, str(record.folder)):
        server.stop(container, log=record.folder / "log")
    for folder in (*record.folder.glob("model-*"), *record.folder.glob(_LISTED)):
        shutil.rmtree(folder)


def _describe(record: Record) -> Request:
    return jobs.describe(record, "TransformJob", _clear)


OPERATIONS = jobs.operations(_KIND, "TransformJob", create, _describe)
del OPERATIONS["DeleteTransformJob"]  # the service has none
