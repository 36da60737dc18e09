"""InvokeEndpoint over HTTP, with a container played by a server."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.cloud.service.conftest import Service, refused


@pytest.fixture
def container(service: Service) -> Iterator[Callable[[int, bytes], None]]:
    """Return a function that says what the container of the endpoint "a" answers from now on."""
    answer: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(answer["status"])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer["body"])))
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    member = {"Name": "a", "Port": server.server_port, "Variant": {"VariantName": "AllTraffic"}, "Container": {}}
    _, lock = service.store.create("endpoint", "a", {}, EndpointStatus="InService", Serving=[member])
    lock.release()
    yield lambda status, body: answer.update(status=status, body=body)
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_endpoint_is_asked(service: Service, container: Callable[[int, bytes], None]) -> None:
    runtime = service.client("sagemaker-runtime")
    container(200, b'{"a": 1}')
    answer = runtime.invoke_endpoint(EndpointName="a", Body=b"picture", ContentType="image/jpeg")
    assert (answer["Body"].read(), answer["ContentType"]) == (b'{"a": 1}', "application/json")
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    container(415, b"no picture")
    with pytest.raises(runtime.exceptions.ModelError, match="no picture") as caught:
        runtime.invoke_endpoint(EndpointName="a", Body=b"text")
    assert caught.value.response["OriginalStatusCode"] == 415
    with refused("ValidationError", "not found"):
        runtime.invoke_endpoint(EndpointName="none", Body=b"x")
    with refused("ValidationError"):
        runtime.invoke_endpoint(EndpointName="../a", Body=b"x")
    with refused("ValidationError", "not asynchronous"):
        runtime.invoke_endpoint_async(EndpointName="a", InputLocation="s3://a/b")
    with refused("UnknownOperationException", "no InvokeEndpointWithResponseStream; take InvokeEndpoint"):
        runtime.invoke_endpoint_with_response_stream(EndpointName="a", Body=b"x")
