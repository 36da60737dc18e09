"""A serving container under attack, short of memory, or restricted: what it answers, and that nothing else breaks."""

import contextlib
import http.client
import json
import shutil
import threading
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import (
    JPEG,
    JSON,
    LEAN,
    MB,
    SERVE,
    Answer,
    Container,
    Hammer,
    Samples,
    container,
    docker,
    instances,
)


def workers(endpoint: Container) -> list[int]:
    return endpoint.processes("model_service_worker.py")


def limited(megabytes: int) -> tuple[str, ...]:
    return ("--memory", f"{megabytes}m", "--memory-swap", f"{megabytes}m")


def at_once(endpoint: Container, count: int, body: bytes, headers: dict[str, str] = JPEG) -> list[Answer]:
    """Send the same request over so many connections, and return the answers; connections may break."""
    answers: list[Answer] = []

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # refused before all of it was sent
            answers.append(endpoint.invoke(body, headers))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def png(side: int) -> bytes:
    """A picture of one colour, side x side, in a file of hardly any bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    packer, row = zlib.compressobj(9), bytes(1 + 3 * side)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("image", [LEAN, SERVE])
def test_no_worker_ends_at_an_answer_of_another_length(samples: Samples, image: str) -> None:
    # multi-model-server's own decoder took what came in pieces for damaged, once short answers had shrunk its buffer.
    with container(samples.model, image=image) as endpoint:
        endpoint.wait_ready()
        before = workers(endpoint)
        for length in range(0, 3000, 75):
            for _ in range(4):
                assert endpoint.invoke(b"x").status == 400
            for headers, statuses in (
                ({**JPEG, "Accept": "x" * length}, (200, 406)),
                ({"Content-Type": "a/" + "é" * length}, (415,)),
            ):
                answer = endpoint.invoke(samples.picture(), headers)
                assert answer.status in statuses
                assert answer.status == 200 or answer.error
        assert workers(endpoint) == before
        assert "died" not in endpoint.logs()


METRICS = """
import json, urllib.request
from prometheus_client.parser import text_string_to_metric_families
text = urllib.request.urlopen("http://127.0.0.1:8080/metrics").read().decode()
samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
print(json.dumps([[sample.name, sample.labels, sample.value] for sample in samples]))
"""


def metrics(endpoint: Container) -> list[tuple[str, dict[str, str], float]]:
    """What /metrics says, read by Prometheus' own parser."""
    found = json.loads(docker("exec", endpoint.name, "python", "-c", METRICS))
    return [(name, labels, value) for name, labels, value in found]


def test_metrics_count_what_the_client_counts(samples: Samples) -> None:
    with container(samples.model) as endpoint:
        endpoint.wait_ready()
        counts: Counter[str] = Counter()
        names = ["0.jpg", "2.jpg", "png.png"]
        for body, headers in (
            *((samples.picture(name), {"Content-Type": "application/x-image"}) for name in names * 3),
            (instances(*map(samples.picture, names)), JSON),
            *[(b"x", JPEG)] * 5,
            (b"x" * (6 * MB + 1), JPEG),
            (samples.picture(), {**JPEG, "Accept": "text/html"}),
        ):
            counts[str(endpoint.invoke(body, headers).status)] += 1
        for path in ("/", "/ping", "/metrics"):
            status = endpoint.request("GET", path).status
            counts.update([str(status)] if path == "/" else [])

        def told() -> dict[str, float]:
            return {
                labels["status"]: value for name, labels, value in metrics(endpoint) if name == "byoc_requests_total"
            }

        endpoint.wait_until(lambda: sum(told().values()) >= counts.total())  # they are told once a second
        assert told() == dict(counts) == {"200": 10, "400": 5, "404": 1, "406": 1, "413": 1}
        figures: dict[str, Any] = {name: value for name, _, value in metrics(endpoint)}
        predicted = {
            labels["label"]: value for name, labels, value in metrics(endpoint) if name == "byoc_predictions_total"
        }
        assert sum(predicted.values()) == figures["byoc_top_probability_count"] == 12
        assert all(label[4:].startswith("Hund_ß_") for label in predicted)
        for name in ("byoc_workers_busy", "byoc_requests_waiting", "byoc_worker_deaths_total"):
            assert figures[name] == 0
        assert endpoint.request("GET", "/metrics").headers.get_content_type() == "text/plain"


# -------------------------------------------------------------------------------------------------------------- memory


def test_what_memory_cannot_hold_is_refused_and_nothing_dies(samples: Samples) -> None:
    with container(samples.model, *limited(500)) as endpoint:
        endpoint.wait_ready()
        before = workers(endpoint)
        # 88 million pixels, 3 bytes each, in 260 KB; and 16 pictures of 6 million in a request.
        for body, headers in ((png(9400), JPEG), (instances(*[png(2400)] * 16), JSON)):
            with Hammer(endpoint, samples, threads=2) as hammer:
                answers = at_once(endpoint, 8, body, headers)
                assert {answer.status for answer in answers} <= {413, 503} and len(answers) == 8
                assert "MB" in next(answer.error for answer in answers if answer.status == 413)
            assert hammer.wrong == [] and hammer.right
        assert endpoint.invoke(png(1500)).status == 200
        assert workers(endpoint) == before
        assert "died" not in endpoint.logs()


