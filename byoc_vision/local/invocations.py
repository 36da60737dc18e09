"""InvokeEndpoint: a request goes on to a container of the endpoint, which answers as the service would."""

import fcntl
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import BoundedSemaphore, Thread
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import urllib3
from botocore.awsrequest import AWSResponse

from byoc_vision.local import capture, client, endpoints, fleets, models, multi_model
from byoc_vision.local.store import Record, Request, ServiceError, Store

#: Beginnings of the headers that the container gets.
_PASSED_ON = ("content-type", "accept", "x-amzn-sagemaker-")

#: Headers that choose what is not here; ignored, they would lead to another answer.
_REFUSED = {
    "x-amzn-sagemaker-target-container-hostname": "TargetContainerHostname",
    "x-amzn-sagemaker-inference-component": "InferenceComponentName",
    "x-amzn-sagemaker-enable-explanations": "EnableExplanations",
}

#: Copies of requests that are under way to shadow variants, at most; and the seconds that one may take.
_COPIES, _PATIENCE = BoundedSemaphore(32), 60

#: The header of an answer that names the variant which gave it.
VARIANT_HEADER = "x-Amzn-Invoked-Production-Variant"

#: What a path's last part asks for, of those that are not InvokeEndpoint.
_OTHERS = {
    "async-invocations": "InvokeEndpointAsync; byoc service has it",
    "invocations-response-stream": "InvokeEndpointWithResponseStream; take InvokeEndpoint",
}


class InvocationError(ServiceError):
    """What InvokeEndpoint answers in place of a container's 200: with its HTTP status, and the error's fields."""

    def __init__(self, code: str, message: str, status: int = 400, **fields: Any) -> None:
        super().__init__(code, message)
        self.status, self.fields = status, fields


class Answer(NamedTuple):
    """A container's 200."""

    headers: dict[str, str]
    body: bytes


class Invocations:
    """Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = urllib3.PoolManager(maxsize=16, retries=False)

    def send(self, request: Any, **_: Any) -> Any:
        """Return the response to a botocore request."""
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        try:
            answer = self.ask(named(urlsplit(request.url).path), headers, request.body)
        except InvocationError as refusal:
            return client.failure(request, refusal, refusal.status, **refusal.fields)
        return AWSResponse(request.url, 200, answer.headers, client.Body(answer.body))

    def ask(self, name: str, headers: Mapping[str, str], body: Any, queued: bool = False, **options: Any) -> Answer:
        """Return the answer of the endpoint; header names are in lower case. Raises `InvocationError` where it is none.

        Asynchronous endpoints answer only what was `queued`. `options` are urllib3's.
        """
        for header, field in _REFUSED.items():
            if header in headers:
                raise InvocationError("ValidationError", f"The local engine has no {field}; leave it out.")
        passed = {header: value for header, value in headers.items() if header.startswith(_PASSED_ON)}
        tried = 0
        mirrored = False
        while True:
            record = self.find(name)
            status = _status(record)
            if "AsyncInferenceConfig" in status and not queued:
                raise InvocationError("ValidationError", f"Endpoint {name} is asynchronous; take InvokeEndpointAsync.")
            member, shadows = _chosen(name, status, headers.get("x-amzn-sagemaker-target-variant"))
            for shadow in [] if mirrored else shadows:
                if random.random() * fleets.weight(member) < fleets.weight(shadow) and _COPIES.acquire(blocking=False):
                    # A daemon thread in the service, which ends without it; other programs end after it.
                    Thread(target=self._mirror, args=(record, status, shadow, headers, passed, body)).start()
            mirrored = True
            try:
                with _slot(record, member):
                    answer = self._answer(member, passed, headers.get("x-amzn-sagemaker-target-model"), body, options)
                    content = answer.data
            except urllib3.exceptions.HTTPError as error:
                if member["Port"] != tried:
                    tried = member["Port"]  # the endpoint may just have been given a new container, on another port
                    continue
                reason = f"The endpoint {name} does not answer ({error})."
                raise InvocationError("ServiceUnavailable", reason, 503) from None
            variant = member["Variant"]["VariantName"]
            if answer.status >= 400:
                raise _refusal(answer.status, content)
            _capture(record, status, variant, (headers, body), (answer.headers, content))
            return Answer({**answer.headers, VARIANT_HEADER: variant}, content)

    def _mirror(
        self, record: Record, status: Request, shadow: Request, headers: Mapping[str, str], passed: Request, body: Any
    ) -> None:
        """Send a copy of a request to a shadow variant; its answer is captured, if anything is, and has no effect."""
        try:
            answer = self._answer(shadow, passed, None, body, {"timeout": _PATIENCE})
            content = answer.data
            if answer.status < 400:
                _capture(record, status, shadow["Variant"]["VariantName"], (headers, body), (answer.headers, content))
        except (urllib3.exceptions.HTTPError, ServiceError, OSError):  # it is being tried; nobody waits for it
            pass
        finally:
            _COPIES.release()

    def find(self, name: str) -> Record:
        """Return the endpoint's record."""
        try:
            return endpoints.find(self._store, name)
        except ServiceError:
            raise InvocationError("ValidationError", f"Endpoint {name} not found.") from None

    def _answer(self, member: Request, headers: Request, target: str | None, body: Any, options: Request) -> Any:
        """Return the response of the fleet's member; of a multi-model one, of the model `target`."""

        def send(method: str, path: str, content: Any, fields: Mapping[str, str]) -> Any:
            url = f"http://127.0.0.1:{member['Port']}{path}"
            return self._pool.request(method, url, body=content, headers=fields, preload_content=False, **options)

        if models.is_multi(member["Container"]) is not (target is not None):
            said = "serves one model; leave TargetModel out" if target else "is multi-model; name a TargetModel"
            raise InvocationError("ValidationError", f"The variant {member['Variant']['VariantName']} {said}.")
        if target is None:
            return send("POST", "/invocations", body, headers)
        try:
            return multi_model.ask(self._store, member, target, body, headers, send)
        except ServiceError as error:
            fields = {"OriginalStatusCode": 500, "OriginalMessage": str(error)} if error.code == "ModelError" else {}
            raise InvocationError(error.code, str(error), 424 if fields else 400, **fields) from None


