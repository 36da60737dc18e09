"""Serving on a GPU: its numeric forms beside the probes, batches of requests, two workers on one GPU."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.gpu import runs, toolkits
from bench.gpu.rows import Row, at_least, at_most, main, needs_gpu
from bench.gpu.setting import Setting
from bench.machine import same_program
from bench.pictures import files
from classifier import artifact
from classifier.artifact import Probes

#: How far a form's logits may be from those of float32 on the CPU, as a share of their spread.
TOLERANCE = {"float32": 0.02, "bfloat16": 0.1, "float16": 0.05}

#: Pictures that are asked about, how often a form is timed, and how much less than alone two workers may do together.
BODIES, ROUNDS, TOGETHER = 32, 10, 0.8


def forms_beside_the_probes(setting: Setting) -> Iterator[Row]:
    """Every form of the model gives the probes' answers; which one would be served."""
    model = _model(setting)
    from serve import torch_backend
    from serve.backend import Model

    network = torch_backend.load(model, 0 if setting.gpus else None)
    assert network.probes is not None
    probes, answers = network.preprocessing.normalize(network.probes.pictures), network.probes.answers
    with torch.inference_mode():
        exact = artifact.load(model).network(torch.from_numpy(probes)).numpy()
    spread = exact.std()
    if setting.gpus:
        expected = {"float32", "float16"} | ({"bfloat16"} if torch.cuda.get_device_capability() >= (8, 0) else set())
        there = ", ".join(network.forms)
        yield Row("forms of a GPU", there, ", ".join(sorted(expected)), set(network.forms) == expected)
    else:
        yield needs_gpu("forms of a GPU: float16, bfloat16")
    for name, make in network.forms.items():
        run = make()
        logits = run(probes)
        agreeing = int((logits.argmax(axis=1) == answers).sum())
        yield Row(f"{name}: probe answers", f"{agreeing} of {len(answers)}", "all", agreeing == len(answers))
        apart = float(np.sqrt(np.mean((logits - exact) ** 2)) / spread)
        yield at_most(f"{name}: logits beside the CPU's in float32, as a share of their spread", apart,
                      TOLERANCE[name.split()[0]])  # fmt: skip
        times = [f"{size}: {1000 * _seconds(run, probes, size) / size:.2f}" for size in (1, 16, 64)]
        yield Row(f"{name}: ms a picture in batches of", "; ".join(times))
    yield Row("the form that is served", Model(network).choice)


def batches_of_requests(setting: Setting) -> Iterator[Row]:
    """The worker that the handler calls, with so many clients that each wait for their answer."""
    worker, context = _worker(setting, _model(setting))
    bodies = _bodies(setting)
    alone = [_labels(worker, context, [body])[0] for body in bodies]
    rates = {}
    for clients in setting.connections:
        size = min(clients, context.system_properties["batch_size"])
        groups = [list(islice(cycle(range(len(bodies))), begin, begin + size)) for begin in range(0, BODIES, size)]
        labels = [label for group in groups for label in _labels(worker, context, [bodies[i] for i in group])]
        wrong = sum(label != alone[i] for label, i in zip(labels, (i for group in groups for i in group), strict=True))
        # One may be a near tie, which rounding decides: that is another in another batch.
        yield Row(
            f"{clients} clients: answers that are others than alone", f"{wrong} of {len(labels)}", "≤ 1", wrong <= 1
        )
        rates[clients] = _rate(worker, context, bodies, size, setting.seconds)
    yield Row("requests/s at clients", "; ".join(f"{clients}: {rate:.0f}" for clients, rate in rates.items()))
    most, one = max(rates.values()), rates[setting.connections[0]]
    what = "the most of them beside one client"
    yield at_least(what, most / one, 1.5) if setting.gpus else Row(what, f"{most / one:.2f} ×")
    bad = _labels(worker, context, [bodies[0], b"no picture", bodies[1]])
    right = [bad[0], bad[2]] == alone[:2] and bad[1] == "400"
    yield Row("a bad picture between two good ones", ", ".join(bad), "400 for it alone", right)


def two_workers(setting: Setting) -> Iterator[Row]:
    """Two processes with the model on one GPU, at once."""
    model = _model(setting)
    one = sum(_workers(setting, model, 1))
    both = _workers(setting, model, 2)
    yield Row("requests/s of one worker, of two on the same device",
              f"{one:.0f}; {' + '.join(f'{rate:.0f}' for rate in both)}")  # fmt: skip
    what = "two workers beside one"
    yield at_least(what, sum(both) / one, TOGETHER) if setting.gpus else Row(what, f"{sum(both) / one:.2f} ×")


