"""Run a network, whichever library does it: what a backend gives, and what all of them share.

A backend is a module with `load(folder, gpu) -> Network`: `serve.torch_backend` where torch is installed, else
`serve.openvino_backend`. Everything around it is here, and needs neither.
"""

import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from byoc_vision import __version__
from byoc_vision.contract.errors import UserError, described
from classifier import artifact
from classifier.artifact import Probes
from classifier.preprocessing import Preprocessing
from serve import forms
from serve.forms import Forms, Run
from serve.records import Kept, Trials
from serve.settings import PRECISIONS

#: Pictures that go through the network at once, which bounds its memory when many requests have many. A core takes no
#: longer for one after the other.
_LARGEST_BATCH, _LARGEST_BATCH_ON_CPU = 64, 1

#: How many of its probes a worker judges before its first answer on a CPU; a GPU takes all at once.
_FIRST = 2

#: What the network takes for a picture of 224 pixels while it runs, in bytes; ResNet-50 was seen to take 5 MB.
_PICTURE_BYTES = 6_000_000

#: What a model is asked about: upright RGB pictures, or a float32 tensor [N, 3, height, width] ready for it.
Batch = Sequence[Image.Image] | NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """A network as a backend has loaded it; `labels[i]` is the name of class i, `device` what it is computed on.

    `forms` holds float32 first, then the numeric forms that the machine may run faster, if they agree on the `probes`.
    `processor` is the name of what computes them, `software` that of the library that does it, with its version.
    """

    arch: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    device: str
    forms: Forms
    probes: Probes | None
    processor: str = ""
    software: str = ""