def named(path: str) -> str:
    """Return the endpoint that the path of an InvokeEndpoint names."""
    parts = path.split("/")
    if len(parts) == 4 and parts[1] == "endpoints" and parts[3] == "invocations":
        return unquote(parts[2])
    said = _OTHERS.get(parts[-1], "such operation at its endpoints; take InvokeEndpoint")
    if parts[1:2] != ["endpoints"]:
        said = f"{path[:100]}: of SageMaker's runtimes it has InvokeEndpoint, but no feature store and no metrics"
    raise InvocationError("UnknownOperationException", f"The local engine has no {said}.", 404)


def _status(record: Record) -> Request:
    try:
        return record.status
    except ServiceError:  # deleted since it was found
        raise InvocationError("ValidationError", f"Endpoint {record.name} not found.") from None


def _capture(
    record: Record, status: Request, variant: str, sent: tuple[Mapping[str, str], Any], answered: tuple[Any, bytes]
) -> None:
    """Keep what was sent and answered, (headers, content) of each, where the endpoint is to."""
    if config := status.get("Capture"):
        parts = (
            {"Type": fields.get("content-type", ""), "Content": content or b""} for fields, content in (sent, answered)
        )
        capture.keep(record, config, variant, *parts)


def _chosen(name: str, status: Request, target: str | None) -> tuple[Request, list[Request]]:
    """Return the member of the endpoint's fleet that is to answer, asked for or by weight, and the fleet's shadows."""
    fleet = fleets.serving(status)
    if (shifting := status.get("Next")) and random.random() < shifting["Share"]:
        fleet = shifting["Fleet"]
    if not fleet:
        raise InvocationError(
            "ValidationError", f"Endpoint {name} is {status['EndpointStatus']}; wait until InService."
        )
    shadows = [member for member in fleet if fleets.is_shadow(member)]
    fleet = [member for member in fleet if not fleets.is_shadow(member)]
    if target is not None:
        for member in fleet:
            if member["Variant"]["VariantName"] == target:
                return member, shadows
        raise InvocationError("ValidationError", f"Endpoint {name} has no variant {target!r}.")
    weights = [fleets.weight(member) for member in fleet]
    if not any(weights):
        raise InvocationError("ValidationError", f"All variants of endpoint {name} have the weight 0.")
    return random.choices(fleet, weights)[0], shadows


@contextmanager
def _slot(record: Record, member: Request) -> Iterator[None]:
    """Hold one of the places that a serverless variant has for requests at a time; none is free: 429.

    A place is a kernel's lock, since requests come from several processes.
    """
    places = member["Variant"].get("ServerlessConfig", {}).get("MaxConcurrency")
    if places is None:
        yield
        return
    folder = record.folder / "slots"
    folder.mkdir(exist_ok=True)
    for number in range(places):
        descriptor = os.open(folder / f"{member['Variant']['VariantName']}-{number}", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            yield
        finally:
            os.close(descriptor)
        return
    reason = f"The endpoint answers {places} requests at a time (MaxConcurrency); try again."
    raise InvocationError("ThrottlingException", reason, 429)


def _refusal(status: int, content: bytes) -> InvocationError:
    said = content.decode(errors="replace")
    side = "client" if status < 500 else "server"
    reason = f'Received {side} error ({status}) from primary with message "{said}".'
    return InvocationError("ModelError", reason, 424, OriginalStatusCode=status, OriginalMessage=said)
