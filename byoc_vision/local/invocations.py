"""InvokeEndpoint: a request goes on to the endpoint's container, its answer comes back as the service would give it."""

from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from botocore.awsrequest import AWSResponse

from byoc_vision.local import client, endpoints
from byoc_vision.local.store import ServiceError, Store

#: Beginnings of the headers that the container gets.
_PASSED_ON = ("content-type", "accept", "x-amzn-sagemaker-")


class Invocations:
    """Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = urllib3.PoolManager(maxsize=16, retries=False)

    def send(self, request: Any, **_: Any) -> Any:
        """Return the response to a botocore request."""
        parts = urlsplit(request.url).path.split("/")
        if len(parts) != 4 or parts[3] != "invocations":
            return client.failure(request, ServiceError("ValidationError", "The local engine has InvokeEndpoint only."))
        name = unquote(parts[2])
        tried = 0
        while True:
            try:
                port = int(endpoints.find(self._store, name).status["Port"])
            except ServiceError:
                return client.failure(request, ServiceError("ValidationError", f"Endpoint {name} not found."))
            try:
                answer = self._ask(port, request)
            except urllib3.exceptions.HTTPError as error:
                if port != tried:  # the endpoint may just have been given a new container, on another port
                    tried = port
                    continue
                unanswered = ServiceError("ServiceUnavailable", f"The endpoint {name} does not answer ({error}).")
                return client.failure(request, unanswered, 503)
            if answer.status >= 400:
                return _refusal(request, answer)
            return AWSResponse(request.url, 200, answer.headers, answer)

    def _ask(self, port: int, request: Any) -> Any:
        headers = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
            if name.lower().startswith(_PASSED_ON)
        }
        url = f"http://127.0.0.1:{port}/invocations"
        return self._pool.request("POST", url, body=request.body, headers=headers, preload_content=False)


def _refusal(request: Any, answer: Any) -> Any:
    said = answer.data.decode(errors="replace")
    side = "client" if answer.status < 500 else "server"
    error = ServiceError("ModelError", f'Received {side} error ({answer.status}) from primary with message "{said}".')
    return client.failure(request, error, 424, OriginalStatusCode=answer.status, OriginalMessage=said)
