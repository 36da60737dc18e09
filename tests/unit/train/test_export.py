"""What training leaves for serving without torch: the same answers in float32, nearly the same in 8 bits."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as ops
from torch import nn

from classifier import artifact, network
from classifier.artifact import Classifier
from classifier.preprocessing import Preprocessing
from train import data, export, forms
from train.backbone import Backbone
from train.export import Export
from train.quantize import quantize
from train.stopping import Stopped, StopSignal

PREPROCESSING = Preprocessing(32, 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

MakeExport = Callable[..., Export]


@pytest.fixture
def make_export(tmp_path: Path, draw_classes: Callable[..., Path]) -> MakeExport:
    """Return a function that prepares the export of a network over drawn pictures, saved in `tmp_path / "model"`."""
    found = data.find({"training": draw_classes("pictures", count=8)}, 0.5, 0.0, 0)
    found, _ = data.checked(found, 0.0, 1, StopSignal())

    def make(net: nn.Module, stop: StopSignal | None = None, report: Callable[[str], None] = print) -> Export:
        classifier = Classifier("resnet18", found.labels, PREPROCESSING, network=net.eval())
        artifact.save(classifier, tmp_path / "model")
        return Export(classifier, found, tmp_path / "model", 0, stop or StopSignal(), report)

    return make


def small(arch: str = "resnet18") -> nn.Module:
    """A network as training has it: in channels_last."""
    torch.manual_seed(0)
    return network.build(arch, 3).to(memory_format=torch.channels_last)


def answers(graph: "ov.Model | Path", inputs: np.ndarray) -> np.ndarray:
    return ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(inputs)[0]


@pytest.mark.parametrize("divided", [False, True])  # features were computed with the graph of the first layers
def test_the_float32_graph_answers_as_the_network_to_batches_of_any_size(make_export, tmp_path, capsys, divided):
    net = small()
    job = make_export(net)
    if divided:
        frozen, rest = network.split(net, "layer4.1")
        backbone = Backbone(frozen, "resnet18", PREPROCESSING, torch.device("cpu"))
        forms.runner(backbone, forms.Form("openvino", "float32"), tmp_path)
        job = replace(job, parts=(tmp_path / forms.GRAPH, rest.train()))
    job()
    folder = tmp_path / "model" / artifact.GRAPHS
    assert "graphs for CPUs: float32, as the network on" in capsys.readouterr().out
    for size in (1, 3):
        inputs = torch.randn(size, 3, 32, 32, generator=torch.Generator().manual_seed(size))
        with torch.inference_mode():
            expected = net(inputs).numpy()
        assert np.allclose(answers(folder / "float32.xml", inputs.numpy()), expected, atol=1e-4)
    assert json.loads((folder / "figures.json").read_text())["validation_pictures"] == 12


def test_probes_are_pictures_with_the_networks_answers(make_export, tmp_path):
    job = make_export(small())
    job()
    probes = artifact.load_probes(tmp_path / "model", job.classifier)
    assert probes.pictures.shape[1:] == (3, 32, 32)
    inputs = torch.from_numpy(PREPROCESSING.normalize(probes.pictures))
    with torch.inference_mode():
        assert job.classifier.network(inputs).argmax(dim=1).tolist() == probes.answers.tolist()


def test_logits_that_are_known_are_not_computed_again(make_export, tmp_path, monkeypatch):
    job = make_export(small())
    job()
    folder, files = tmp_path / "model", ("probes.npz", f"{artifact.GRAPHS}/figures.json")
    before = [(folder / file).read_bytes() for file in files]

    def logits(split):
        pixels = torch.from_numpy(PREPROCESSING.normalize(job._pixels(split)))
        with torch.inference_mode():
            return job.classifier.network(pixels).numpy()

    monkeypatch.setattr(Export, "_network", lambda *_: 1 / 0)
    shutil.rmtree(folder / artifact.GRAPHS)
    replace(job, logits=logits)()
    assert [(folder / file).read_bytes() for file in files] == before


@pytest.mark.parametrize(
    ("sign", "said"), [(1, "1.0000 against 1.0000\n"), (-1, "not kept: more than 0.5 points lower")]
)
def test_an_8_bit_graph_that_is_less_accurate_is_left_out(make_export, tmp_path, monkeypatch, capsys, sign, said):
    colours = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3, bias=False))
    with torch.no_grad():  # blue, green and red are the third, second and first channel
        colours[2].weight.copy_(torch.eye(3).flip(0))
    inputs = ops.parameter([-1, 3, 32, 32], np.float32)
    logits = ops.matmul(
        ops.reduce_mean(inputs, np.array([2, 3])), sign * np.eye(3, dtype=np.float32)[::-1], False, True
    )
    monkeypatch.setattr(export, "quantize", lambda *_: ov.Model([ops.result(logits)], [inputs]))
    make_export(colours)()
    assert said in capsys.readouterr().out
    assert (tmp_path / "model" / artifact.GRAPHS / "int8.xml").exists() == (sign == 1)


def test_a_network_that_cannot_be_converted_costs_one_sentence(make_export, tmp_path, monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(ov, "convert_model", refuse)
    make_export(small())()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no graphs for CPUs were made") and "no such operation" in line
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == [
        "model.json",
        "model.safetensors",
        "probes.npz",
    ]


def test_where_quantization_fails_the_float32_graph_is_left(make_export, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "quantize", lambda *_: 1 / 0)
    make_export(small())()
    assert "; no int8 (ZeroDivisionError: division by zero)" in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "model" / artifact.GRAPHS).iterdir()) == [
        "figures.json",
        "float32.bin",
        "float32.xml",
    ]


def test_it_stops_when_asked(make_export, tmp_path):
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(Stopped):
        make_export(small(), stop)()
    assert not (tmp_path / "model" / artifact.GRAPHS).exists()


def test_a_run_exports_unless_told_otherwise(make_run, tmp_path):
    make_run(export=True, epochs=1)()
    assert (tmp_path / "out" / "model" / artifact.GRAPHS / "float32.xml").exists()
    make_run(epochs=1)()
    assert sorted(file.name for file in (tmp_path / "out" / "model").iterdir()) == ["model.json", "model.safetensors"]


# ------------------------------------------------------------------------------------------------------- quantization


def layered(weights: np.ndarray, groups: int = 1) -> "ov.Model":
    """A convolution with `weights` and a rectifier, between a first and a last layer that do nothing."""
    inputs = ops.parameter([-1, weights.shape[1] * groups, 8, 8], np.float32)
    first = _convolution(inputs, np.eye(weights.shape[1] * groups)[..., None, None])
    if groups > 1:
        weights = weights.reshape(groups, -1, *weights.shape[1:])
        layer = ops.group_convolution(first, weights.astype(np.float32), [1, 1], [0, 0], [0, 0], [1, 1])
    else:
        layer = _convolution(first, weights)
    last = _convolution(ops.relu(layer), np.eye(layer.get_output_partial_shape(0)[1].get_length())[..., None, None])
    return ov.Model([ops.result(last)], [inputs])


def _convolution(inputs: "ov.Node", weights: np.ndarray) -> "ov.Node":
    return ops.convolution(inputs, weights.astype(np.float32), [1, 1], [0, 0], [0, 0], [1, 1])


def kinds(graph: "ov.Model") -> list[str]:
    return [node.get_type_name() for node in graph.get_ordered_ops()]


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_are_computed_from_integers(groups):
    generator = np.random.default_rng(0)
    graph = layered(generator.normal(size=(8, 4, 3, 3)), groups)
    pictures = generator.normal(size=(16, 4 * groups, 8, 8)).astype(np.float32)
    integers = quantize(graph, [pictures[:8], pictures[8:]])
    assert "FakeQuantize" in kinds(integers)
    assert any(
        node.get_type_name() == "Constant" and node.get_element_type() == ov.Type.i8 for node in integers.get_ops()
    )
    exact, rough = answers(graph, pictures), answers(integers, pictures)
    assert np.abs(rough - exact).max() > 0
    assert np.linalg.norm(rough - exact) < 0.05 * np.linalg.norm(exact)
    assert kinds(graph).count("FakeQuantize") == 0  # the one that was given is as it was


def test_depthwise_convolutions_stay_as_they_are():
    graph = layered(np.ones((4, 1, 3, 3)), groups=4)
    assert kinds(quantize(graph, [np.ones((1, 4, 8, 8), np.float32)])) == kinds(graph)


def test_what_rounding_weights_adds_on_average_is_taken_off():
    # 0.004 of 1 is half a step of 1/127: each of the 99 small weights is rounded up, in the same direction.
    weights = np.full((1, 100, 1, 1), 0.00394)
    weights[0, 0] = 1
    graph = layered(weights)
    pictures = np.ones((1, 100, 8, 8), np.float32)
    exact, rough = answers(graph, pictures), answers(quantize(graph, [pictures]), pictures)
    assert abs(99 * (1 / 127 - 0.00394)) > 0.3  # what it would be off by
    assert np.abs(rough - exact).max() < 0.02