class Model:
    """A loaded classifier. `choice` says in which form it is computed and why: at first in float32, see `settle`.

    Workers share the work of judging: this one, of the index `worker` from 0, is one of so many `workers`. Raises
    `UserError` when the network does not give its labels, or its first probes the answers that training stored; of the
    others `settle` does.
    """

    def __init__(self, network: Network, precision: str = "fastest", worker: int = 0, workers: int = 1) -> None:
        self.arch = network.arch
        self.labels = network.labels
        self.device = network.device
        #: Pixels of the shorter side that a JPEG may be decoded down to; None: it is decoded whole. With twice what the
        #: network sees, 1 of 378 answers to photographs of 2048 x 1536 pixels was another; with as much, 3 were.
        self.enough_pixels = None if precision == "float32" else network.preprocessing.enough
        self._preprocessing = network.preprocessing
        self._largest_batch = _LARGEST_BATCH_ON_CPU if network.device == "cpu" else _LARGEST_BATCH
        self._network: Network | None = network if network.probes and len(network.forms) > 1 else None
        self.form = next(iter(network.forms))
        self.choice = (
            f"in {self.form} until the fastest form is known" if self._network else _chosen(network, precision)
        )
        self._run = network.forms[self.form]()
        self._warm = False
        self._running = threading.Lock()
        self._probes = network.probes
        self._unjudged = _varied(network.probes.answers)[worker % workers :: workers] if network.probes else []
        self._judge(_FIRST if network.device == "cpu" else len(self._unjudged))

    def _judge(self, count: int) -> None:
        """Judge the reference by so many of this worker's probes; raises `UserError`."""
        judged, self._unjudged = self._unjudged[:count], self._unjudged[count:]
        if judged:
            assert self._probes
            pictures = self._preprocessing.normalize(self._probes.pictures[judged])
            with _judging():
                forms.judge(self._logits, pictures, self._probes.answers[judged])
            self._warm = True

    def settle(self, fastest: Callable[[str], tuple[str, str]], has_room: Callable[[], bool]) -> None:
        """Go on in the form that `fastest` names for this reference, with a sentence; other threads may predict.

        It is made and asked about all probes first. Without `has_room` for both forms, the first one stays. Before all
        that the reference is judged by what is left of the probes; raises `UserError` as the constructor does.
        """
        while self._unjudged:
            self._judge(self._largest_batch)
            time.sleep(0.001)  # a request that waits is next
        network, self._network = self._network, None
        if network is None or network.probes is None:
            return
        reference = self.form
        name, choice = fastest(reference)
        if name != reference:
            pictures = network.preprocessing.normalize(network.probes.pictures)
            problem = ""
            try:
                run = network.forms[name]()
                # As requests are: what a library takes for the largest batch it has seen, it keeps.
                parts = [slice(at, at + self._largest_batch) for at in range(0, len(pictures), self._largest_batch)]
                if not all(forms.agrees(run, pictures[part], network.probes.answers[part]) for part in parts):
                    problem = f"{name} answers otherwise in this process"
                elif not has_room():
                    problem = f"there is too little memory for {name}"
                else:
                    self._run = run
            except Exception as error:
                problem = f"{name} cannot be made ({described(error)})"
            if problem:
                name, choice = reference, f"chose {reference}: {problem}"
        self.form, self.choice = name, choice

    @property
    def batch_bytes(self) -> int:
        """What the largest batch takes of the machine's memory while the network runs, in bytes; a GPU has its own."""
        if self.device != "cpu":
            return 0
        return round(self._largest_batch * _PICTURE_BYTES * (self._preprocessing.crop_size / 224) ** 2)

    @property
    def input_bytes(self) -> int:
        """What the network's input for one picture takes of memory, in bytes."""
        return self._preprocessing.input_bytes

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """Return the probabilities [N, classes] of RGB pictures, or of a ready tensor [N, 3, height, width].

        Raises `UserError` when the tensor's size is not the one the network was trained on.
        """
        return self.probabilities(self.inputs(batch))

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities [N, classes] of what `inputs` returned, perhaps that of several requests."""
        logits = self._logits(inputs)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return probabilities

    def _logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network makes of `inputs`, part by part: not every library runs two at once."""
        run, parts = self._run, []
        for begin in range(0, len(inputs), self._largest_batch):
            with self._running:
                parts.append(run(inputs[begin : begin + self._largest_batch]))
        return np.concatenate(parts)

    def inputs(self, batch: Batch) -> NDArray[np.float32]:
        """Return `batch` as what the network takes, float32 [N, 3, height, width]; raises `UserError` as `predict`."""
        if not isinstance(batch, np.ndarray):
            return self._preprocessing.inputs(batch)
        side = self._preprocessing.crop_size
        if batch.shape[1:] != (3, side, side):
            raise UserError(f"the array is {list(batch.shape)}; this model takes [N, 3, {side}, {side}]")
        return batch

    def warm_up(self) -> None:
        """Predict once, so that no client waits for what is done at the first call; raises `UserError` at NaN."""
        if self._warm:
            return
        side = self._preprocessing.crop_size
        with _judging():
            forms.check_finite(self.predict([Image.new("RGB", (side, side), "gray")]))


def _varied(answers: NDArray[np.int64]) -> list[int]:
    """Return the indices of the probes, those first that have different `answers`."""
    seen: Counter[int] = Counter()
    rounds = []
    for answer in answers.tolist():
        rounds.append(seen[answer])
        seen[answer] += 1
    return sorted(range(len(rounds)), key=rounds.__getitem__)


