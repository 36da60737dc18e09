"""Networks of every family get a new head and pretrained backbones, and refuse what does not fit."""

import os
import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from classifier import network
from classifier.network import WeightsError

FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1",
    "swin_t", "vgg11", "vit_b_32",
]  # fmt: skip


@pytest.mark.parametrize("arch", FAMILIES)
def test_every_family_gets_a_head_for_the_classes(arch):
    net = network.build(arch, classes=5).eval()
    side = network.preset(arch).crop_size
    picture = torch.randn(1, 3, side, side)
    *_, last, (name,) = network.blocks(net)
    frozen, trained = network.split(net, last[0])
    with torch.inference_mode():
        logits = net(picture)
        assert logits.shape == (1, 5)
        assert torch.equal(trained.eval()(frozen(picture)), logits)
    assert not frozen.state_dict().keys() & trained.state_dict().keys()
    assert frozen.state_dict().keys() | trained.state_dict().keys() == net.state_dict().keys()
    assert trained.get_submodule(name) is net.get_submodule(network.head_name(net))
    head = net.get_submodule(network.head_name(net))
    assert 5 in (getattr(head, "out_features", 0), getattr(head, "out_channels", 0))


@pytest.mark.parametrize(
    ("arch", "last"),
    [
        ("alexnet", ("classifier.4",)),
        ("convnext_tiny", ("features.7.2", "classifier.0")),
        ("densenet121", ("features.denseblock4", "features.norm5")),
        ("efficientnet_b0", ("features.7.0", "features.8.0", "features.8.1")),
        ("googlenet", ("inception5b",)),
        ("inception_v3", ("Mixed_7c",)),
        ("mnasnet0_5", ("layers.13.0", "layers.14", "layers.15")),
        ("mobilenet_v2", ("features.17", "features.18.0", "features.18.1")),
        ("regnet_y_400mf", ("trunk_output.block4.block4-5",)),
        ("resnet18", ("layer4.1",)),
        ("shufflenet_v2_x0_5", ("stage4.3", "conv5.0", "conv5.1")),
        ("squeezenet1_1", ("features.12",)),
        ("swin_t", ("features.7.1", "norm")),
        ("vgg11", ("classifier.3",)),
        ("vit_b_32", ("encoder.layers.encoder_layer_11", "encoder.ln")),
    ],
)
def test_the_last_block_is_what_the_network_repeats_and_what_follows(arch, last):
    with torch.device("meta") if arch != "regnet_y_400mf" else nullcontext():  # computes its widths
        assert network.blocks(network.build(arch, 2))[-2] == last


def test_architectures_are_the_classifiers_only():
    names = network.architectures()
    assert {"resnet50", "vit_b_16", "mobilenet_v2"} <= set(names)
    assert not any(name.startswith(("fcn", "fasterrcnn", "r3d", "raft")) for name in names)


def saved(folder: Path, form: str, state: dict[str, torch.Tensor]) -> Path:
    file = folder / f"weights.{form}"
    if form == "safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file


@pytest.mark.parametrize("form", ["safetensors", "pth"])
@pytest.mark.parametrize("arch", ["mobilenet_v2", "resnet18"])
def test_backbone_is_loaded_and_the_head_is_new(tmp_path, arch, form):
    torch.manual_seed(1)
    source = network.build(arch, 1000)
    file = saved(tmp_path, form, source.state_dict())
    target = network.build(arch, 3)
    head_before = target.get_submodule(network.head_name(target)).weight.clone()
    network.load_backbone(target, arch, file)
    head = network.head_name(target)
    for name, tensor in target.state_dict().items():
        if not name.startswith(head):
            assert torch.equal(tensor, source.state_dict()[name]), name
    assert torch.equal(target.get_submodule(head).weight, head_before)


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}])
def test_wrapped_and_parallel_checkpoints_are_understood(tmp_path, wrap):
    source = network.build("resnet18", 10)
    file = tmp_path / "weights.pth"
    torch.save(wrap({f"module.{name}": tensor for name, tensor in source.state_dict().items()}), file)
    target = network.build("resnet18", 3)
    network.load_backbone(target, "resnet18", file)
    assert torch.equal(target.conv1.weight, source.conv1.weight)


def test_published_googlenet_weights_carry_auxiliary_heads(tmp_path):
    source = network.build("googlenet", 10)
    state = source.state_dict() | {"aux1.fc1.weight": torch.zeros(2, 2)}
    network.load_backbone(network.build("googlenet", 3), "googlenet", saved(tmp_path, "pth", state))


def test_weights_of_another_architecture_are_named(tmp_path):
    file = saved(tmp_path, "safetensors", network.build("resnet18", 10).state_dict())
    with pytest.raises(WeightsError, match=r"weights\.safetensors does not fit mobilenet_v2: it lacks"):
        network.load_backbone(network.build("mobilenet_v2", 3), "mobilenet_v2", file)
    with pytest.raises(WeightsError, match="does not fit resnet50"):
        network.load_backbone(network.build("resnet50", 3), "resnet50", file)


class _Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/weights-ran-code",)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({"conv1.weight": _Malicious()}, file)
    with pytest.raises(WeightsError, match="could run code"):
        network.load_backbone(network.build("resnet18", 3), "resnet18", file)
    file.write_bytes(pickle.dumps(_Malicious()))
    with pytest.raises(WeightsError):
        network.load_backbone(network.build("resnet18", 3), "resnet18", file)
    assert not Path("/tmp/weights-ran-code").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 half a zip"])
def test_files_that_are_no_weights(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        network.load_backbone(network.build("resnet18", 3), "resnet18", tmp_path / name)


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="plain state_dict"):
        network.load_backbone(network.build("resnet18", 3), "resnet18", tmp_path / "weights.pth")


def test_preset_follows_the_published_file_name():
    first = network.preset("resnet50", Path("resnet50-0676ba61.pth"))
    best = network.preset("resnet50", Path("my-own.safetensors"))
    assert (first.resize_size, best.resize_size) == (256, 232)
