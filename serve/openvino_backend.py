"""Run the network with OpenVINO, on CPUs and without torch, from the graphs that `train.export` left."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from byoc_vision.contract.errors import UserError
from classifier import artifact
from serve import processor
from serve.backend import Network
from serve.forms import Run

#: For each form but float32, the instructions that make it worth a trial, as /proc/cpuinfo calls them; one is enough.
#: Without these, sums of 8-bit products saturate at 16 bits, and bfloat16 is emulated.
_INSTRUCTIONS = {"int8": {"avx512_vnni", "avx_vnni", "amx_int8"}, "bfloat16": {"avx512_bf16", "amx_bf16"}}

#: The file of each form's graph, and the precision of what that does not hold in 8 bits.
_GRAPHS = {"float32": ("float32.xml", "f32"), "bfloat16": ("float32.xml", "bf16"), "int8": ("int8.xml", "f32")}


def load(folder: Path, gpu: int | None = None) -> Network:
    """Return the network kept in `folder`, always on the CPU; raises `UserError` when the files cannot be used."""
    description = artifact.describe(folder)
    probes = artifact.load_probes(folder, description)
    graphs = folder / artifact.GRAPHS
    if not artifact.has(graphs / "float32.xml"):
        raise UserError(
            "the model has no graphs for CPUs: its training job had export set to false, or its log says why; "
            "deploy it with --image serve, or train it again with export=true"
        )
    instructions = processor.instructions()
    forms = {
        name: partial(_compiled, graphs / file, precision, description.preprocessing.crop_size)
        for name, (file, precision) in _GRAPHS.items()
        if (name == "float32" or _INSTRUCTIONS[name] & instructions) and artifact.has(graphs / file)
    }
    arch, labels, preprocessing = description.arch, description.labels, description.preprocessing
    return Network(arch, labels, preprocessing, "cpu", forms, probes, processor.name(), f"openvino {ov.__version__}")


def _compiled(file: Path, precision: str, side: int) -> Run:
    artifact.require(file.with_suffix(".bin"))
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "NUM_STREAMS": "1",
        "ENABLE_CPU_PINNING": "NO",  # every worker would pin itself to the same first cores
    }
    try:
        compiled = ov.Core().compile_model(file, "CPU", options)
    except RuntimeError as error:
        raise artifact.damaged(error) from error
    shapes = [value.get_partial_shape() for value in compiled.inputs]
    if shapes != [ov.PartialShape([-1, 3, side, side])]:
        raise artifact.damaged(ValueError(f"{file.name} does not take [N, 3, {side}, {side}] but {shapes}"))

    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        # It is kept until there is another: of a part of a large batch, the whole batch would be.
        if inputs.base is not None and inputs.base.nbytes > inputs.nbytes:
            inputs = inputs.copy()
        logits: NDArray[np.float32] = compiled(inputs, share_inputs=True)[0]
        return logits

    return run
