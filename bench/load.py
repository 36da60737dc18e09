"""A small load generator: so many keep-alive connections, each sending its next picture when the last is answered."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Seconds a client waits for an answer.
TIMEOUT = 60


@dataclass
class Load:
    """What a load of some `seconds` found: seconds of each answered request, and how many were not answered right.

    `failures` counts these by status, "connection" (it ended), "refused" and "wrong"; `client` is the share of one core
    that sending and receiving took, of the cores that the server works on too; `form` is the numeric form that the
    server computed in.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    client: float = 0.0
    form: str = ""

    @property
    def errors(self) -> int:
        """How many requests were not answered right."""
        return self.failures.total()

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency in milliseconds that `share` of the requests do not exceed."""
        return percentile(self.latencies, share)


def percentile(latencies: Sequence[float], share: float) -> float:
    """Return, in milliseconds, which of `latencies` (seconds) the `share` of them does not exceed."""
    return 1000 * sorted(latencies)[min(len(latencies) - 1, int(share * len(latencies)))]


def drive(
    port: int,
    bodies: Sequence[bytes],
    connections: int,
    seconds: float = float("inf"),
    right: bytes | None = None,
    stop: threading.Event | None = None,
) -> Load:
    """Send `bodies` in turn over so many connections for so many seconds, or until `stop` is set.

    An answer is right when it is a 200, and the bytes `right` where these are given.
    """
    total = Load()
    lock = threading.Lock()
    deadline = time.monotonic() + seconds

    def client(first: int) -> None:
        latencies, failures, number = [], Counter[str](), first
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        while (begun := time.monotonic()) < deadline and not (stop and stop.is_set()):
            try:
                status, answer = _send(connection, bodies[number % len(bodies)])
            except (OSError, http.client.HTTPException) as error:
                failures["refused" if isinstance(error, ConnectionRefusedError) else "connection"] += 1
                connection.close()
                time.sleep(0.01)  # nobody may be listening
            else:
                if status != 200:
                    failures[str(status)] += 1
                elif right is not None and answer != right:
                    failures["wrong"] += 1
                else:
                    latencies.append(time.monotonic() - begun)
            number += connections
        connection.close()
        with lock:
            total.latencies += latencies
            total.failures += failures

    threads = [threading.Thread(target=client, args=(number,)) for number in range(connections)]
    begun, processor = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total.seconds = time.monotonic() - begun
    total.client = (time.process_time() - processor) / total.seconds
    return total


def predicted(port: int, body: bytes) -> int | None:
    """Return the class that the endpoint sees in the picture; None where it gives no answer (yet)."""
    try:
        status, answer = ask(port, body)
    except (OSError, http.client.HTTPException):
        return None
    return predicted_class(answer) if status == 200 else None


def predicted_class(answer: bytes) -> int | None:
    """Return the class that an answer names, in either form of answers."""
    content = json.loads(answer)
    if "predictions" in content:
        content = content["predictions"][0]
    label: int | None = content.get("predicted_class")
    return label


def ask(port: int, body: bytes, path: str = "/invocations", method: str = "POST") -> tuple[int, bytes]:
    """Send one request over a connection of its own, a picture or JSON; return the status and bytes of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        return _send(connection, body, path, method)
    finally:
        connection.close()


def _send(
    connection: http.client.HTTPConnection, body: bytes, path: str = "/invocations", method: str = "POST"
) -> tuple[int, bytes]:
    content_type = "image/jpeg" if path.endswith(("/invocations", "/invoke")) else "application/json"
    connection.request(method, path, body, {"Content-Type": content_type})
    answer = connection.getresponse()
    return answer.status, answer.read()
