"""How long each numeric form of a model takes once its time is steady: `python -m bench.inside.forms MODEL`.

Prints milliseconds a picture, of those forms that give the answers which training stored.
"""

import importlib
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

#: Seconds in which every form may compile whatever it does, and rounds of all forms in turn after that.
WARM_UP, ROUNDS = 2.0, 40


def main(model: str) -> dict[str, float]:
    """Return each form's median."""
    backend = importlib.import_module("serve.torch_backend" if find_spec("torch") else "serve.openvino_backend")
    network = backend.load(Path(model))
    probes = network.preprocessing.normalize(network.probes.pictures)
    runs = {name: make() for name, make in network.forms.items()}
    picture = probes[:1]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        begun = time.monotonic()
        while time.monotonic() < begun + WARM_UP:
            run(picture)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begun = time.perf_counter()
            run(picture)
            seconds[name].append(time.perf_counter() - begun)
    agreeing = [name for name, run in runs.items() if (run(probes).argmax(axis=1) == network.probes.answers).all()]
    return {name: 1000 * median(seconds[name]) for name in agreeing}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
