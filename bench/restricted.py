"""Serving containers that may do less than usual: each starts and answers, or says in one sentence why not."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench import load
from bench.containers import Endpoint, Server, container
from bench.results import BenchError, Table, Verdict, none

#: Options of `docker run`, without which a container may do all that it usually may.
OPTIONS = (
    "",
    "--read-only --tmpfs /tmp",
    "--read-only",
    "--cap-drop ALL",
    "--cap-drop ALL --user 1000:1000",
    "--user 12345",
    "--security-opt no-new-privileges",
    "--read-only --tmpfs /tmp --cap-drop ALL --user 12345 --security-opt no-new-privileges",
    "--tmpfs /tmp:size=1m",
    "--tmpfs /tmp:size=64k",
    "--read-only --tmpfs /tmp:size=1m",
    "--network none",
    "--pids-limit 64",
    "--cpus 0.5",
    *(f"--memory {size} --memory-swap {size}" for size in ("300m", "512m", "1g", "2g")),
)

#: Seconds within which a container answers, or ends.
LONGEST = 120.0

#: A body that is no picture, and longer than what a server keeps in memory.
LARGE = bytes(5_000_000)

#: What it may be answered with: it is no picture, or there is no room for it now.
_ANSWERS = (400, 413, 503, 507)

#: Sends the picture on its standard input to the endpoint beside it: where there is no network, there is no other way.
_PROBE = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
connection.request("POST", "/invocations", sys.stdin.buffer.read(), {"Content-Type": "image/jpeg"})
answer = connection.getresponse()
print(answer.status, answer.read().decode().strip())
"""


@dataclass(frozen=True)
class Row:
    """What became of one container: seconds to its first right answer, or the line with which it ended."""

    options: str
    seconds: float | None
    last_line: str = ""
    fault: str = ""
    large: str = ""


def restricted(server: Server, body: bytes, right: int, say: Callable[[str], None]) -> tuple[Table, list[Verdict]]:
    """Start the server under each of `OPTIONS`, and ask it for the class of the picture `body`, which is `right`."""
    rows = []
    for options in OPTIONS:
        say(f"{server.name}: {options or 'no restriction'}")
        rows.append(_row(replace(server, options=(*server.options, *options.split())), options, body, right))
    table = Table(
        f"{server.name}: restricted containers",
        [
            "options",
            "first right answer after, s",
            "or the line with which it ended",
            "a body of 5 MB",
            "what is wrong",
        ],
        [
            [
                f"`{row.options}`" if row.options else "none",
                f"{row.seconds:.1f}" if row.seconds is not None else "",
                row.last_line,
                row.large,
                row.fault,
            ]
            for row in rows
        ],
    )
    wrong = sum(bool(row.fault) for row in rows)
    return table, [none(f"{server.name}, restricted containers that neither answer nor say why", wrong)]


def _row(server: Server, options: str, body: bytes, right: int) -> Row:
    begun = time.monotonic()
    try:
        with container(server) as started:
            while (predicted := _predicted(started, body)) is None and started.running:
                if time.monotonic() > begun + LONGEST:
                    return Row(options, None, started.last_line, f"no answer in {LONGEST:.0f} s")
                time.sleep(0.1)
            if predicted is None:
                return Row(options, None, started.last_line, _silence(started))
            seconds = time.monotonic() - begun
            if predicted != right:
                return Row(options, seconds, fault=f"class {predicted} instead of {right}")
            return _large(started, Row(options, seconds))
    except BenchError as error:
        return Row(options, None, fault=str(error))


def _silence(ended: Endpoint) -> str:
    """Return what is wrong with the end of a container."""
    log = ended.log
    if "Traceback" in log or "\tat " in log:
        return "a trace in its log"
    return "" if ended.exit_status and log.strip() else f"status {ended.exit_status}, and nothing said"


def _predicted(started: Endpoint, body: bytes) -> int | None:
    if started.port:
        return load.predicted(started.port, body)
    try:
        status, _, answer = started.execute("python", "-c", _PROBE, stdin=body).partition(" ")
    except BenchError:  # it does not listen yet, or has ended
        return None
    return load.predicted_class(answer.encode()) if status == "200" else None


def _large(started: Endpoint, row: Row) -> Row:
    if not started.port:
        return row
    try:
        status = load.ask(started.port, LARGE)[0]
    except OSError as error:
        return replace(row, fault=f"no answer to a body of 5 MB ({type(error).__name__})")
    return replace(row, large=str(status), fault="" if status in _ANSWERS else "the status of a body of 5 MB")
