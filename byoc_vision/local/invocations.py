"""InvokeEndpoint: a request goes on to the endpoint's container, its answer comes back as the service would give it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from botocore.awsrequest import AWSResponse

from byoc_vision.local import client, endpoints
from byoc_vision.local.store import ServiceError, Store

#: Beginnings of the headers that the container gets.
_PASSED_ON = ("content-type", "accept", "x-amzn-sagemaker-")


class InvocationError(ServiceError):
    """What InvokeEndpoint answers in place of a container's 200: with its HTTP status, and the error's fields."""

    def __init__(self, code: str, message: str, status: int = 400, **fields: Any) -> None:
        super().__init__(code, message)
        self.status, self.fields = status, fields


class Invocations:
    """Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = urllib3.PoolManager(maxsize=16, retries=False)

    def send(self, request: Any, **_: Any) -> Any:
        """Return the response to a botocore request."""
        parts = urlsplit(request.url).path.split("/")
        headers = {
            name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
        }
        try:
            if len(parts) != 4 or parts[3] != "invocations":
                raise InvocationError("UnknownOperationException", "The local engine has InvokeEndpoint only.")
            answer = self.ask(unquote(parts[2]), headers, request.body)
        except InvocationError as refusal:
            return client.failure(request, refusal, refusal.status, **refusal.fields)
        return AWSResponse(request.url, 200, answer.headers, answer)

    def ask(self, name: str, headers: Mapping[str, str], body: Any) -> Any:
        """Return urllib3's response of the endpoint's container, which is a 200; raise `InvocationError` otherwise."""
        passed = {header: value for header, value in headers.items() if header.lower().startswith(_PASSED_ON)}
        tried = 0
        while True:
            try:
                port = int(endpoints.find(self._store, name).status["Port"])
            except ServiceError:
                raise InvocationError("ValidationError", f"Endpoint {name} not found.") from None
            url = f"http://127.0.0.1:{port}/invocations"
            try:
                answer = self._pool.request("POST", url, body=body, headers=passed, preload_content=False)
            except urllib3.exceptions.HTTPError as error:
                if port != tried:  # the endpoint may just have been given a new container, on another port
                    tried = port
                    continue
                reason = f"The endpoint {name} does not answer ({error})."
                raise InvocationError("ServiceUnavailable", reason, 503) from None
            if answer.status >= 400:
                raise _refusal(answer)
            return answer


def _refusal(answer: Any) -> InvocationError:
    said = answer.data.decode(errors="replace")
    side = "client" if answer.status < 500 else "server"
    reason = f'Received {side} error ({answer.status}) from primary with message "{said}".'
    return InvocationError("ModelError", reason, 424, OriginalStatusCode=answer.status, OriginalMessage=said)
