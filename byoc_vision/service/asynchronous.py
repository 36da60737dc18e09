"""InvokeEndpointAsync: requests wait in files of their endpoint's folder until threads of the service have asked them.

ENDPOINT/queue/ID.json   a request: its headers, input and places of the result, and when it came

So what was queued survives the service's end; what was under way then is asked again.
"""

import json
import time
import traceback
import uuid
from collections import defaultdict, deque
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import replacing, write_text
from byoc_vision.local.endpoints import KIND
from byoc_vision.local.files import locate
from byoc_vision.local.invocations import InvocationError, Invocations
from byoc_vision.local.store import Record, Request, ServiceError, Store
from byoc_vision.service.message import Call, Reply, json_reply

_PREFIX = "x-amzn-sagemaker-"

#: Seconds that a request may wait, and be worked on, where it does not say.
_LIFE, _PATIENCE = 6 * 60 * 60, 15 * 60

#: Requests at a time where the endpoint's configuration does not say.
_CONCURRENT = 4


class Queues:
    """The requests that wait at the endpoints of a store. One process has them: the service."""

    def __init__(self, store: Store, invocations: Invocations) -> None:
        self._store, self._invocations = store, invocations
        self._waiting: dict[str, deque[str]] = defaultdict(deque)  # endpoint -> ids of requests
        self._threads: dict[str, int] = defaultdict(int)  # endpoint -> threads that work on them
        self._lock = Lock()

    def add(self, name: str, call: Call) -> Reply:
        """Queue a request; tell where its result will be."""
        record = self._invocations.find(name)
        config = record.status.get("AsyncInferenceConfig")
        if config is None:
            raise InvocationError("ValidationError", f"Endpoint {name} is not asynchronous; take InvokeEndpoint.")
        fields = {header.removeprefix(_PREFIX): value for header, value in call.headers.items()}
        identity, source = uuid.uuid4().hex, fields.get("inputlocation")
        request: Request = {
            "Headers": {header: fields[header] for header in ("accept", "custom-attributes") if header in fields},
            "Type": call.headers.get(f"{_PREFIX}content-type", "application/octet-stream"),
            "Output": _place(config, "S3OutputPath", fields, fields.get("filename", f"{identity}.out")),
            "Failure": _place(config, "S3FailurePath", fields, f"{identity}-error.out"),
            "Came": time.time(),
            "Life": _seconds(fields, "requestttlseconds", _LIFE),
            "Patience": _seconds(fields, "invocationtimeoutseconds", _PATIENCE),
        }
        queue = record.folder / "queue"
        queue.mkdir(exist_ok=True)
        if source is None:
            if not (body := call.whole()):
                raise InvocationError("ValidationError", "The request has neither an InputLocation nor a Body.")
            with replacing(queue / f"{identity}.body") as file:
                file.write_bytes(body)
        else:
            self._found(source)
        request["Input"] = source
        write_text(queue / f"{identity}.json", json.dumps(request))
        self._submit(record, config, identity)
        headers = {"X-Amzn-SageMaker-OutputLocation": request["Output"]}
        if request["Failure"]:
            headers["X-Amzn-SageMaker-FailureLocation"] = request["Failure"]
        return json_reply({"InferenceId": fields.get("inference-id", identity)}, 202, **headers)

    def resume(self) -> None:
        """Go on with what was queued before."""
        for record in self._store.all(KIND):
            with suppress(ServiceError):  # removed in between
                config = record.status.get("AsyncInferenceConfig") or {}
                for file in sorted((record.folder / "queue").glob("*.json"), key=lambda file: file.stat().st_mtime):
                    self._submit(record, config, file.stem)

    def _submit(self, record: Record, config: Request, identity: str) -> None:
        most = config.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", _CONCURRENT)
        with self._lock:
            self._waiting[record.name].append(identity)
            if self._threads[record.name] < most:
                self._threads[record.name] += 1
                # The service's end does not wait for it.
                Thread(target=self._work_on_all, args=(record,), daemon=True).start()

    def _work_on_all(self, record: Record) -> None:
        while True:
            with self._lock:
                if not self._waiting[record.name]:
                    self._threads[record.name] -= 1
                    return
                identity = self._waiting[record.name].popleft()
            try:
                self._work(record, identity)
            except Exception:
                traceback.print_exc()

    def _work(self, record: Record, identity: str) -> None:
        """Ask the endpoint what a request wants, and write its answer or why there is none."""
        file = record.folder / "queue" / f"{identity}.json"
        try:
            request = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:  # the endpoint was deleted
            return
        try:
            _write(locate(self._store, request["Output"]), self._answer(record, request, file.with_suffix(".body")))
        except (ServiceError, UserError, OSError) as error:
            if request["Failure"]:
                with suppress(ServiceError, OSError):
                    _write(locate(self._store, request["Failure"]), str(error).encode())
        file.unlink(missing_ok=True)
        file.with_suffix(".body").unlink(missing_ok=True)

    def _answer(self, record: Record, request: Request, body: Path) -> bytes:
        if time.time() > request["Came"] + request["Life"]:
            raise ServiceError("ValidationError", "The request has waited longer than its RequestTTLSeconds.")
        source = body if request["Input"] is None else self._found(request["Input"])
        headers = {"content-type": request["Type"]}
        headers |= {
            header if header == "accept" else f"{_PREFIX}{header}": value
            for header, value in request["Headers"].items()
        }
        content, patience = source.read_bytes(), request["Patience"]
        return self._invocations.ask(record.name, headers, content, queued=True, timeout=patience).body

    def _found(self, uri: str) -> Path:
        try:
            if (path := locate(self._store, uri)).is_file():
                return path
        except ServiceError:  # no bucket, or no name of a file
            pass
        raise InvocationError("ValidationError", f"There is no object at {uri}.")


def _place(config: Request, field: str, fields: Request, name: str) -> str | None:
    """Return the URI of a result, below the prefix that the endpoint's configuration has in `field`."""
    prefix = config["OutputConfig"].get(field)
    extension = fields.get("s3outputpathextension")
    parts = [str(prefix).rstrip("/"), *([extension.strip("/")] if extension else []), name]
    return "/".join(parts) if prefix else None


def _seconds(fields: Request, header: str, default: int) -> int:
    text = str(fields.get(header, default))
    if not (text.isascii() and text.isdigit()):
        raise InvocationError("ValidationError", f"{header} is {text[:20]!r}, and must be a number of seconds.")
    return int(text)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write_bytes(content)
