"""The serving functions without a server: `python -m bench.inside.direct MODEL PICTURES SECONDS`.

One process a core, with the one thread that the server's workers have too; each calls the functions with one picture
after the other. Prints the pictures per second of all together: of a whole request, of decoding and of the network.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path


def main(model: str, pictures: str, seconds: str) -> dict[str, float]:
    """Return the rates of "request", "decoding" and "network"."""
    with tempfile.TemporaryDirectory() as forms:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "SERVE_FORMS": forms}
        command = [sys.executable, "-m", "bench.inside.direct", "worker", model, pictures, seconds]
        workers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in os.sched_getaffinity(0)
        ]
        rates: dict[str, float] = {}
        for part in ("request", "decoding", "network"):
            for worker in workers:  # each waits here until it has loaded, and until the others have
                assert worker.stdout and worker.stdout.readline()
            for worker in workers:
                assert worker.stdin
                worker.stdin.write("go\n")
                worker.stdin.flush()
            rates[part] = sum(float(worker.stdout.readline()) for worker in workers if worker.stdout)
        for worker in workers:
            worker.wait()
    return rates


def _worker(model_dir: str, pictures: str, seconds: str) -> None:
    from serve import backend, encoding, inference, measuring

    model = inference.model_fn(model_dir)
    inference.model_warmup_fn(model_dir, model)
    while backend.unsettled:
        measuring.settle(*backend.unsettled.pop(), lambda: True)
    bodies = [file.read_bytes() for file in sorted(Path(pictures).iterdir())]

    def request(body: bytes) -> None:
        prediction = inference.predict_fn(inference.input_fn(body, "image/jpeg"), model)
        inference.output_fn(prediction, encoding.JSON)

    def decoding(body: bytes) -> None:
        model.inputs(inference.input_fn(body, "image/jpeg"))

    ready = model.inputs(inference.input_fn(bodies[0], "image/jpeg"))
    parts: list[Callable[[bytes], object]] = [request, decoding, lambda _: model.predict(ready)]
    for part in parts:
        _rate(part, bodies, float(seconds) / 4)  # the first calls may compile
        print("ready", flush=True)
        sys.stdin.readline()
        print(_rate(part, bodies, float(seconds)), flush=True)


def _rate(part: Callable[[bytes], object], bodies: Sequence[bytes], seconds: float) -> float:
    """Call `part` with one body after the other for so many seconds, and return the calls per second."""
    done, begun, bodies_again = 0, time.monotonic(), cycle(bodies)
    while time.monotonic() < begun + seconds:
        part(next(bodies_again))
        done += 1
    return done / (time.monotonic() - begun)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        _worker(*sys.argv[2:])
    else:
        print(json.dumps(main(*sys.argv[1:])))
