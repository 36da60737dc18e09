"""Files of weights are read without torch as torch has written them."""

import pickle
import tarfile

import pytest
import torch
from safetensors.torch import save_file

from byoc_vision.contract import weights
from byoc_vision.contract.weights import WeightsError
from classifier import network


@pytest.fixture(scope="module")
def state():
    return network.build("mobilenet_v2", 1000).state_dict()


def saved(file, content, **options):
    if file.suffix == ".safetensors":
        save_file(content, file)
    else:
        torch.save(content, file, **options)
    return file


FORMS = [("w.safetensors", {}), ("w.pth", {}), ("w.pt", {"_use_new_zipfile_serialization": False})]


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_names_and_shapes_are_torchs(tmp_path, state, name, options):
    found = weights.shapes(saved(tmp_path / name, state, **options))
    assert found == {tensor: tuple(value.shape) for tensor, value in state.items()}
    assert weights.architectures(found) == ["mobilenet_v2"]


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_a_file_that_is_cut_off(tmp_path, state, name, options):
    file = saved(tmp_path / name, state, **options)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=f"{name} is cut off"):
        weights.shapes(file)


def test_safetensors_that_are_cut_off_in_their_table_or_are_none(tmp_path, state):
    file = saved(tmp_path / "w.safetensors", state)
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(WeightsError, match="cut off: it has 3,000 of"):
        weights.shapes(file)
    torch.save(state, file)
    with pytest.raises(WeightsError, match=r"does not begin as \.safetensors files do.* name it \.pth"):
        weights.shapes(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(WeightsError, match="does not begin as"):
        weights.shapes(file)


def test_what_scripts_save(tmp_path, state):
    wrapped = {"state_dict": {f"module.{name}": value.half() for name, value in state.items()}, "epoch": 3}
    assert weights.architectures(weights.shapes(saved(tmp_path / "w.pth", wrapped))) == ["mobilenet_v2"]
    for wrapper, prefix in (
        ("model_state_dict", "_orig_mod."),
        ("model", "module._orig_mod."),
        ("state_dict", "model."),
        ("net", "model.backbone."),
    ):
        saved_so = {wrapper: {f"{prefix}{name}": value for name, value in state.items()}, "best": 0.9}
        file = saved(tmp_path / "w.pth", saved_so)
        assert weights.architectures(weights.shapes(file)) == ["mobilenet_v2"]
        network.load_backbone(network.build("mobilenet_v2", 3), "mobilenet_v2", file)
    parameters = {name: torch.nn.Parameter(value, value.is_floating_point()) for name, value in state.items()}
    older = {name: value for name, value in parameters.items() if "num_batches" not in name}
    assert weights.architectures(weights.shapes(saved(tmp_path / "w.pth", older))) == ["mobilenet_v2"]
    another = saved(tmp_path / "w.pth", network.build("resnet18", 3).state_dict())
    assert weights.architectures(weights.shapes(another)) == ["resnet18"]
    assert weights.architectures(weights.shapes(saved(tmp_path / "w.pth", {"a": torch.zeros(2)}))) == []


def test_published_densenets_and_older_files_fit(tmp_path):
    state = network.build("densenet121", 1000).state_dict()
    older = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
        for name, value in state.items()
        if "num_batches" not in name
    }
    file = saved(tmp_path / "densenet121-a639ec97.pth", older)
    assert weights.architectures(weights.shapes(file)) == ["densenet121"]
    target = network.build("densenet121", 3)
    network.load_backbone(target, "densenet121", file)
    name = "features.denseblock1.denselayer1.norm1.weight"
    assert torch.equal(target.state_dict()[name], state[name])


class _Malicious:
    def __reduce__(self):
        return pytest.fail, ("it was called",)


def test_nothing_that_a_file_names_is_called(tmp_path):
    assert weights.shapes(saved(tmp_path / "w.pth", {"conv1.weight": _Malicious()})) is None
    (tmp_path / "w.pth").write_bytes(pickle.dumps(_Malicious()))
    assert weights.shapes(tmp_path / "w.pth") is None
    assert weights.shapes(saved(tmp_path / "w.pth", torch.nn.Linear(2, 2))) is None


def test_the_oldest_form_is_left_to_torch(tmp_path):
    (tmp_path / "tensors").write_bytes(b"x")
    with tarfile.open(tmp_path / "w.pth", "w") as tar:
        tar.add(tmp_path / "tensors", "tensors")
    assert weights.shapes(tmp_path / "w.pth") is None


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html lang='en'>", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "is a pointer of Git LFS"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a text"),
        (b'{"message": "Not Found"}\n', "is a text"),
    ],
)
def test_what_is_no_weights_is_named_here_and_in_the_job(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} {said}"):
        weights.shapes(tmp_path / name)
    with pytest.raises(WeightsError, match=f"{name} {said}"):
        network.load_backbone(network.build("resnet18", 3), "resnet18", tmp_path / name)


def test_a_picture_is_no_weights(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    with pytest.raises(WeightsError, match="does not begin as weights do"):
        weights.shapes(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("resnet50-11ad3fa6.pth", "resnet50"),
        ("regnet_y_16gf_lc_swag-f3ec0043.pth", "regnet_y_16gf"),
        ("regnet_y_1_6gf-0d7bc02a.pth", "regnet_y_1_6gf"),
        ("efficientnet_b0_rwightman-7f5810bc.pth", "efficientnet_b0"),
        ("vgg11_bn-6002323d.pth", "vgg11_bn"),
        ("resnet50.pth", None),
        ("mine-11ad3fa6.pth", None),
    ],
)
def test_names_as_torchvision_gives_them(name, arch):
    assert weights.published_as(name) == arch
