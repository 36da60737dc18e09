"""boto3's own clients, with every request answered on this machine where it would be sent to AWS.

So methods, checks, paginators, waiters, exceptions and response shapes are the real ones: what an answer holds that the
operation's output shape does not is dropped by botocore's parser, and an error is the exception it would be.
"""

import io
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from byoc_vision.local.store import REGION, Request, ServiceError

#: Answers an operation (its name, its arguments); may raise `ServiceError`.
Answer = Callable[[str, Request], Request]


class Body(io.BytesIO):
    """A response's body, as botocore reads it."""

    def stream(self, size: int = 1 << 16, **_: Any) -> Iterator[bytes]:
        """Yield the body in parts."""
        while part := self.read(size):
            yield part


def sagemaker(answer: Answer) -> Any:
    """Return a client of SageMaker whose requests `answer` answers."""

    def send(request: Any, **_: Any) -> Any:
        operation = request.headers["X-Amz-Target"].decode().partition(".")[2]
        try:
            return response(request, 200, answer(operation, json.loads(request.body)))
        except ServiceError as error:
            return failure(request, error)

    return _client("sagemaker", send)


def runtime(send: Callable[..., Any]) -> Any:
    """Return a client of SageMaker's endpoints; `send` gets a botocore request and returns the response."""
    return _client("sagemaker-runtime", send)


def response(request: Any, code: int, content: Request, **headers: str) -> Any:
    """Return the HTTP response to a botocore request, with `content` as JSON."""
    from botocore.awsrequest import AWSResponse

    return AWSResponse(request.url, code, headers, Body(json.dumps(content).encode()))


def failure(request: Any, error: ServiceError, code: int = 400, **fields: Any) -> Any:
    """Return the HTTP response that becomes a `ClientError`."""
    content = {"__type": error.code, "message": str(error)} | fields
    return response(request, code, content, **{"x-amzn-errortype": error.code})


def _client(service: str, send: Callable[..., Any]) -> Any:
    import botocore.session

    # Nothing of the user's AWS set-up is read: a profile that does not exist is no hindrance here.
    nothing = (None, None, os.devnull, None)
    session = botocore.session.Session(
        session_vars={"profile": (None, None, None, None), "config_file": nothing, "credentials_file": nothing}
    )
    session.set_credentials("local", "local")
    client = session.create_client(service, region_name=REGION, endpoint_url="http://local.invalid")
    client.meta.events.register(f"before-send.{service}", send)
    return client
