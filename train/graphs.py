"""OpenVINO's graphs: networks become them, and they are run on many pictures."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import nn

#: Pictures of a batch that a network is converted with: neither one, which may stand for any number, nor `forms.BATCH`.
_EXAMPLES = 3

#: Runs a graph on batches of its input: returns each of its outputs for all of them, joined along the first axis.
Outputs = Callable[[Iterable[NDArray[np.float32]]], list[NDArray[np.float32]]]


def converted(network: nn.Module, shape: Sequence[int]) -> ov.Model:
    """Return the network, on the CPU, as OpenVINO's graph for any number of inputs of that `shape`: [N, ...]."""
    # A network may take this number for a constant; then it fails wherever it is run, for that is with other numbers.
    example = torch.zeros(_EXAMPLES, *shape)
    with torch.no_grad():
        # Who uses the graph tries whether it is right; torch's own check refuses what merely looks different.
        traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    graph: ov.Model = ov.convert_model(traced, example_input=example, input=[-1, *shape])
    return graph


def compiled(graph: ov.Model) -> Outputs:
    """Return what runs `graph`, which has one input, in float32 with torch's number of threads."""
    threads = torch.get_num_threads()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
    model = ov.Core().compile_model(graph, "CPU", options)

    def run(batches: Iterable[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        answers = [list(model(batch).values()) for batch in batches]
        return [np.concatenate(column) for column in zip(*answers, strict=True)]

    return run
