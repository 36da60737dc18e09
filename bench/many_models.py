"""A multi-model container with more models than it has memory for."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPException

from bench import load
from bench.containers import Endpoint, Server, container, endpoint, limited
from bench.results import BenchError, Table, Verdict, none

MODELS, MEMORY = 14, "700m"


def many_models(server: Server, body: bytes, say: Callable[[str], None]) -> tuple[Table, list[Verdict]]:
    """Load, ask and unload `MODELS` models in turn where there is no room for all of them."""
    right = _right(server, body)
    multi = replace(
        limited(server, MEMORY),
        environment=("SAGEMAKER_MULTI_MODEL=true",),
        target="/opt/ml/models/model",
    )
    say(f"{server.name}: {MODELS} models in {MEMORY}")
    rows: list[list[str]] = []
    loaded: list[str] = []
    wrong, others = 0, 0
    with container(multi) as running:
        try:
            _wait_for_ping(running)
            for name in (f"model-{number}" for number in range(MODELS)):
                status, seconds = _load(running, name)
                tried = [status]
                while status == 507 and loaded:  # as SageMaker does it: the one unused for longest makes room
                    unloaded = load.ask(running.port, b"", f"/models/{loaded.pop(0)}", "DELETE")[0]
                    status, seconds = _load(running, name)
                    tried += [unloaded, status]
                loaded += [name] if status == 200 else []
                others += sum(status not in (200, 507) for status in tried)
                answers = [load.ask(running.port, body, f"/models/{model}/invoke") for model in loaded]
                wrong += sum(answer != (200, right) for answer in answers)
                rows.append([name, ", ".join(map(str, tried)), f"{seconds:.1f}", str(len(loaded)), str(len(answers))])
            for name in loaded:
                others += load.ask(running.port, b"", f"/models/{name}", "DELETE")[0] != 200
            ended, kills = "", running.kernel_kills
        except (OSError, HTTPException, BenchError) as error:
            ended, kills = f"{error}; its last line: {running.last_line}", 0
    rows += [["container", ended or f"goes on; processes killed by the kernel: {kills}", "", "", ""]]
    return Table(
        f"{server.name}: {MODELS} models in {MEMORY}, one unloaded where the next does not fit",
        ["model", "status of load (unload, load, …)", "s", "loaded then", "of them asked"],
        rows,
    ), [
        none(f"{server.name}, ends of the container under {MODELS} models", float(bool(ended))),
        none(f"{server.name}, answers to load and unload but 200 and 507", others),
        none(f"{server.name}, loaded models that did not answer right", wrong),
    ]


def _right(server: Server, body: bytes) -> bytes:
    with endpoint(server, body) as running:
        return load.ask(running.port, body)[1]


def _wait_for_ping(running: Endpoint) -> None:
    while running.running:
        try:
            if load.ask(running.port, b"", "/ping", "GET")[0] == 200:
                return
        except (OSError, HTTPException):
            time.sleep(0.1)
    raise BenchError("the container ended before any model was loaded")


def _load(running: Endpoint, name: str) -> tuple[int, float]:
    """Return the status of loading a model under this name, and the seconds it took."""
    begun = time.monotonic()
    request = json.dumps({"model_name": name, "url": "/opt/ml/models/model"}).encode()
    return load.ask(running.port, request, "/models")[0], time.monotonic() - begun
