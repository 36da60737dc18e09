"""Recordings of smdebug's own hook on small networks, healthy and broken on purpose, judged by the rules."""

from pathlib import Path

import pytest
import torch
from smdebug import SaveConfig
from smdebug.core.modes import ModeKeys
from smdebug.core.reduction_config import ReductionConfig
from torch import nn

from byoc_vision.debugger.finished_trial import FinishedTrial
from byoc_vision.debugger.rules import TENSOR_RULES
from train.record.managed_hook import SmdebugHook

STEPS = 20


def train(folder: Path, network: nn.Module, lr: float = 0.1) -> FinishedTrial:
    """Train on two easy classes under a hook that records reductions, the losses in full, and the ReLUs' activity."""
    hook = SmdebugHook(
        out_dir=str(folder),
        save_config=SaveConfig(save_interval=2),
        reduction_config=ReductionConfig(reductions=["mean", "std", "min", "max"], abs_reductions=["mean"]),
        include_collections=["gradients", "weights", "losses", "relu_output", "relu_input", "relu_activity"],
    )
    hook.get_collection("losses").save_config = SaveConfig(save_interval=1)
    hook.get_collection("relu_output").include(".*relu_output")
    hook.get_collection("relu_input").include(".*relu_input")
    activity = hook.get_collection("relu_activity")
    activity.include("^relu_activity/")
    activity.reduction_config = ReductionConfig(save_raw_tensor=True)
    hook.register_module(network)
    loss_of = nn.CrossEntropyLoss()
    hook.register_loss(loss_of)

    def record(relu: nn.Module, _: object, output: torch.Tensor) -> None:
        share = (output > 0).float().mean(dim=0)
        hook._save_for_tensor(f"relu_activity/{relu._module_name}", share)

    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(record)
    optimizer = torch.optim.SGD(network.parameters(), lr)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 8, generator=generator)
    targets = (inputs[:, 0] > 0).long()
    for _ in range(STEPS):
        hook.set_mode(ModeKeys.TRAIN)
        optimizer.zero_grad()
        loss_of(network(inputs), targets).backward()
        optimizer.step()
        hook.set_mode(ModeKeys.EVAL)
        with torch.no_grad():
            loss_of(network(inputs), targets)
    hook.close()
    return FinishedTrial(folder)


class Net(nn.Module):
    """Two layers and the ReLU between them, named as in torchvision."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.relu, self.last = nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(self.relu(self.first(inputs)))


def fired(trial: FinishedTrial) -> set[str]:
    """Return the names of the rules that fire, of those that need a recording only."""
    names = set()
    for name in ("VanishingGradient", "ExplodingTensor", "PoorWeightInitialization", "LossNotDecreasing", "DeadRelu"):
        rule = TENSOR_RULES[name](trial)
        for step in trial.steps:
            rule.invoke_at_step(step)
        rule.check()
        if rule.findings:
            names.add(name)
    return names


def test_a_healthy_network_fires_nothing(tmp_path: Path) -> None:
    trial = train(tmp_path / "debugger", Net())
    assert trial.notes == []
    assert fired(trial) == set()


def test_dead_relus(tmp_path: Path) -> None:
    network = Net()
    with torch.no_grad():
        network.first.bias[:9] = -100.0
    assert "DeadRelu" in fired(train(tmp_path / "debugger", network))


def test_weights_that_start_at_zero(tmp_path: Path) -> None:
    network = Net()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    found = fired(train(tmp_path / "debugger", network))
    assert {"VanishingGradient", "PoorWeightInitialization", "DeadRelu"} <= found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_learning_rate_that_explodes(tmp_path: Path) -> None:
    found = fired(train(tmp_path / "debugger", Net(), lr=1e25))
    assert "ExplodingTensor" in found
