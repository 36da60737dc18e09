"""What `/metrics` tells, in the text format of Prometheus.

All of it is counted here, in the supervisor: nginx writes a line for each request to a pipe, and workers send what they
measured. So nothing is lost with a worker, and nothing is counted twice.
"""

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from serve.workers import Workers

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each series, that nothing reads

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PICTURES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SHARES = tuple(tenth / 10 for tenth in range(1, 11))


class Metrics:
    """The figures of this container since its start."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self._requests = counter("byoc_requests", "Requests answered, by HTTP status", ["status"])
        self._latency = histogram(
            "byoc_request_seconds", "From a request's first byte to its answer's last", buckets=_SECONDS
        )
        self._decoding = histogram(
            "byoc_decoding_seconds", "From bodies to the network's input", ["model"], buckets=_SECONDS
        )
        self._network = histogram("byoc_network_seconds", "In the network, or predict_fn", ["model"], buckets=_SECONDS)
        self._batch = histogram("byoc_batch_pictures", "Pictures a worker had at once", ["model"], buckets=_PICTURES)
        self._predictions = counter("byoc_predictions", "Pictures, by the class predicted", ["model", "label"])
        self._top = histogram("byoc_top_probability", "Probability of the class predicted", ["model"], buckets=_SHARES)

    def read_requests(self, log: int) -> None:
        """Count the lines "STATUS SECONDS" that nginx writes to the pipe `log`, until it is closed."""
        with os.fdopen(log, encoding="ascii") as lines:
            for line in lines:
                status, seconds = line.split()
                self._requests.labels(status).inc()
                self._latency.observe(float(seconds))

    def observe_work(self, model: str, measured: dict[str, Any]) -> None:
        """Count what a worker has measured, see `serve.worker_metrics`."""
        for name, histogram in (("decoding", self._decoding), ("network", self._network), ("batches", self._batch)):
            for value in measured.get(name, ()):
                histogram.labels(model).observe(value)
        for label, probability in measured.get("predicted", ()):
            self._predictions.labels(model, label).inc()
            self._top.labels(model).observe(probability)

    def forget(self, model: str) -> None:
        """Tell no more of a model that is unloaded: a container may have had thousands of them."""
        for family in (self._decoding, self._network, self._batch, self._predictions, self._top):
            family.remove_by_labels({"model": model})

    def text(self, workers: Workers, nginx_status: Path) -> str:
        """Return all figures, with those of the moment: workers, requests under way, memory."""
        now = CollectorRegistry()
        now.register(_Now(workers, nginx_status))
        return (generate_latest(self._registry) + generate_latest(now)).decode()


class _Now(Collector):
    def __init__(self, workers: Workers, nginx_status: Path) -> None:
        self._workers = workers
        self._nginx_status = nginx_status

    def collect(self) -> Iterator[Metric]:
        workers = self._workers
        alive = GaugeMetricFamily("byoc_workers", "Workers that can answer", labels=["model"])
        model = InfoMetricFamily("byoc_model", "The models that are loaded", labels=["model"])
        for name, description in workers.models().items():
            alive.add_metric([name], workers.alive(name))
            model.add_metric([name], description)
        yield alive
        yield model
        yield CounterMetricFamily("byoc_worker_deaths", "Workers that died and were replaced", value=workers.deaths)
        busy = workers.busy()
        yield GaugeMetricFamily("byoc_workers_busy", "Workers at work", value=busy)
        # One of those under way is this one.
        under_way = _under_way(self._nginx_status)
        yield GaugeMetricFamily("byoc_requests_under_way", "Requests that have begun to arrive", value=under_way)
        yield GaugeMetricFamily(
            "byoc_requests_waiting", "Of these, not yet with a worker", value=max(0, under_way - busy)
        )
        memory = GaugeMetricFamily("byoc_resident_memory_bytes", "Memory in use", labels=["program"])
        for program, resident in _resident().items():
            memory.add_metric([program], resident)
        yield memory


def _under_way(nginx_status: Path) -> int:
    """Return how many requests nginx is reading or answering, as its stub_status page says.

    Without two: that for this page, and that for the metrics.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(nginx_status))
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        page = b"".join(iter(lambda: connection.recv(4096), b""))
    return sum(int(number) for number in re.findall(rb"(?:Reading|Writing): (\d+)", page)) - 2


def _resident() -> dict[str, int]:
    """Return the resident memory of the container's programs, in bytes."""
    resident: dict[str, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            command = (process / "cmdline").read_bytes()
            pages = int((process / "statm").read_text(encoding="ascii").split()[1])
            name = next((name for word, name in _PROGRAMS.items() if word in command), "other")
            resident[name] = resident.get(name, 0) + pages * os.sysconf("SC_PAGE_SIZE")
    return resident


_PROGRAMS = {
    b"nginx": "nginx",
    b"ModelServer": "multi-model-server",
    b"model_service_worker": "workers",
    b"-m\0serve": "supervisor",
}
