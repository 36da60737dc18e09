"""What /metrics says, read by Prometheus' own parser."""

import os
import socket
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.metrics import Metrics
from serve.worker_metrics import Measured
from serve.workers import Workers


@pytest.fixture
def nginx_status(tmp_path: Path) -> Path:
    """A socket that answers once, as nginx's stub_status does: two of the three requests are others'."""
    path = tmp_path / "status.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            connection.recv(1000)
            page = b"Active connections: 3\nserver accepts handled requests\n 9 9 9\n"
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + page + b"Reading: 1 Writing: 3 Waiting: 0\n")

    threading.Thread(target=answer).start()
    return path


def read(text: str) -> dict[tuple[str, ...], float]:
    """The figures by their names and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_all_that_happened_is_counted(tmp_path: Path, nginx_status: Path) -> None:
    metrics = Metrics()
    workers = Workers(tmp_path / "workers.sock", 60, metrics.observe_work, lambda *_: None)
    log, written = os.pipe()
    os.write(written, b"200 0.020\n" * 3 + b"413 0.000\n")
    os.close(written)
    metrics.read_requests(log)
    predicted = [("a cat", 0.95), ('"dog"\n', 0.55), ("a cat", 0.05)]
    measured = Measured()
    assert not measured.taken()
    for _ in range(2):
        with measured.time("decoding"):
            pass
    measured.count({"predictions": [{"label": label, "probability": one} for label, one in predicted]})
    metrics.observe_work("model", measured.taken())
    metrics.observe_work("model", {"network": [0.2]})

    found = read(metrics.text(workers, nginx_status))
    assert found["byoc_requests_total", "200"] == 3 and found["byoc_requests_total", "413"] == 1
    assert found[("byoc_request_seconds_count",)] == 4
    assert found["byoc_request_seconds_bucket", "0.01"] == 1 and found["byoc_request_seconds_bucket", "0.025"] == 4
    assert found["byoc_decoding_seconds_count", "model"] == 2
    assert found["byoc_network_seconds_sum", "model"] == 0.2
    assert found["byoc_batch_pictures_sum", "model"] == 3 and found["byoc_batch_pictures_count", "model"] == 1
    assert found["byoc_predictions_total", "a cat", "model"] == 2
    assert found["byoc_predictions_total", '"dog"\n', "model"] == 1
    assert found["byoc_top_probability_bucket", "0.1", "model"] == 1
    assert found[("byoc_requests_under_way",)] == 2
    assert found[("byoc_worker_deaths_total",)] == 0
    assert sum(value for name, value in found.items() if name[0] == "byoc_resident_memory_bytes") > 1e6
    assert not [name for name in found if name[0].endswith("_created")]


def test_of_a_model_that_is_unloaded_nothing_is_kept(tmp_path: Path, nginx_status: Path) -> None:
    metrics = Metrics()
    workers = Workers(tmp_path / "workers.sock", 60, metrics.observe_work, lambda *_: None)
    measured = {"decoding": [0.1], "network": [0.1], "batches": [1], "predicted": [("a cat", 0.9), ("a dog", 0.9)]}
    for model in ("gone", "here"):
        metrics.observe_work(model, measured)
    metrics.forget("gone")
    metrics.forget("never seen")
    told = {labels[1] for labels in read(metrics.text(workers, nginx_status)) if len(labels) > 1}
    assert "here" in told and "gone" not in told