def _model(setting: Setting) -> Path:
    """Return the folder of a model of the larger network with probes, trained once."""
    folder = setting.folder("serving") / "model"
    if (folder / artifact.PROBES).exists():
        return folder
    runs.trained(setting, "serving", arch=setting.arch, train_layers="head", epochs=20)
    classifier = artifact.load(folder)
    pictures = runs.pixels(setting, classifier.preprocessing, 2 * BODIES)
    inputs = torch.from_numpy(classifier.preprocessing.normalize(pictures))
    with torch.inference_mode():
        ranked = classifier.network(inputs).sort(dim=1)
    surest = (ranked.values[:, -1] - ranked.values[:, -2]).argsort(descending=True)[: len(pictures) // 4].numpy()
    probes = Probes(pictures[surest], ranked.indices[surest, -1].numpy())
    artifact.save_probes(probes, folder)
    return folder


def _bodies(setting: Setting) -> list[bytes]:
    return [file.read_bytes() for file in files(setting.data / "test")[:BODIES]]


def _seconds(run: Any, probes: "np.ndarray[Any, Any]", size: int) -> float:
    """Return the best time of a batch of so many."""
    batch = np.concatenate([probes] * -(-size // len(probes)))[:size]
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        run(batch)
        best = min(best, time.perf_counter() - begun)
    return best


def _worker(setting: Setting, model: Path) -> tuple[Any, toolkits.Context]:
    toolkits.stand_in()
    os.environ.setdefault("OMP_NUM_THREADS", str(min(8, len(os.sched_getaffinity(0)))))
    from serve.worker import Worker

    context = toolkits.Context(str(model), 0 if setting.gpus else None, 16 if setting.gpus else 4)
    worker = Worker()
    worker.load(context)
    return worker, context


def _labels(worker: Any, context: toolkits.Context, bodies: Sequence[bytes]) -> list[str]:
    """Ask about `bodies` at once; return each one's label, or the status that it was refused with."""
    from serve.config import CONTENT_TYPE_HEADER

    context.request_processor = [toolkits.Processor({CONTENT_TYPE_HEADER: "image/jpeg"}) for _ in bodies]
    answers = worker.answer([{"body": bytearray(body)} for body in bodies], context)
    statuses = [context.get_response_status(index)[0] for index in range(len(bodies))]
    return [
        json.loads(answer)["predictions"][0]["label"] if status == 200 else str(status)
        for answer, status in zip(answers, statuses, strict=True)
    ]


def _rate(worker: Any, context: toolkits.Context, bodies: Sequence[bytes], size: int, seconds: float) -> float:
    """Return the requests a second, so many at a time."""
    done, again, begun = 0, cycle(bodies), time.monotonic()
    while time.monotonic() < begun + seconds:
        _labels(worker, context, list(islice(again, size)))
        done += size
    return done / (time.monotonic() - begun)


def _workers(setting: Setting, model: Path, count: int) -> list[float]:
    """Return the requests a second of each of so many processes that work at the same time."""
    command = [sys.executable, "-m", "bench.gpu.serving", setting.as_text(), str(model)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=same_program())
        for _ in range(count)
    ]
    try:
        for worker in workers:
            assert worker.stdout and worker.stdin
            if worker.stdout.readline().strip() != "ready":
                raise RuntimeError("a worker ended before it was ready")
        for worker in workers:
            assert worker.stdin
            print("go", file=worker.stdin, flush=True)
        return [float(worker.communicate()[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _one_of_several(setting: Setting, model: Path) -> None:
    worker, context = _worker(setting, model)
    bodies = _bodies(setting)
    _rate(worker, context, bodies, 1, 0.2)
    print("ready", flush=True)
    sys.stdin.readline()
    print(_rate(worker, context, bodies, context.system_properties["batch_size"], setting.seconds), flush=True)


CHECKS = (forms_beside_the_probes, batches_of_requests, two_workers)

if __name__ == "__main__":
    if len(sys.argv) > 2:
        _one_of_several(Setting.from_text(sys.argv[1]), Path(sys.argv[2]))
    else:
        main(CHECKS)
