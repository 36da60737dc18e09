"""Temperature scaling: the temperature that a network's logits were spoiled with is found again."""

import pytest
import torch
from torch import nn

from train import calibration
from train.batches import FeatureBatches, Order
from train.stopping import StopSignal


def batches(logits: torch.Tensor, targets: torch.Tensor) -> FeatureBatches:
    """Return batches whose features are the logits of a network that changes nothing."""
    return FeatureBatches(logits, torch.arange(len(targets))[:, None], targets, Order(len(targets), 512))


@pytest.mark.parametrize("spoiled", [0.3, 1.0, 4.0])
def test_the_temperature_is_found(spoiled: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 10, generator=generator)
    targets = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    given = batches(spoiled * logits, targets)
    temperature, before, after = calibration.fit(nn.Identity(), given, torch.float32, StopSignal())
    assert temperature == pytest.approx(spoiled, rel=0.05)
    assert after <= before


def test_few_pictures_that_were_all_right_are_no_certainty() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0]] * 18)
    given = batches(logits, torch.zeros(18, dtype=torch.long))
    temperature, _, _ = calibration.fit(nn.Identity(), given, torch.float32, StopSignal())
    assert (logits / temperature).softmax(dim=1)[0, 0].item() == pytest.approx(19 / 20, abs=1e-3)


def test_logits_that_say_nothing_stay_as_they_are() -> None:
    given = batches(torch.zeros(8, 2), torch.tensor([0, 1] * 4))
    temperature, before, after = calibration.fit(nn.Identity(), given, torch.float32, StopSignal())
    assert before == after and 0.05 <= temperature <= 20


def test_it_becomes_part_of_the_layer() -> None:
    layer, inputs = nn.Linear(4, 3), torch.randn(2, 4)
    before = layer(inputs)
    calibration.apply(2.0, layer)
    torch.testing.assert_close(layer(inputs), before / 2)
