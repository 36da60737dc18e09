"""`byoc service` beside plain copies through the same kind of socket, and what it adds to an operation.

    python -m bench.service

It compares time, and CPU time of client and server together, which a busy machine changes less. No containers.
"""

import argparse
import http.client
import http.server
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3

from bench.results import Verdict, alternate, at_least, at_most
from byoc_vision.local.store import Store
from byoc_vision.service import env
from byoc_vision.service.daemon import Service

ROUNDS = 4

#: Bytes of a small object, and how many are asked for in a round; bytes of a large one.
SMALL, TIMES, LARGE = 10_000, 3000, 200 << 20

#: Objects that are uploaded, listed and downloaded; bytes of each.
OBJECTS, EACH = 50_000, 1000

#: Lines of a log; operations and invocations of a kind.
LINES, ASKED = 300_000, 30

_SIGNED = (
    "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature="
    + "0" * 64
)

#: Copies files: lines "GET PATH 0" and "PUT PATH BYTES".
_COPIES = """
import os, socketserver
class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    def handle(self):
        while line := self.rfile.readline():
            verb, path, size = line.decode().split()
            if verb == "GET":
                with open(path, "rb", 0) as file:
                    size = os.fstat(file.fileno()).st_size
                    self.request.sendall(b"%020d" % size + (file.read() if size < 1 << 15 else b""))
                    if size >= 1 << 15:
                        self.request.sendfile(file, 0, size)
            else:
                left, buffer = int(size), memoryview(bytearray(1 << 20))
                with open(path + ".new", "wb", 0) as file:
                    while left:
                        left -= file.write(buffer[: self.rfile.readinto(buffer[:left])])
                os.replace(path + ".new", path)
                self.request.sendall(b"done")
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


class Peer:
    """A server's process, and a connection to it."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def cpu(self) -> float:
        """Return the seconds that this process and the server's have computed."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        own = resource.getrusage(resource.RUSAGE_SELF)
        return own.ru_utime + own.ru_stime + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def copy(self, verb: str, path: Path, file: Path) -> None:
        """Let the server of copies send or take its file `path`; here that is `file`."""
        self._socket.sendall(f"{verb} {path} {file.stat().st_size if verb == 'PUT' else 0}\n".encode())
        if verb == "PUT":
            with file.open("rb") as content:
                self._socket.sendfile(content)
            self._file.read(4)
        else:
            _save(self._file, int(self._file.read(20)), file)

    def copy_small(self, verb: str, path: Path, content: bytes = b"") -> None:
        """Let the server of copies send its small file `path`, or take the content for it."""
        self._socket.sendall(f"{verb} {path} {len(content)}\n".encode() + content)
        self._file.read(4 if content else int(self._file.read(20)))

    def ask(self, method: str, key: str, body: bytes = b"") -> bytes:
        """Ask the service for an object in the default bucket, with no more than that takes; return the answer."""
        head = f"{method} /{env.BUCKET}/{key} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {_SIGNED}\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        return self._file.read(length)

    def close(self) -> None:
        """Leave it."""
        self._file.close()
        self._socket.close()


def _save(source: Any, size: int, file: Path) -> None:
    buffer = memoryview(bytearray(1 << 20))
    with file.open("wb", 0) as target:
        while size:
            size -= target.write(buffer[: source.readinto(buffer[:size])])


def _beside(
    what: str, copies: Peer, service: Peer, copy: Callable[[], object], ask: Callable[[], object]
) -> list[Verdict]:
    """Return the verdicts on how much less a plain copy takes, of the processors and of time."""

    def measured(peer: Peer, work: Callable[[], object]) -> tuple[float, float]:
        before, begin = peer.cpu(), time.monotonic()
        work()
        return peer.cpu() - before, time.monotonic() - begin

    sides = {"copy": lambda: measured(copies, copy), "service": lambda: measured(service, ask)}
    rounds = alternate(sides, ROUNDS, lambda text: None)
    (cpu, wall), (our_cpu, our_wall) = (map(sum, zip(*rounds[side], strict=True)) for side in sides)
    print(f"{what}: a copy {cpu:.2f} s of CPU, {wall:.2f} s; the service {our_cpu:.2f} s of CPU, {our_wall:.2f} s")
    return [
        at_least(f"{what}, a plain copy's CPU time to the service's", cpu / our_cpu, 0.5),
        at_least(f"{what}, a plain copy's time to the service's", wall / our_wall, 0.5),
    ]


def objects(copies: Peer, service: Peer, folder: Path) -> list[Verdict]:
    """Copy small and large objects with the service and without."""
    small, large, got = folder / "small", folder / "large", folder / "got"
    small.write_bytes(os.urandom(SMALL))
    large.write_bytes(os.urandom(LARGE))
    s3 = boto3.client("s3")
    s3.put_object(Bucket=env.BUCKET, Key="a/b/small", Body=small.read_bytes())
    content = small.read_bytes()

    def times(work: Callable[[], object]) -> Callable[[], object]:
        return lambda: [work() for _ in range(TIMES)]

    return [
        *_beside(
            "10 kB, bare client, get",
            copies,
            service,
            times(lambda: copies.copy_small("GET", small)),
            times(lambda: service.ask("GET", "a/b/small")),
        ),
        *_beside(
            "10 kB, bare client, put",
            copies,
            service,
            times(lambda: copies.copy_small("PUT", folder / "copy", content)),
            times(lambda: service.ask("PUT", "a/b/put", content)),
        ),
        *_beside(
            "200 MB, boto3, upload",
            copies,
            service,
            lambda: copies.copy("PUT", folder / "copy", large),
            lambda: s3.upload_file(str(large), env.BUCKET, "large"),
        ),
        *_beside(
            "200 MB, boto3, download",
            copies,
            service,
            lambda: copies.copy("GET", large, got),
            lambda: s3.download_file(env.BUCKET, "large", str(got)),
        ),
    ]


def many(service: Peer) -> list[Verdict]:
    """Upload, list and download many small objects; return what memory the service took."""
    port = boto3.client("s3").meta.endpoint_url.rpartition(":")[2]

    def each(work: Callable[[Peer, str], object], first: int) -> None:
        peer = Peer(service.pid, int(port))
        for number in range(first, OBJECTS, 4):
            work(peer, f"many/{number % 100:02}/{number}.jpg")
        peer.close()

    body, seconds = os.urandom(EACH), []
    begin = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda first: each(lambda peer, key: peer.ask("PUT", key, body), first), range(4)))
        seconds.append(time.monotonic() - begin)
        pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=env.BUCKET, Prefix="many/")
        count = sum(len(page["Contents"]) for page in pages)
        seconds.append(time.monotonic() - begin - sum(seconds))
        list(pool.map(lambda first: each(lambda peer, key: peer.ask("GET", key), first), range(4)))
        seconds.append(time.monotonic() - begin - sum(seconds))
    print(f"{count} objects: put in {seconds[0]:.1f} s, listed in {seconds[1]:.1f} s, got in {seconds[2]:.1f} s")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{service.pid}/status").read_text())
    assert found and count == OBJECTS
    return [at_most("memory of the service with all of these, MB", int(found[1]) / 1024, 500, "{:.0f}")]


def asked(store: Store) -> list[Verdict]:
    """Time operations, and an invocation with the service and without."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    status = {"TrainingStartTime": begin.isoformat(), "TrainingJobStatus": "Completed", "SecondaryStatus": "Completed"}
    request = {"TrainingJobName": "big", "OutputDataConfig": {"S3OutputPath": f"s3://{env.BUCKET}/results"}}
    request["AlgorithmSpecification"] = {"TrainingInputMode": "File"}
    record, lock = store.create("training-job", "big", request, **status)
    lock.release()
    with (record.folder / "log").open("w") as log:
        for number in range(LINES):
            print(f"{(begin + timedelta(milliseconds=number)).isoformat()} epoch={number} loss=0.5 and so on", file=log)
    logs, sagemaker = boto3.client("logs"), boto3.client("sagemaker")
    group = {"logGroupName": "/aws/sagemaker/TrainingJobs"}
    (stream,) = logs.describe_log_streams(**group)["logStreams"]
    stream = group | {"logStreamName": stream["logStreamName"]}
    calls: dict[str, Callable[[], Any]] = {
        "DescribeTrainingJob": lambda: sagemaker.describe_training_job(TrainingJobName="big"),
        "ListTrainingJobs": sagemaker.list_training_jobs,
        "DescribeLogStreams": lambda: logs.describe_log_streams(**group),
        "GetLogEvents, 1,000 lines": lambda: logs.get_log_events(**stream, limit=1000),
        "FilterLogEvents that finds nothing": lambda: logs.filter_log_events(**group, filterPattern="-epoch"),
        "FilterLogEvents of a rare word": lambda: logs.filter_log_events(**group, filterPattern="nothing"),
    }
    verdicts = [at_most(f"{name}, ms", _milliseconds(call, ASKED), 50, "{:.1f}") for name, call in calls.items()]

    class Container(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    container = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Container)
    threading.Thread(target=container.serve_forever, daemon=True).start()
    member = {"Name": "a", "Port": container.server_port, "Variant": {"VariantName": "AllTraffic"}, "Container": {}}
    store.create("endpoint", "a", {}, EndpointStatus="InService", Serving=[member])[1].release()
    picture = os.urandom(SMALL)

    def invoke(port: int, path: str) -> Callable[[], object]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        headers = {"Authorization": _SIGNED.replace("/s3/", "/sagemaker/"), "Content-Type": "image/jpeg"}

        def ask() -> bytes:
            connection.request("POST", path, picture, headers)
            return connection.getresponse().read()

        return ask

    port = int(sagemaker.meta.endpoint_url.rpartition(":")[2])
    sides = {"direct": (container.server_port, "/invocations"), "service": (port, "/endpoints/a/invocations")}
    works = {name: partial(_milliseconds, invoke(*side), 300) for name, side in sides.items()}
    taken = alternate(works, ROUNDS, lambda text: None)
    more = statistics.median(taken["service"]) - statistics.median(taken["direct"])
    return [*verdicts, at_most("an invocation through the service, ms more", more, 3)]


def _milliseconds(call: Callable[[], object], times: int) -> float:
    """Return the median time of a call."""
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds) * 1000


def main() -> None:
    """Measure all of it, and print what was found."""
    argparse.ArgumentParser(prog="python -m bench.service", description=(__doc__ or "").splitlines()[0]).parse_args()
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        copying = subprocess.Popen([sys.executable, "-c", _COPIES], stdout=subprocess.PIPE, text=True)
        exits.callback(copying.kill)
        assert copying.stdout
        service = Service(folder / "local")
        exits.callback(service.stop)
        address = service.start(None, 0)
        os.environ.update(env.variables(service.root, address.url, address.token))
        copies, peer = Peer(copying.pid, int(copying.stdout.readline())), Peer(address.pid, address.port)
        verdicts = [*objects(copies, peer, folder), *many(peer), *asked(Store(service.root))]
    for verdict in verdicts:
        print(f"{verdict.what:60} {verdict.figure:>8} {verdict.bar:>6} {'reached' if verdict.reached else 'MISSED'}")


if __name__ == "__main__":
    main()
