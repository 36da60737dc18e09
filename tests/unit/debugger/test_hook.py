"""Recordings of smdebug's own hook on small networks, healthy and broken on purpose, judged by the rules."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import smdebug.pytorch as smd
import torch
from smdebug import SaveConfig
from smdebug.core.modes import ModeKeys
from smdebug.core.reduction_config import ReductionConfig
from smdebug.exceptions import SMDebugRuntimeError
from smdebug.trials import create_trial
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

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


def hooked(folder: Path) -> tuple[Net, smd.Hook]:
    """Return a network that has trained for a step under a hook that records all, and the hook."""
    network = Net()
    hook = smd.Hook(out_dir=str(folder), save_config=SaveConfig(save_interval=1), save_all=True)
    hook.register_hook(network)
    network(INPUTS).sum().backward()
    return network, hook


INPUTS = torch.ones(3, 8)

#: What a script makes of its network at the end, and how that is asked.
MADE: dict[str, Callable[[nn.Module, Path], Callable[[Tensor], Tensor]]] = {
    "traced": lambda network, _: torch.jit.trace(network, INPUTS),
    "scripted": lambda network, _: torch.jit.script(network),
    "copied": lambda network, _: copy.deepcopy(network),
    "averaged": lambda network, _: AveragedModel(network),
    "exported": lambda network, _: torch.export.export(network, (INPUTS,)).module(),
    "symbolic": lambda network, _: torch.fx.symbolic_trace(nn.Sequential(network)),
    "saved": lambda network, folder: (
        torch.save(network, folder / "network.pth"), torch.load(folder / "network.pth", weights_only=False)
    )[1],
    "compiled": lambda network, _: torch.compile(network, backend="eager"),
}  # fmt: skip


@pytest.mark.parametrize("how", MADE)
def test_what_is_made_of_a_network_has_no_hook(tmp_path: Path, how: str) -> None:
    network, hook = hooked(tmp_path / "tensors")
    made = MADE[how](network, tmp_path)
    if how not in ("symbolic", "compiled"):  # which go on with the network's own layers
        step = hook.step
        made(INPUTS)
        assert hook.step == step
    torch.testing.assert_close(made(INPUTS), network(INPUTS))
    assert b"smdebug" not in pickle.dumps(network)


def test_a_replica_of_a_network_is_recorded(tmp_path: Path) -> None:
    network, hook = hooked(tmp_path / "tensors")
    step = hook.step
    network._replicate_for_data_parallel()(INPUTS)
    assert hook.step == step + 1


def test_a_hook_that_is_given_the_loss_alone_finds_the_network(tmp_path: Path) -> None:
    """As AWS's examples have it, whose torch registers the network: `get_hook(create_if_not_exists=True)`."""
    network, loss_of, hook = Net(), nn.CrossEntropyLoss(), smd.Hook(out_dir=str(tmp_path / "tensors"), save_all=True)
    hook.register_loss(loss_of)
    loss_of(torch.ones(3, 2), torch.tensor([0, 1, 1]))  # before there is a network
    for _ in range(2):
        loss_of(network(nn.Identity()(INPUTS)), torch.tensor([0, 1, 1])).backward()
    hook.register_module(network)
    hook.close()
    names = create_trial(str(tmp_path / "tensors")).tensor_names()
    assert {"CrossEntropyLoss_output_0", "gradient/Net_first.weight", "relu_input_0"} <= set(names)


@pytest.mark.parametrize("how", ["before", "after", "in place"])
def test_a_network_that_is_compiled_is_recorded_but_for_its_layers(tmp_path: Path, how: str) -> None:
    network: Any = Net()
    loss_of, hook = nn.CrossEntropyLoss(), smd.Hook(out_dir=str(tmp_path / "tensors"), save_all=True)
    if how == "before":
        network = torch.compile(network, backend="eager")
    hook.register_hook(network)
    hook.register_loss(loss_of)
    if how == "after":
        network = torch.compile(network, backend="eager")
    if how == "in place":
        network.compile(backend="eager")
    for _ in range(2):
        loss_of(network(INPUTS), torch.tensor([0, 1, 1])).backward()
    hook.close()
    names = set(create_trial(str(tmp_path / "tensors")).tensor_names())
    assert names >= {"CrossEntropyLoss_output_0", "Net_first.weight", "gradient/Net_first.weight"}
    assert "relu_input_0" not in names


def test_why_a_hook_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "training_job_end.ts").touch()
    with pytest.raises(SMDebugRuntimeError, match="already exists"):
        smd.Hook(out_dir=str(tmp_path))
