"""Runs OpenVINO's graphs on many pictures."""

from collections.abc import Callable, Iterable

import numpy as np
import openvino as ov
from numpy.typing import NDArray

#: Pictures in a batch that suits a core's caches.
BATCH = 4

#: Runs a graph on batches of its input: returns each of its outputs for all of them, joined along the first axis.
Outputs = Callable[[Iterable[NDArray[np.float32]]], list[NDArray[np.float32]]]


def compiled(graph: ov.Model, cores: int) -> Outputs:
    """Return what runs `graph`, which has one input, in float32 on so many `cores`."""
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cores}
    model = ov.Core().compile_model(graph, "CPU", options)

    def run(batches: Iterable[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        answers = [list(model(batch).values()) for batch in batches]
        return [np.concatenate(column) for column in zip(*answers, strict=True)]

    return run
