"""HTTP on a socket: connections, bodies in and out by streaming, and which service a request is for."""

import hmac
import http.server
import sys
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from byoc_vision.contract.errors import UserError
from byoc_vision.local.store import ServiceError, Store
from byoc_vision.service import accounts, registry, s3, signature
from byoc_vision.service.logs import Logs
from byoc_vision.service.message import CHUNK, Call, Reply, Service, json_failure
from byoc_vision.service.runtime import Runtime
from byoc_vision.service.sagemaker import SageMaker

#: Seconds that a connection may be silent.
_PATIENCE = 300

#: Bytes of a body that nobody wanted which are read all the same, so that the connection can go on.
_DRAINED = 1 << 20

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Server(http.server.ThreadingHTTPServer):
    """The service at `host`; elsewhere than on loopback the access key's id must be `token`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, store: Store, host: str, port: int, token: str | None = None) -> None:
        """Raises `OSError` where the port is in use."""
        self.token = token
        self.services: dict[str, Service] = {
            "s3": s3.S3(store),
            "sagemaker": SageMaker(store),
            "sagemaker-runtime": Runtime(store),
            "logs": Logs(store),
            "sts": accounts.answer,
            "iam": accounts.answer,
            "ecr": registry.answer,
        }
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind the socket. The class before asks the network for the host's name, which may take seconds."""
        super(http.server.HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that clients have left."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    timeout = _PATIENCE
    rbufsize = wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._body = _Body(self, headers)
        body = _AwsChunks(self._body) if _is_aws_chunked(headers) else self._body
        call = Call(self.command, path, dict(parse_qsl(query, keep_blank_values=True)), headers, body, uuid.uuid4().hex)
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
        self._answer(call, reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = do_PATCH = _handle  # noqa: N815

    def _service(self, call: Call) -> str:
        """Return the service that a request is for; raise `ServiceError` where none may answer it."""
        host = call.headers.get("host", "").rpartition(":")[0] or call.headers.get("host", "")
        if self.server.token is None and host not in _LOOPBACK:
            # A page in a browser may have its own host's name lead here.
            raise ServiceError("AccessDenied", f"This is not the host {host!r}; ask 127.0.0.1.")
        signed = signature.read(call.headers, call.query)
        if signed.service not in self.server.services:
            raise ServiceError(
                "UnknownOperationException", f"This machine does not answer the service {signed.service}."
            )
        if self.server.token is not None and not hmac.compare_digest(signed.key.encode(), self.server.token.encode()):
            raise ServiceError("InvalidClientTokenId", "The access key's id is not this service's token.")
        runtime = signed.service == "sagemaker" and "x-amz-target" not in call.headers
        return "sagemaker-runtime" if runtime else signed.service

    def _answer(self, call: Call, reply: Reply) -> None:
        """Send the reply, and see to what is left of the request's body."""
        length = reply.length
        if length is None and isinstance(reply.body, bytes):
            length = len(reply.body)
        try:
            if not self._body.drain(_DRAINED):
                self.close_connection = True
            self.send_response(reply.status)
            for name, value in ({"x-amz-request-id": call.id, "x-amzn-RequestId": call.id} | reply.headers).items():
                self.send_header(name, value)
            empty = reply.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
            if length is not None and not empty:
                self.send_header("Content-Length", str(length))
            elif not empty:
                self.send_header("Transfer-Encoding", "chunked")
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD" and not empty:
                self._send_body(reply, length)
            self.wfile.flush()
        finally:
            with suppress(AttributeError):  # bytes and iterators
                reply.body.close()  # type: ignore[union-attr]

    def _send_body(self, reply: Reply, length: int | None) -> None:
        if isinstance(reply.body, bytes):
            self.wfile.write(reply.body)
        elif isinstance(reply.body, Iterator) and length is None:
            for part in reply.body:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        elif length:
            self.wfile.flush()
            self.connection.sendfile(reply.body, reply.offset, length)

    def handle_expect_100(self) -> bool:
        """Leave it to the body's first read: a request that is refused need not be sent."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is not even HTTP."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        super().send_error(code, message, explain)
        self.wfile.flush()

    def version_string(self) -> str:
        """Return the name in the header Server."""
        return "byoc-vision"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; what went wrong is said with its trace."""


class _Body:
    """The body of a request, from the connection."""

    def __init__(self, handler: _Handler, headers: Mapping[str, str]) -> None:
        self._handler, self._file = handler, handler.rfile
        self._expected = headers.get("expect", "").lower() == "100-continue"
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length", "0")
        self._broken = not (length.isascii() and length.isdigit())
        self._left = 0 if self._chunked or self._broken else int(length)
        self._over = not self._chunked and not self._left

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; nothing at the end. Raises `ServiceError` where it ends too early."""
        if self._broken:
            raise ServiceError("InvalidArgument", "The header Content-Length is not a number.")
        if self._over:
            return b""
        if self._expected:
            self._expected = False
            self._handler.send_response_only(HTTPStatus.CONTINUE)
            self._handler.end_headers()
            self._handler.wfile.flush()
        if self._chunked and not self._left and not self._next_chunk():
            return b""
        part = self._file.read(min(size, self._left))
        if not part:
            raise ConnectionResetError
        self._left -= len(part)
        if not self._left:
            if self._chunked:
                self._file.readline(8)
            else:
                self._over = True
        return part

    def readline(self) -> bytes:
        """Return a short line, for what is coded within the body."""
        line = b""
        while not line.endswith(b"\n") and len(line) < 1024 and (byte := self.read(1)):
            line += byte
        return line

    def drain(self, limit: int) -> bool:
        """Read what is left, up to `limit` bytes; return whether that was all."""
        if self._broken or (self._expected and not self._over):
            return False
        with suppress(ServiceError, OSError):
            while limit > 0 and (part := self.read(min(limit, CHUNK))):
                limit -= len(part)
        return self._over

    def _next_chunk(self) -> bool:
        line = self._file.readline(1024).partition(b";")[0].strip()
        self._left = _size(line)
        if not self._left:
            self._over = True
            while self._file.readline(1024).strip():
                pass
        return bool(self._left)


class _AwsChunks:
    """What is within a body that is coded `aws-chunked`: signed chunks, with checksums after them."""

    def __init__(self, body: _Body) -> None:
        self._body, self._left, self._over = body, 0, False

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; nothing at the end."""
        if not self._left and not self._over:
            self._left = _size(self._body.readline().partition(b";")[0].strip())
            if not self._left:
                self._over = True
                while self._body.read(CHUNK):  # checksums
                    pass
        if self._over:
            return b""
        part = self._body.read(min(size, self._left))
        if not part:
            raise ServiceError("IncompleteBody", "The body ends within a chunk.")
        self._left -= len(part)
        if not self._left:
            self._body.readline()
        return part


def _size(text: bytes) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise ServiceError("InvalidArgument", "The body's chunks are broken.") from None


def _is_aws_chunked(headers: Mapping[str, str]) -> bool:
    coded = headers.get("content-encoding", "").replace(" ", "").split(",")
    return "aws-chunked" in coded or headers.get("x-amz-content-sha256", "").startswith("STREAMING-")


def _failure(service: str, error: ServiceError, call: Call) -> Reply:
    """Return the error in the form of the service."""
    if service == "s3":
        return s3.failure(error, call)
    status = {"ServiceUnavailable": 503, "InternalFailure": 500, "AccessDenied": 403, "InvalidClientTokenId": 403}
    code = status.get(error.code, 400)
    return accounts.failure(error, call, code) if service in ("sts", "iam") else json_failure(error, code)