def test_bodies_that_find_no_room_are_told_so_and_all_else_goes_on(samples: Samples) -> None:
    large, picture = samples.picture() + bytes(6 * MB - len(samples.picture())), samples.picture()
    with container(samples.model, *limited(400)) as endpoint:
        endpoint.wait_ready()
        before = endpoint.processes("")
        with Hammer(endpoint, samples, threads=2) as hammer:
            for body in (large, picture + bytes(900_000), picture + bytes(90_000)) * 2:
                answers = at_once(endpoint, 80, body)
                assert {answer.status for answer in answers} <= {200, 503}
                assert any(answer.status == 200 for answer in answers)
                assert {answer.error for answer in answers if answer.status == 503} <= {BUSY}
        assert {answer.error for answer in hammer.wrong} <= {BUSY}
        assert samples.is_right(endpoint.invoke(large), "0.jpg")
        assert endpoint.processes("") == before


BUSY = "the model is not ready, or too many requests are waiting; try again"


def test_a_front_end_without_memory_ends_the_container(samples: Samples) -> None:
    with container(samples.model, "--env", "SAGEMAKER_MODEL_SERVER_VMARGS=-Xmx20m") as endpoint:
        endpoint.wait_ready()
        at_once(endpoint, 20, samples.picture() + bytes(5 * MB))
        assert endpoint.wait_exit() == 1
        assert "multi-model-server ended unexpectedly (exit status 3)" in endpoint.logs().splitlines()[-1]


# ----------------------------------------------------------------------------------------------------- many models


def load(endpoint: Container, name: str, url: str | None = None) -> Answer:
    body = {"model_name": name, "url": f"/opt/ml/models/{name}/model" if url is None else url}
    return endpoint.request("POST", "/models", json.dumps(body).encode(), JSON)


def test_a_model_that_does_not_fit_is_refused_until_another_is_unloaded(samples: Samples, tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(14)]
    for name in names:
        shutil.copytree(samples.model, tmp_path / name / "model")
    options = ("--env", "SAGEMAKER_MULTI_MODEL=true", *limited(500))
    with container(tmp_path, *options, target="/opt/ml/models") as endpoint:
        endpoint.wait_ready()
        with ThreadPoolExecutor(len(names)) as threads:
            answers = threads.map(lambda name: load(endpoint, name), names)
            statuses = {name: answer.status for name, answer in zip(names, answers, strict=True)}
        assert set(statuses.values()) == {200, 507}
        loaded = [name for name, status in statuses.items() if status == 200]
        assert endpoint.request("GET", "/ping").json["workers"] == len(loaded)
        for name in names:
            answer = endpoint.request("POST", f"/models/{name}/invoke", samples.picture(), JPEG)
            assert samples.is_right(answer, "0.jpg") if name in loaded else answer.status == 404
        for old, new in zip(loaded, [name for name in names if name not in loaded], strict=False):
            assert endpoint.request("DELETE", f"/models/{old}").status == 200
            assert load(endpoint, new).status == 200
            answer = endpoint.request("POST", f"/models/{new}/invoke", samples.picture(), JPEG)
            assert samples.is_right(answer, "0.jpg")
        assert "died" not in endpoint.logs()


WASTEFUL = """
import gc

def model_fn(model_dir):
    return "model"

def transform_fn(model, body, content_type, accept):
    circle = [bytearray(b"x") * 14_000_000]
    circle.append(circle)
    gc.collect()  # as it does by itself when many objects are made: the circle is now among the old ones
    return "done", "text/plain"
"""


def test_what_requests_have_left_keeps_no_model_out(samples: Samples, tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(8)]
    for name in names:
        (tmp_path / name / "model" / "code").mkdir(parents=True)
        (tmp_path / name / "model" / "code" / "inference.py").write_text(WASTEFUL)
    options = ("--env", "SAGEMAKER_MULTI_MODEL=true", *limited(500))
    with container(tmp_path, *options, target="/opt/ml/models") as endpoint:
        endpoint.wait_ready()
        loaded = [name for name in names if load(endpoint, name).status == 200]
        assert 4 <= len(loaded) < len(names)
        for name in loaded:
            assert (
                endpoint.request("POST", f"/models/{name}/invoke", b"x", {"Content-Type": "text/plain"}).status == 200
            )
        assert endpoint.request("DELETE", f"/models/{loaded[0]}").status == 200
        assert load(endpoint, names[-1]).status == 200