def _checked(make: Callable[[], Run], classes: int) -> Run:
    """Return a form whose answers are logits for so many `classes`, or a `UserError`."""
    run = make()

    def checked(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = run(inputs)
        if logits.shape != (len(inputs), classes):
            shape, wanted = list(logits.shape), [len(inputs), classes]
            raise UserError(f"the network answers {shape}, its {classes} labels need {wanted}; train the model again")
        return logits

    return checked


@contextmanager
def _judging() -> Iterator[None]:
    """Turn whatever a network fails with at its first pictures into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the network fails on a picture of the size in its description ({described(error)}); train the model "
            "again, or give its container more memory"
        ) from error


def choose(network: Network, precision: str, kept: Kept, trials: Trials) -> tuple[str, str]:
    """Return the form of the `network` that is the fastest, and why: measured, unless it is `kept` from before."""
    assert network.probes
    pictures, answers = network.preprocessing.normalize(network.probes.pictures), network.probes.answers
    known = kept.read()
    sentence = known and forms.confirm(known, network.forms, pictures, answers, trials)
    if known and sentence:
        return known, sentence + _asked(precision)
    # A GPU gets concurrent requests as one batch, a core one picture after the other. What other processes take of a
    # core is none of a form's time; of a GPU's time only the clock knows.
    batch, clock = (1, time.process_time) if network.device == "cpu" else (len(pictures), time.perf_counter)
    name, sentence = forms.choose(network.forms, pictures, answers, batch, trials, clock)
    kept.write(name)
    return name, sentence + _asked(precision)


def _chosen(network: Network, precision: str) -> str:
    """Return why there is nothing to choose from."""
    chosen = f"chose {next(iter(network.forms))}"
    if len(network.forms) > 1:
        return f"{chosen}: the model has no probe pictures to try other forms on"
    return chosen + (_asked(precision) or ": this machine computes nothing else faster")


def _asked(precision: str) -> str:
    return "" if precision == "fastest" else f", as BYOC_PRECISION={precision} asks"


def circumstances(folder: Path, network: Network) -> dict[str, str]:
    """Return what decides which form is the fastest, in texts; the weights are judged by the probes anyhow."""
    digest = sha256()
    files = [folder / name for name in (artifact.DESCRIPTION, artifact.PROBES, artifact.TENSORS)]
    for file in filter(Path.is_file, [*files, *sorted((folder / artifact.GRAPHS).glob("*"))]):
        digest.update(os.fsencode(file.name) + b" %d\n" % file.stat().st_size)
        if file.name in (artifact.DESCRIPTION, artifact.PROBES):
            digest.update(file.read_bytes())
    return {
        "model": digest.hexdigest(),
        "processor": network.processor,
        "software": f"byoc-vision {__version__}, {network.software}",
        "forms": ", ".join(network.forms),
    }


def read(folder: Path, gpu: int | None, precision: str) -> Network:
    """Return the network kept in `folder`, on the GPU of that number or on the CPU, in the forms of a `precision`.

    Raises `UserError` when the files cannot be used, or the GPU cannot.
    """
    name = "serve.torch_backend" if find_spec("torch") else "serve.openvino_backend"
    # Not by importlib, which would take the user's module `serve` for ours, where there is one (serve/shadowed.py).
    network: Network = __import__(name, globals(), None, ["load"]).load(folder, gpu)
    allowed = {
        form: partial(_checked, make, len(network.labels))
        for form, make in network.forms.items()
        if not form.startswith(PRECISIONS[precision])
    }
    return replace(network, forms=allowed)


def precision() -> str:
    """Return what was asked for, one of `serve.settings.PRECISIONS`."""
    return os.environ.get("BYOC_PRECISION", "fastest")


def load(folder: Path, gpu: int | None = None) -> Model:
    """Return the model kept in `folder`, on the GPU of that number or on the CPU.

    Raises `UserError` when the files cannot be used, or the GPU cannot.
    """
    # A worker is the process "Process-N" of what starts them.
    number = multiprocessing.current_process().name.rpartition("-")[2]
    workers = int(os.environ.get("SERVE_WORKERS", "1"))
    worker = int(number) - 1 if number.isdecimal() else 0
    model = Model(read(folder, gpu, precision()), precision(), worker, workers)
    unsettled.append((model, folder, gpu))
    return model


#: The models that were loaded, with their folders and GPUs, of which `measuring.settle` is to be called.
unsettled: list[tuple[Model, Path, int | None]] = []
