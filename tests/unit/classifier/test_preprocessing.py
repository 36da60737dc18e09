"""The one way from picture to tensor, compared with torchvision's own."""

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


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_extreme_shapes_take_no_more_than_the_crop(size):
    assert PLAIN.pixels(Image.new("RGB", size, "red")).shape == (3, 224, 224)


def test_another_image_size_keeps_the_proportion():
    assert PLAIN.resized(112) == Preprocessing(128, 112, PLAIN.mean, PLAIN.std)


def test_preset_of_published_weights():
    preset = Preprocessing.of(models.ResNet50_Weights.IMAGENET1K_V2)
    assert (preset.resize_size, preset.crop_size, preset.interpolation) == (232, 224, "bilinear")
