"""Heat maps lie on what is in the picture, whatever the network is built of, and cost a run nothing when they fail."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import nn

from classifier import network
from local_test import draw
from train import heatmaps

#: One of each kind: features averaged, dense blocks, a convolution as head, tokens, windows, several linear layers.
KINDS = {"resnet18": 64, "densenet121": 64, "squeezenet1_1": 64, "vit_b_32": 224, "swin_t": 64, "alexnet": 96}


def maps(net: nn.Module, inputs: torch.Tensor, classes: torch.Tensor) -> NDArray[np.float32]:
    return heatmaps.maps(net, inputs, classes, heatmaps.feature_maps(net, inputs[:1]))


@pytest.mark.parametrize("arch", KINDS)
def test_every_kind_of_network_has_maps(arch: str) -> None:
    torch.manual_seed(1)
    net = network.build(arch, 5).eval()
    nn.init.normal_(net.get_submodule(network.head_name(net)).weight)  # some begin with 0, which speaks for nothing
    inputs = torch.rand(2, 3, KINDS[arch], KINDS[arch])
    found = maps(net, inputs, torch.tensor([1, 4]))
    assert found.shape[0] == 2 and found.shape[1] == found.shape[2] >= 4
    assert found.min() >= 0 and found.max() == 1
    assert not any(module._forward_hooks for module in net.modules())


def test_a_map_of_averaged_features_is_the_class_activation_map() -> None:
    torch.manual_seed(2)
    body = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.ReLU())
    head = nn.Linear(6, 3)
    net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    inputs, classes = torch.rand(4, 3, 64, 64), torch.tensor([0, 1, 2, 0])
    weights = head.weight - head.weight.mean(dim=0)
    wanted = torch.einsum("nc,nchw->nhw", weights[classes], body(inputs)).clamp_min(0)
    wanted = wanted / wanted.amax(dim=(1, 2), keepdim=True).clamp_min(1e-30)
    np.testing.assert_allclose(maps(net, inputs, classes), wanted.detach().numpy(), atol=1e-5)


def test_what_nothing_speaks_for_has_an_empty_map() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.zeros_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    assert not maps(net, torch.rand(1, 3, 64, 64), torch.tensor([1])).any()


def test_a_network_without_feature_maps() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    with pytest.raises(ValueError, match="the network has no feature maps"):
        maps(net, torch.rand(1, 3, 8, 8), torch.tensor([0]))


def _drawn(colour: tuple[int, int, int], corners: int, seed: str) -> tuple[Image.Image, Image.Image]:
    """Return a drawn picture and where its shape is."""
    picture = draw.draw_picture(colour, corners, random.Random(seed))
    generator = random.Random(seed)
    generator.randbytes(16 * 12 * 3)
    radius, x, y = generator.uniform(24, 42), generator.uniform(60, 100), generator.uniform(50, 70)
    turn, shape = generator.uniform(0, 2 * math.pi), Image.new("L", draw.SIZE)
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    around = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    if corners:
        ImageDraw.Draw(shape).polygon(around, fill=255)
    else:
        ImageDraw.Draw(shape).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return picture, shape


def test_the_mass_lies_on_the_drawn_shape() -> None:
    # A network that knows the four colours without having learned: a channel for each, averaged over ever larger cells.
    colours = torch.tensor([colour for colour, _ in draw.CLASSES.values()]) / 255
    eyes = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        directions = colours - colours.mean(dim=1, keepdim=True)
        directions /= directions.norm(dim=1, keepdim=True)
        eyes.weight.copy_(directions[:, :, None, None])
        eyes.bias.fill_(-0.25)
    head = nn.Linear(4, 4)
    with torch.no_grad():
        head.weight.copy_(torch.eye(4))
        head.bias.zero_()
    pools = nn.Sequential(nn.AvgPool2d(4), nn.AvgPool2d(2), nn.AvgPool2d(2))
    net = nn.Sequential(eyes, nn.ReLU(), pools, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    side, pictures, shapes, classes = 112, [], [], []
    for number, (name, (colour, corners)) in enumerate(draw.CLASSES.items()):
        for i in range(10):
            picture, shape = _drawn(colour, corners, f"0 test {name} {i}")
            box = ((draw.SIZE[0] - side) // 2, (draw.SIZE[1] - side) // 2)
            cut = (*box, box[0] + side, box[1] + side)
            pictures.append(torch.from_numpy(np.array(picture.crop(cut))).permute(2, 0, 1) / 255)
            shapes.append(np.array(shape.crop(cut)) > 0)
            classes.append(number)
    inputs = torch.stack(pictures)
    assert net(inputs).argmax(dim=1).tolist() == classes
    found = maps(net, inputs, torch.tensor(classes))
    shares = []
    for map_, shape in zip(found, shapes, strict=True):
        large = np.asarray(Image.fromarray(map_).resize((side, side), Image.Resampling.BILINEAR))
        shares.append(large[shape].sum() / large.sum())
    assert np.mean(np.array(shares) > 0.5) >= 0.95, shares


def test_a_run_leaves_maps_of_what_it_got_wrong(make_run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("train.results.job.WRONG_SHOWN", 2)
    lines: list[str] = []
    make_run(epochs=1, lr=1e-8, report=lines.append)()  # knows next to nothing
    output = tmp_path / "out" / "output"
    assert "no heat maps" not in "\n".join(lines)
    left = json.loads((output / "heatmaps.json").read_text(encoding="utf-8"))
    assert 1 <= len(left["maps"]) <= 2 and 0.8 < left["crop"] <= 1
    for rows in left["maps"].values():
        assert {len(row) for row in rows} == {len(rows)}
        assert min(map(min, rows)) >= 0 and max(map(max, rows)) <= 255
    said = f"heat maps of {len(left['maps'])} pictures that it is most wrong about: "
    assert any(line.startswith(said) for line in lines)


def test_maps_that_fail_are_said_and_cost_nothing(make_run, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such hook")

    monkeypatch.setattr(heatmaps, "maps", fail)
    lines: list[str] = []
    make_run(epochs=1, lr=1e-8, report=lines.append)()
    assert any(line.startswith("no heat maps were made (") and "no such hook" in line for line in lines)
    assert (tmp_path / "out" / "output" / "metrics.json").exists()
    assert not (tmp_path / "out" / "output" / "heatmaps.json").exists()


def test_a_run_without_a_report_leaves_neither_maps_nor_all_probabilities(make_run, tmp_path) -> None:
    run = make_run(epochs=1, lr=1e-8)
    replace(run, settings=replace(run.settings, report=False))()
    assert not [file for file in ("heatmaps.json", "probabilities.npy") if (tmp_path / "out/output" / file).exists()]
