"""A network's graph with 8-bit integer arithmetic, calibrated on pictures.

Convolutions and matrix products get quantized weights, they and sums quantized inputs; OpenVINO then computes all that
lies between in integers. Weights are symmetric with a scale for each output channel, activations have one range a
tensor: the mean over pictures of each picture's smallest and greatest value. The first layer, the last, and depthwise
convolutions stay as they are, for they are a small part of the work and most of the loss.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import Node, Output
from openvino import opset13 as ops

from train import graphs

Pictures = NDArray[np.float32]

#: Layers with weights, and the axes of these that one output channel spans.
_AXES = {"Convolution": (1, 2, 3), "GroupConvolution": (2, 3, 4), "MatMul": (-1,)}


def quantize(graph: ov.Model, pictures: Iterable[Pictures]) -> ov.Model:
    """Return `graph` (float32 [N, 3, H, W] -> logits [N, classes]) in 8 bits, calibrated on batches of `pictures`."""
    graph = graph.clone()
    nodes = graph.get_ordered_ops()
    layers = [node for node in nodes if _is_layer(node)][1:-1]
    sums = [node for node in nodes if _is_sum(node)]
    # What two of them read is quantized once, so that it is also stored in 8 bits.
    readers: dict[tuple[str, int], list[ov.Input]] = {}
    for place in [layer.input(0) for layer in layers] + [place for node in sums for place in node.inputs()]:
        readers.setdefault(_name(place.get_source_output()), []).append(place)
    sources = [places[0].get_source_output() for places in readers.values()]
    statistics = dict(zip(readers, _measured(graph, sources, pictures), strict=True))
    means = [statistics[_name(layer.input_value(0))][2] for layer in layers]
    for layer, mean in zip(layers, means, strict=True):
        _quantize_weights(layer, mean)
    for name, places in readers.items():
        low, high, _ = statistics[name]
        # Zero stays exact: padding and rectifiers make much of it.
        high = max(high, -low * 127 / 128, 1e-6)
        low = -high * 128 / 127 if low < 0 else 0.0
        # Not the output measured: what was taken off it comes between.
        source = places[0].get_source_output()
        quantized = ops.fake_quantize(source, *np.array([low, high, low, high], np.float32), levels=256)
        for place in places:
            place.replace_source_output(quantized.output(0))
    graph.validate_nodes_and_infer_types()
    return graph


def _is_constant(value: Output) -> bool:
    return bool(value.get_node().get_type_name() == "Constant")


def _is_sum(node: Node) -> bool:
    if node.get_type_name() != "Add" or any(map(_is_constant, node.input_values())):
        return False
    return bool(node.get_element_type() == ov.Type.f32)  # integers are arithmetic on shapes


def _is_layer(node: Node) -> bool:
    if node.get_type_name() not in _AXES or not _is_constant(node.input_value(1)):
        return False
    depthwise = node.get_type_name() == "GroupConvolution" and node.input_value(1).get_shape()[1:3] == [1, 1]
    return not depthwise and (node.get_type_name() != "MatMul" or node.get_attributes()["transpose_b"])


def _name(value: Output) -> tuple[str, int]:
    return value.get_node().get_friendly_name(), value.get_index()


def _measured(
    graph: ov.Model, values: Sequence[Output], pictures: Iterable[Pictures]
) -> list[tuple[float, float, NDArray[np.float32]]]:
    """Return, for each of `values` in `graph`, the means of its least and its greatest value and of each channel."""
    results: list[Node | Output] = []
    for value in values:
        axes = np.arange(1, len(value.get_partial_shape()))
        products = any(place.get_node().get_type_name() == "MatMul" for place in value.get_target_inputs())
        others = axes[:-1] if products else axes[1:]  # channels are last there, [N, C, H, W] in convolutions
        means = ops.reduce_mean(value, others) if len(others) else value
        results += [ops.reduce_min(value, axes), ops.reduce_max(value, axes), means]
    measuring = ov.Model([ops.result(result) for result in results], graph.get_parameters())
    means = [column.mean(axis=0) for column in graphs.compiled(measuring)(pictures)]
    return [(float(low), float(high), mean) for low, high, mean in zip(*[iter(means)] * 3, strict=True)]


def _quantize_weights(layer: Node, inputs: NDArray[np.float32]) -> None:
    """Quantize the weights of `layer`; what that adds to its outputs for mean `inputs` [C] is taken off again.

    This is the bias correction of Nagel et al., Data-Free Quantization (arXiv:1906.04721), section 4.2.
    """
    weights = layer.input_value(1).get_node().data.astype(np.float32)
    axes = _AXES[layer.get_type_name()]
    scale = np.maximum(np.abs(weights).max(axis=axes, keepdims=True), np.finfo(np.float32).tiny) / 127
    integers = np.round(weights / scale).astype(np.int8)
    restored = ops.multiply(ops.convert(ops.constant(integers), "f32"), ops.constant(scale.astype(np.float32)))
    layer.input(1).replace_source_output(restored.output(0))

    error = integers * scale - weights
    if layer.get_type_name() == "MatMul":  # [out, in]
        shift = error @ inputs
    else:  # [out, in, height, width], with the groups before where there are any
        inputs = inputs.reshape(*error.shape[:-4], 1, -1)
        shift = (error.sum(axis=(-2, -1)) * inputs).sum(axis=-1).reshape(1, -1, 1, 1)
    followers = list(layer.output(0).get_target_inputs())
    corrected = ops.subtract(layer, ops.constant(shift.astype(np.float32)))
    for place in followers:
        place.replace_source_output(corrected.output(0))