def test_odd_names_of_models_and_unloading_under_load(samples: Samples, tmp_path: Path) -> None:
    shutil.copytree(samples.model, tmp_path / "a" / "model")
    with container(tmp_path, "--env", "SAGEMAKER_MULTI_MODEL=true", target="/opt/ml/models") as endpoint:
        endpoint.wait_ready()
        for name in (".", "..", "-x", "a" * 200, "a b", "é", ""):
            answer = load(endpoint, name, "/opt/ml/models/a/model")
            assert answer.status == 400 and "cannot name a model" in answer.error
        for url in ("/opt/ml/models/" + "a" * 5000, "/opt/ml/models/\0", "relative", ""):
            assert load(endpoint, "a", url).status == 400
        assert endpoint.request("GET", "/models?x=%ff").json == {"models": []}
        assert load(endpoint, "a").status == 200
        assert load(endpoint, "a").status == 409
        statuses: Counter[int] = Counter()
        unloaded = threading.Event()

        def ask() -> None:
            while not unloaded.is_set():
                answer = endpoint.request("POST", "/models/a/invoke", samples.picture(), JPEG)
                assert answer.status == 404 or samples.is_right(answer, "0.jpg"), answer
                statuses[answer.status] += 1

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        endpoint.wait_until(lambda: statuses[200] > 50)
        assert endpoint.request("DELETE", "/models/a").status == 200
        endpoint.wait_until(lambda: statuses[404] > 50)
        unloaded.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 404}


# -------------------------------------------------------------------------------------------------------- restrictions

STARTS = {
    "read-only": ("--read-only", "--tmpfs", "/tmp"),
    "read-only, little room": ("--read-only", "--tmpfs", "/tmp:size=256k"),
    "no capabilities": ("--cap-drop", "ALL"),
    "no capabilities, a user": ("--cap-drop", "ALL", "--user", "1000:1000", "--security-opt", "no-new-privileges"),
    "300 MB": limited(300),
    "variables of other programs": ("--env", "MMS_CONFIG_FILE=/nowhere", "--env", "PYTHONIOENCODING=utf-16"),
}


@pytest.mark.parametrize("case", STARTS)
def test_it_starts_with_little(samples: Samples, case: str) -> None:
    with container(samples.model, *STARTS[case]) as endpoint:
        endpoint.wait_ready()
        assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")


REFUSES = {
    "nothing to write to": (LEAN, ("--read-only",), "--tmpfs /tmp"),
    "no model": (LEAN, ("--env", "SAGEMAKER_BASE_DIR=/nowhere"), "there is no folder /nowhere/model"),
    "no threads": (LEAN, ("--pids-limit", "40"), "--pids-limit"),
    "no memory for the model": (LEAN, limited(200), "give the container more memory"),
    "code for root alone": (LEAN, ("--env", "SAGEMAKER_SUBMIT_DIRECTORY=/root/code"), "let every user read"),
    "a long name for temporary files": (LEAN, ("--tmpfs", f"/{'t' * 80}", "--env", f"TMPDIR=/{'t' * 80}"), "TMPDIR"),
    "no memory for torch": (SERVE, limited(300), "does not fit into the container's memory"),
}


@pytest.mark.parametrize("case", REFUSES)
def test_where_it_cannot_start_it_says_why(samples: Samples, case: str) -> None:
    image, options, words = REFUSES[case]
    with container(samples.model, *options, image=image) as endpoint:
        assert endpoint.wait_exit() == 1
        (line,) = endpoint.logs().splitlines()
        assert words in line


def test_a_full_disk_is_not_a_fault_of_the_request(samples: Samples) -> None:
    with container(samples.model, "--read-only", "--tmpfs", "/tmp:size=256k") as endpoint:
        endpoint.wait_ready()
        answer = endpoint.invoke(samples.picture() + bytes(5 * MB))
        assert answer.status == 503 and "/tmp" in answer.error
        assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")


def test_no_process_has_more_rights_than_it_needs(samples: Samples, tmp_path: Path) -> None:
    users = "import pathlib\nfor file in pathlib.Path('/proc').glob('[0-9]*/status'):\n"
    users += "    print(next(line for line in file.read_text().splitlines() if line.startswith('Uid')))\n"
    with container(samples.model) as endpoint:
        endpoint.wait_ready()
        user = docker("exec", endpoint.name, "id", "-u", "serve").strip()
        found = docker("exec", "--user", "serve", endpoint.name, "python", "-c", users)
        assert {number for line in found.splitlines() for number in line.split()[1:]} == {user}
    private = shutil.copytree(samples.model, tmp_path / "model")
    (private / "model.json").chmod(0o600)
    with container(private) as endpoint:
        endpoint.wait_ready()
        assert "running as root: only root, or its owner, can use /opt/ml/model/model.json" in endpoint.logs()
        assert samples.is_right(endpoint.invoke(samples.picture()), "0.jpg")


def test_without_what_starts_workers_the_container_ends(samples: Samples) -> None:
    with container(samples.model) as endpoint:
        endpoint.wait_ready()
        endpoint.kill(workers(endpoint)[0])
        assert endpoint.wait_exit() == 1
        assert "the process that starts the workers of model model has died" in endpoint.logs().splitlines()[-1]
