"""HTTP on a socket: connections, and which service a request is for."""

import hmac
import http.server
import re
import traceback
import uuid
from http import HTTPStatus
from urllib.parse import parse_qsl

from byoc_vision import http_server
from byoc_vision.contract.errors import UserError
from byoc_vision.local.store import ServiceError, Store
from byoc_vision.service import accounts, bodies, registry, s3, signature
from byoc_vision.service.logs import Logs
from byoc_vision.service.message import Call, Reply, Service, json_failure
from byoc_vision.service.metrics import Metrics
from byoc_vision.service.runtime import Runtime
from byoc_vision.service.sagemaker import SageMaker

#: Seconds that a connection may be silent.
_PATIENCE = 300

#: Bytes of a body that nobody wanted which are read all the same, so that the connection can go on.
_DRAINED = 1 << 20

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

#: HTTP's status of errors of the services that speak JSON, and of STS and IAM; others are 400.
_STATUS = {"ServiceUnavailable": 503, "InternalFailure": 500, "AccessDenied": 403, "InvalidClientTokenId": 403}


class Server(http_server.Server):
    """The service at `host`; elsewhere than on loopback the access key's id must be `token`."""

    request_queue_size = 128

    def __init__(self, store: Store, host: str, port: int, token: str | None = None) -> None:
        """Raises `OSError` where the port is in use."""
        self.token = token
        self.runtime = Runtime(store)
        self.services: dict[str, Service] = {
            "s3": s3.S3(store),
            "sagemaker": SageMaker(store),
            "sagemaker-runtime": self.runtime,
            "logs": Logs(store),
            "monitoring": Metrics(store),
            "sts": accounts.answer,
            "iam": accounts.answer,
            "ecr": registry.answer,
        }
        super().__init__((host, port), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    timeout = _PATIENCE
    rbufsize = wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = bodies.Body(self, headers)
        fields = dict(parse_qsl(query, keep_blank_values=True))
        call = Call(self.command, path, fields, headers, bodies.content(body, headers), uuid.uuid4().hex)
        service = "sagemaker" if "x-amz-target" in headers or path.startswith("/endpoints/") else "s3"
        try:
            service = self._service(call)
            reply = self.server.services[service](call)
        except ServiceError as error:
            reply = _failure(service, error, call)
        except UserError as error:
            reply = _failure(service, ServiceError("ServiceUnavailable", str(error)), call)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            return
        except Exception as error:
            traceback.print_exc()
            reply = _failure(service, ServiceError("InternalFailure", f"{type(error).__name__}: {error}"), call)
        if not body.drain(_DRAINED):
            self.close_connection = True
        self._answer(call, reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = do_PATCH = _handle  # noqa: N815

    def _service(self, call: Call) -> str:
        """Return the service that a request is for; raise `ServiceError` where none may answer it."""
        token, host = self.server.token, call.headers.get("host", "")
        if token is None and re.sub(r":\d+$", "", host) not in _LOOPBACK:
            # A page in a browser may have its own host's name lead here.
            raise ServiceError("AccessDenied", f"This is not the host {host!r}; ask 127.0.0.1.")
        signed = signature.read(call.headers, call.query)
        if signed.service not in self.server.services:
            reason = f"This machine does not answer the service {signed.service}."
            raise ServiceError("UnknownOperationException", reason)
        if token is not None and not hmac.compare_digest(signed.key.encode(), token.encode()):
            raise ServiceError("InvalidClientTokenId", "The access key's id is not this service's token.")
        runtime = signed.service == "sagemaker" and "x-amz-target" not in call.headers
        return "sagemaker-runtime" if runtime else signed.service

    def _answer(self, call: Call, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in ({"x-amz-request-id": call.id, "x-amzn-RequestId": call.id} | reply.headers).items():
            self.send_header(name, re.sub(r"[\r\n\0]", " ", value))
        if reply.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.send_header("Content-Length", str(reply.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if reply.file is not None:
            with reply.file:
                self.wfile.flush()
                if reply.length:  # else it would be all
                    self.connection.sendfile(reply.file, reply.offset, reply.length)
        elif self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def handle_expect_100(self) -> bool:
        """Leave it to the body's first read."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is not even HTTP."""
        super().send_error(code, message, explain)
        self.wfile.flush()

    def version_string(self) -> str:
        """Return the name in the header Server."""
        return "byoc-vision"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; what went wrong is said with its trace."""


def _failure(service: str, error: ServiceError, call: Call) -> Reply:
    """Return the error in the form of the service."""
    if service == "s3":
        return s3.failure(error, call)
    status = _STATUS.get(error.code, 400)
    return accounts.failure(error, call, status) if service in ("sts", "iam") else json_failure(error, status)
