"""The one way from picture to tensor, compared with torchvision's own."""

import json
import tracemalloc
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms import v2

from classifier import network
from classifier.preprocessing import Preprocessing, as_array

PLAIN = Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def photograph(width: int, height: int) -> Image.Image:
    """Return smooth colours with some detail."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [np.sin(x / 17) * 90 + 128, np.cos(y / 23) * 90 + 128, np.sin((x + y) / 31) * 90 + 128]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


@pytest.mark.parametrize(("width", "height"), [(512, 384), (384, 512), (500, 375), (224, 224), (90, 60)])
def test_agrees_with_torchvisions_resize_and_crop(width, height):
    image = photograph(width, height)
    reference = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])(image)
    difference = PLAIN.pixels(image).astype(int) - as_array(reference)
    assert np.abs(difference).mean() < 1.5


def test_normalization_agrees_with_torchvisions_preset():
    preset = models.ResNet18_Weights.DEFAULT.transforms()
    image = photograph(256, 256)
    ours = PLAIN.normalize(PLAIN.pixels(image)[None])
    assert ours.shape == (1, 3, 224, 224)
    assert torch.allclose(torch.from_numpy(ours[0]), preset(image), atol=0.05)


def test_arrays_and_tensors_are_normalized_alike_to_the_bit():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 3, 16, 16)
    assert np.array_equal(network.normalize(torch.from_numpy(pixels), PLAIN).numpy(), PLAIN.normalize(pixels))


def test_many_pictures_take_little_more_memory_than_their_arrays():
    images = [photograph(100 + index, 90) for index in range(20)]
    tracemalloc.start()
    try:
        inputs = PLAIN.inputs(images)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(inputs, PLAIN.normalize(np.stack([PLAIN.pixels(image) for image in images])))
    assert inputs.nbytes == 20 * PLAIN.input_bytes < peak < 1.3 * inputs.nbytes


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_extreme_shapes_take_no_more_than_the_crop(size):
    assert PLAIN.pixels(Image.new("RGB", size, "red")).shape == (3, 224, 224)


def test_another_image_size_keeps_the_proportion():
    assert PLAIN.resized(112) == Preprocessing(128, 112, PLAIN.mean, PLAIN.std)


def test_preset_of_published_weights():
    preset = Preprocessing.of(models.ResNet50_Weights.IMAGENET1K_V2)
    assert (preset.resize_size, preset.crop_size, preset.interpolation) == (232, 224, "bilinear")


def plain(**changes):
    """PLAIN as a file holds it, with some fields changed."""
    return json.loads(json.dumps(asdict(PLAIN) | changes))


def test_what_is_saved_is_what_is_read():
    assert Preprocessing.from_json(plain()) == PLAIN
    for weights in (models.Inception_V3_Weights.DEFAULT, models.ViT_H_14_Weights.DEFAULT):
        preset = Preprocessing.of(weights)
        assert Preprocessing.from_json(json.loads(json.dumps(asdict(preset)))) == preset
    extremes = plain(resize_size=4096, crop_size=4096, mean=[0, 0.5, 1], std=[1 / 255, 0.5, 1], interpolation="lanczos")
    assert Preprocessing.from_json(extremes).std == (1 / 255, 0.5, 1)
    del extremes["interpolation"]
    assert Preprocessing.from_json(extremes).interpolation == "bilinear"


@pytest.mark.parametrize("name", ["resize_size", "crop_size"])
@pytest.mark.parametrize("value", [0, -1, 10**9, 10**4000, 224.0, True, None, "224", [224], {}, float("nan")])
def test_sizes_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Preprocessing.from_json(plain(**{name: value}))


BAD_NUMBERS = [float("nan"), float("inf"), -0.1, 1.1, 10**400, True, None, "0.5", [0.5]]


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize(
    "value", [*([0.5, number, 0.5] for number in BAD_NUMBERS), [0.5, 0.5], [0.5] * 4, 0.5, "abc", None, {}]
)
def test_constants_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Preprocessing.from_json(plain(**{name: value}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"std": [0.2, 0, 0.2]}, "std"),
        ({"std": [0.2, 1e-50, 0.2]}, "std"),
        ({"crop_size": 257}, "smaller than crop_size"),
        ({"interpolation": "best"}, "interpolation"),
        ({"interpolation": 2}, "interpolation"),
        ({"gamma": 2.2}, "gamma"),
    ],
)
def test_what_would_change_the_answers_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        Preprocessing.from_json(plain(**changes))


@pytest.mark.parametrize("value", [None, [], "", 1, {}, [["mean", 1]]])
def test_a_preprocessing_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="preprocessing"):
        Preprocessing.from_json(value)
