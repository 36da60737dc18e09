"""What a trained model is served with where there is no torch: graphs for CPUs, in float32 and in 8-bit integers.

Each is kept only if it agrees with the network: the float32 graph on every probe picture, the 8-bit one in its accuracy
on validation pictures.
"""

import copy
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import nn

from byoc_vision.contract.errors import described
from classifier import artifact
from classifier.artifact import Classifier, Probes
from train.batches import Order, PictureBatches
from train.data import Data, Split
from train.forms import BATCH
from train.graphs import compiled, converted
from train.progress import progress
from train.quantize import quantize
from train.stopping import Stopped, StopSignal

#: Probe pictures, and the pictures that each of them is chosen from.
PROBES, CANDIDATES = 16, 4

#: Pictures at most that the 8-bit graph is calibrated on, and that its accuracy is measured on: some seconds' work.
CALIBRATION, VALIDATION = 128, 400

#: How much lower the 8-bit graph's accuracy on validation pictures may be than float32's, up to a whole picture.
TOLERANCE = 0.005

Logits = NDArray[np.float32]
Run = Callable[[Iterable[NDArray[np.float32]]], Logits]


class DisagreementError(Exception):
    """A graph does not answer as the network it was made from."""


@dataclass(frozen=True)
class Export:
    """Adds probe pictures and graphs to the model in `folder`, which holds `classifier`, trained on `data`.

    `logits` tells the network's in float32 on some of the pictures, where that is cheaper than to run it. `parts` are a
    file with the graph of the network's first layers (`forms.GRAPH`), where that was made, and the layers that follow.
    """

    classifier: Classifier
    data: Data
    folder: Path
    workers: int
    stop: StopSignal
    report: Callable[[str], None]
    logits: Callable[[Split], Logits] | None = None
    parts: tuple[Path, nn.Module] | None = None

    def __call__(self) -> None:
        """Write them; where a graph cannot be made, say so and leave it out. Raises `Stopped` when asked to stop."""
        try:
            self._write_graphs(self._write_probes())
        except Stopped:
            raise
        # The converter meets a network it does not know with every exception there is; the model itself is saved.
        except Exception as error:
            shutil.rmtree(self._partial, ignore_errors=True)
            reason = described(error, 300)
            self.report(f"no graphs for CPUs were made, so the model is served with torch only ({reason})")

    def _write_probes(self) -> Probes:
        """Write and return pictures to try numeric forms on, of the half that the network is surest of.

        A form that takes one of those for another class is not less exact, but wrong.
        """
        split = self.data.validation.spread(PROBES * CANDIDATES)
        answers = self._exact(split, self._network, "choosing probe pictures")
        ranked = np.sort(answers)
        surest = np.argsort(ranked[:, -1] - ranked[:, -2])[len(split) // 2 :]
        chosen = np.sort(surest)[:: CANDIDATES // 2]
        probes = Probes(self._pixels(split.take(chosen.tolist())), answers[chosen].argmax(axis=1))
        artifact.save_probes(probes, self.folder)
        return probes

    def _write_graphs(self, probes: Probes) -> None:
        graph = self._converted()
        float32 = _compiled(graph)
        tried = self._answers(float32, probes.pictures, "trying the float32 graph")
        if not np.array_equal(tried.argmax(axis=1), probes.answers):
            raise DisagreementError("the float32 graph answers otherwise than the network")
        graphs, line = {"float32": graph}, f"float32, as the network on {len(probes.answers)} probe pictures"
        figures: dict[str, object] = {"openvino": version("openvino")}
        try:
            calibration = self._pixels(self.data.train.spread(CALIBRATION))
            batches = self._batches(calibration, "calibrating the int8 graph")
            integers = quantize(graph, batches)
            kept, measured = self._compared(float32, _compiled(integers))
        except Stopped:
            raise
        except Exception as error:
            line += f"; no int8 ({described(error, 300)})"
        else:
            figures |= measured
            line += "; int8, validation accuracy {int8_accuracy:.4f} against {float32_accuracy:.4f}".format(**measured)
            if kept:
                graphs["int8"] = integers
            else:
                line += f", not kept: more than {100 * TOLERANCE:g} points lower"
        self._write(graphs, figures)
        self.report(f"graphs for CPUs: {line}")

    def _compared(self, float32: Run, integers: Run) -> tuple[bool, dict[str, float]]:
        """Return whether the 8-bit graph is accurate enough, and the figures that say so."""
        split = self.data.validation.spread(VALIDATION)
        targets = np.array(split.targets)
        exact = self._exact(split, float32, "measuring the float32 graph").argmax(axis=1)
        rough = self._answers(integers, self._pixels(split), "measuring the int8 graph").argmax(axis=1)
        lost = np.sum(exact == targets) - np.sum(rough == targets)
        return bool(lost <= math.ceil(TOLERANCE * len(targets))), {
            "validation_pictures": len(targets),
            "float32_accuracy": float(np.mean(exact == targets)),
            "int8_accuracy": float(np.mean(rough == targets)),
            "int8_agreement": float(np.mean(exact == rough)),
        }

    @property
    def _partial(self) -> Path:
        return self.folder / f".{artifact.GRAPHS}.partial"

    def _converted(self) -> ov.Model:
        side = self.classifier.preprocessing.crop_size
        if self.parts is None:
            return _converted(self.classifier.network, (3, side, side))
        file, rest = self.parts
        frozen = ov.Core().read_model(file)
        one = frozen.clone()
        one.reshape([1, 3, side, side])  # only so does it tell what else there is of the features
        learnt = _converted(rest, tuple(one.output(0).shape)[1:])
        for node in learnt.get_ordered_ops():  # no two nodes have one name
            node.set_friendly_name(f"learnt/{node.get_friendly_name()}")
        learnt.inputs[0].get_node().output(0).replace(frozen.output(0).get_node().input_value(0))
        return ov.Model(learnt.get_results(), frozen.get_parameters(), frozen.get_friendly_name())

    def _write(self, graphs: dict[str, ov.Model], figures: dict[str, object]) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir()
        for name, graph in graphs.items():
            ov.serialize(graph, self._partial / f"{name}.xml", self._partial / f"{name}.bin")
        (self._partial / "figures.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
        self._partial.rename(self.folder / artifact.GRAPHS)

    def _network(self, batches: Iterable[NDArray[np.float32]]) -> Logits:
        network = self.classifier.network.eval()
        device = next(network.parameters()).device
        with torch.inference_mode():
            return np.concatenate([network(torch.from_numpy(inputs).to(device)).cpu().numpy() for inputs in batches])

    def _exact(self, split: Split, run: Run, what: str) -> Logits:
        """Return the network's logits on `split`, which `run` gives where they are not known."""
        return self.logits(split) if self.logits else self._answers(run, self._pixels(split), what)

    def _answers(self, run: Run, pixels: NDArray[np.uint8], what: str) -> Logits:
        return run(self._batches(pixels, what))

    def _batches(self, pixels: NDArray[np.uint8], what: str) -> Iterator[NDArray[np.float32]]:
        """Yield the network's inputs for some pictures at a time, and show how far that has come."""
        begins = range(0, len(pixels), BATCH)
        for begin in progress(begins, len(begins), what):
            self.stop.check()
            yield self.classifier.preprocessing.normalize(pixels[begin : begin + BATCH])

    def _pixels(self, split: Split) -> NDArray[np.uint8]:
        order = Order(len(split), BATCH)
        batches = PictureBatches(split, self.classifier.preprocessing, order, self.workers, torch.device("cpu"))
        return np.concatenate([pixels.numpy() for pixels, _ in batches.pixels()])


def _converted(network: nn.Module, shape: Sequence[int]) -> ov.Model:
    return converted(copy.deepcopy(network).cpu().float().eval(), shape)


def _compiled(graph: ov.Model) -> Run:
    outputs = compiled(graph)
    return lambda batches: outputs(batches)[0]
