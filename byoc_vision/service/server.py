"""HTTP on a socket: connections, and which service a request is for."""

import hmac
import http.server
import random
import re
import time
import traceback
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl

from byoc_vision import http_server
from byoc_vision.contract.errors import UserError
from byoc_vision.local.store import ServiceError, Store
from byoc_vision.service import accounts, bodies, registry, s3, signature
from byoc_vision.service.logs import Logs
from byoc_vision.service.message import Call, Reply, Service, http_date, json_failure
from byoc_vision.service.metrics import Metrics
from byoc_vision.service.runtime import Runtime
from byoc_vision.service.sagemaker import SageMaker

#: Seconds that a connection may be silent.
_PATIENCE = 300

#: Bytes of a body that nobody wanted which are read all the same: a client looks for the answer once it has sent all.
_DRAINED = 1 << 24

#: The longest line of a request's head, and the most headers.
_LINE, _FIELDS = 1 << 16, 100

_PHRASES = {status.value: status.phrase for status in HTTPStatus}

#: What a header cannot hold.
_BREAKS = re.compile(r"[\r\n\0]")

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

#: A bucket's own host. All names below localhost are this machine's, wherever they are looked up.
_BUCKET_HOST = re.compile(r"([a-z0-9.-]+)\.localhost(?::\d+)?")

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
    request_version = "HTTP/1.1"
    raw_requestline: bytes
    server: Server
    timeout = _PATIENCE
    rbufsize = wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """Read a request's head, and answer what is none. The library's own takes most of a small request's time."""
        self.close_connection = True
        self.command = self.requestline = ""
        words = str(self.raw_requestline, "latin-1").split()
        if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
            self.send_error(HTTPStatus.BAD_REQUEST, "This is not a request of HTTP/1.1")
            return False
        self.command, self.path, self.request_version = words
        self.fields: dict[str, str] = {}
        while (line := self.rfile.readline(_LINE)) not in (b"\r\n", b"\n"):
            name, colon, value = str(line, "latin-1").partition(":")
            if not line.endswith(b"\n") or not colon or name != name.strip() or len(self.fields) == _FIELDS:
                self.send_error(HTTPStatus.BAD_REQUEST, "A header is broken, or too long, or there are too many")
                return False
            name, value = name.lower(), value.strip()
            self.fields[name] = f"{self.fields[name]}, {value}" if name in self.fields else value
        self.close_connection = words[2] == "HTTP/1.0" or "close" in self.fields.get("connection", "").lower()
        return True

    def _handle(self) -> None:
        path, _, query = self.path.partition("?")
        bucket, _ = _named(self.fields.get("host", ""))
        if bucket:
            path = f"/{bucket}{path}"
        body = bodies.Body(self, self.fields)
        asked = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        identity = f"{random.getrandbits(128):032x}"
        call = Call(self.command, path, asked, self.fields, bodies.content(body, self.fields), identity)
        service = ""
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
        if token is None and not _named(host)[1]:
            # A page in a browser may have its own host's name lead here.
            raise ServiceError("AccessDenied", f"This is not the host {host!r}; ask 127.0.0.1.")
        form = call.headers.get("content-type", "").startswith("multipart/form-data")
        if form and "authorization" not in call.headers:  # any page can send one
            raise ServiceError("NotImplemented", "This machine takes no uploads by forms; presign a PUT instead.")
        signed = signature.read(call.headers, call.query)
        if signed.service not in self.server.services:
            reason = f"This machine does not answer the service {signed.service}; docs/service.md lists those it does."
            raise ServiceError("UnknownOperationException", reason)
        if token is not None and not hmac.compare_digest(signed.key.encode(), token.encode()):
            raise ServiceError("InvalidClientTokenId", "The access key's id is not this service's token.")
        runtime = signed.service == "sagemaker" and "x-amz-target" not in call.headers
        return "sagemaker-runtime" if runtime else signed.service

    def _answer(self, call: Call, reply: Reply) -> None:
        headers = {
            "Server": "byoc-vision",
            "Date": http_date(int(time.time())),
            "x-amz-request-id": call.id,
            "x-amzn-RequestId": call.id,
            **reply.headers,
        }
        if reply.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            headers["Content-Length"] = str(reply.length)
        if self.close_connection:
            headers["Connection"] = "close"
        if not "".join(headers.values()).isprintable():
            headers = {name: _BREAKS.sub(" ", value) for name, value in headers.items()}
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"HTTP/1.1 {reply.status} {_PHRASES[reply.status]}\r\n{lines}\r\n"
        self.wfile.write(head.encode("latin-1", errors="replace"))
        if reply.file is not None:
            with reply.file:
                self.wfile.flush()
                if reply.length:  # else it would be all
                    self.connection.sendfile(reply.file, reply.offset, reply.length)
        elif self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is not even HTTP."""
        super().send_error(code, message, explain)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; what went wrong is said with its trace."""


@lru_cache(1 << 10)
def _named(host: str) -> tuple[str, bool]:
    """Return the bucket whose own host it is, if it is one's, and whether it is this machine's."""
    if bucket := _BUCKET_HOST.fullmatch(host):
        return bucket[1], True
    return "", re.sub(r":\d+$", "", host) in _LOOPBACK


def _failure(service: str, error: ServiceError, call: Call) -> Reply:
    """Return the error in the form of the service; where that is not known, or not here, as its client will read it."""
    if not service:
        form = call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        named = re.search(r"/([a-z0-9-]+)/aws4_request", call.headers.get("authorization", ""))
        json = "x-amz-target" in call.headers or call.path.startswith("/endpoints/") or (named and named[1] != "s3")
        service = "sts" if form else "sagemaker" if json else "s3"
    if service == "s3":
        return s3.failure(error, call)
    status = _STATUS.get(error.code, 400)
    return accounts.failure(error, call, status) if service in ("sts", "iam") else json_failure(error, status)
