"""A small load generator: so many keep-alive connections, each sending its next picture when the last is answered."""

import http.client
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Seconds a client waits for an answer.
TIMEOUT = 60


@dataclass
class Load:
    """What a load of some `seconds` found: seconds of each answered request, and how many were not answered right.

    `client` is the share of one core that sending and receiving took, of the cores that the server works on too;
    `form` is the numeric form that the server computed in.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    client: float = 0.0
    form: str = ""

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


def drive(port: int, bodies: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Send `bodies` in turn over so many connections for so many seconds; an answer is right when it is a 200."""
    found = Load()
    lock = threading.Lock()
    deadline = time.monotonic() + seconds

    def client(first: int) -> None:
        latencies, errors, number = [], 0, first
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        while (begun := time.monotonic()) < deadline:
            try:
                status = _post(connection, bodies[number % len(bodies)])[0]
            except (OSError, http.client.HTTPException):
                status = 0
                connection.close()
            if status == 200:
                latencies.append(time.monotonic() - begun)
            else:
                errors += 1
            number += connections
        connection.close()
        with lock:
            found.latencies += latencies
            found.errors += errors

    threads = [threading.Thread(target=client, args=(number,)) for number in range(connections)]
    begun, processor = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds = time.monotonic() - begun
    found.client = (time.process_time() - processor) / found.seconds
    return found


def predicted(port: int, body: bytes) -> int | None:
    """Return the class that the endpoint sees in the picture; None where it gives no answer (yet)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        status, answer = _post(connection, body)
        content = json.loads(answer) if status == 200 else {}
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if "predictions" in content:
        content = content["predictions"][0]
    found: int | None = content.get("predicted_class")
    return found


def _post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
    connection.request("POST", "/invocations", body, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    return answer.status, answer.read()
