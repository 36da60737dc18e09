"""A fake AWS over real HTTP: moto's server behind a front that records calls, answers as told, and fills gaps."""

import base64
import http.client
import http.server
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"
REGION = "us-east-1"


@dataclass(frozen=True)
class Refusal:
    """An error as the service sends it."""

    code: str
    message: str
    status: int = 400


Answer = dict[str, Any] | Refusal

#: HTTP's method -> the action that S3 asks a permission for. Deleting several objects at once is a POST to the bucket.
_BUCKET_ACTIONS = {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket", "POST": "DeleteObject"}
_OBJECT_ACTIONS = {
    "GET": "GetObject",
    "HEAD": "GetObject",
    "PUT": "PutObject",
    "POST": "PutObject",
    "DELETE": "DeleteObject",
}

#: What a serving container would say: (picture, its content type) -> (status, body).
Container = Callable[[bytes, str], tuple[int, dict[str, Any]]]


@dataclass
class FakeAws:
    """The fake as a test sees it."""

    url: str
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    #: Operation -> answers yet to be given; the last one stays.
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    container: Container | None = None
    invocations: list[dict[str, str]] = field(default_factory=list)
    #: Access key -> the actions that its calls need, as policies name them.
    actions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: A registry (host:port, password) that ECR's answers name in place of Amazon's.
    registry: tuple[str, str] | None = None

    def script(self, operation: str, *answers: Answer) -> None:
        """Let the operation give these answers, one a call."""
        self.answers[operation] = list(answers)

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """Return the requests that were sent for the operation."""
        return [request for name, request in self.calls if name == operation]

    def reset(self) -> None:
        """Forget everything, moto's state included."""
        self.calls.clear()
        self.answers.clear()
        self.invocations.clear()
        self.actions.clear()
        self.container = self.registry = None


class Front(http.server.ThreadingHTTPServer):
    """The server that clients talk to."""

    daemon_threads = True

    def __init__(self, moto: ThreadedMotoServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.moto = moto.get_host_and_port()
        self.aws = FakeAws(f"http://127.0.0.1:{self.server_address[1]}")
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return moto's answer to a request."""
        connection = http.client.HTTPConnection(*self.moto, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def _handle(self) -> None:
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        body = self._body()
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        aws = self.server.aws
        self._note_action(operation, body)
        if self.path.startswith("/endpoints/"):
            self._invoke(body)
            return
        if operation:
            aws.calls.append((operation, json.loads(body or b"{}")))
        scripted = aws.answers.get(operation)
        if scripted:
            answer = scripted.pop(0) if len(scripted) > 1 else scripted[0]
            if isinstance(answer, Refusal):
                self._say(answer.status, {"__type": answer.code, "message": answer.message})
            else:
                self._say(200, answer)
            return
        if operation == "UpdateEndpoint":
            body = self._update_endpoint(json.loads(body))
        status, headers, content = self.server.forward(self.command, self.path, dict(self.headers), body)
        if aws.registry:
            content = self._with_registry(operation, content, *aws.registry)
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _note_action(self, operation: str, body: bytes) -> None:
        signed = re.search(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/", self.headers.get("Authorization", ""))
        if signed is None:
            return
        key, service = signed.groups()
        if service == "s3":
            bucket_only = not urlsplit(self.path).path.strip("/").partition("/")[2]
            operation = (_BUCKET_ACTIONS if bucket_only else _OBJECT_ACTIONS)[self.command]
        elif self.path.startswith("/endpoints/"):
            operation = "InvokeEndpoint"
        elif not operation:
            operation = parse_qs(body.decode())["Action"][0]
        self.server.aws.actions[key].add(f"{service}:{operation}")

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        del self.headers["Transfer-Encoding"]
        self.headers["Content-Length"] = str(len(body))
        return body

    def _say(self, status: int, answer: dict[str, Any], **headers: str) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def _sagemaker(self, operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        headers = dict(self.headers) | {"X-Amz-Target": f"SageMaker.{operation}"}
        content = json.dumps(request).encode()
        headers["Content-Length"] = str(len(content))
        status, _, body = self.server.forward("POST", "/", headers, content)
        return status, json.loads(body or b"{}")

    def _update_endpoint(self, request: dict[str, Any]) -> bytes:
        """Moto has no UpdateEndpoint: remove the old endpoint, and return the request that makes the new one."""
        self._sagemaker("DeleteEndpoint", {"EndpointName": request["EndpointName"]})
        self.headers.replace_header("X-Amz-Target", "SageMaker.CreateEndpoint")
        return json.dumps(request).encode()

    def _invoke(self, body: bytes) -> None:
        """Moto answers for endpoints that do not exist, too, and knows no errors."""
        aws = self.server.aws
        aws.invocations.append(dict(self.headers) | {"path": self.path})
        name = unquote(self.path.split("/")[2])
        self.headers["Content-Type"], content_type = "application/x-amz-json-1.1", self.headers.get("Content-Type", "")
        status, _ = self._sagemaker("DescribeEndpoint", {"EndpointName": name})
        if status != 200:
            missing = {"message": f"Endpoint {name} of account {ACCOUNT} not found."}
            self._say(400, missing, x_amzn_ErrorType="ValidationError")
            return
        assert aws.container
        code, answer = aws.container(body, content_type)
        if code == 200:
            self._say(200, answer)
        else:
            text = json.dumps(answer)
            error: dict[str, Any] = {
                "Message": "Received client error",
                "OriginalStatusCode": code,
                "OriginalMessage": text,
            }
            self._say(424, error, x_amzn_ErrorType="ModelError")

    def _with_registry(self, operation: str, content: bytes, registry: str, password: str) -> bytes:
        if operation == "GetAuthorizationToken":
            token = base64.b64encode(f"AWS:{password}".encode()).decode()
            data = {"authorizationToken": token, "proxyEndpoint": f"http://{registry}"}
            return json.dumps({"authorizationData": [data]}).encode()
        return content.replace(f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com".encode(), registry.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
