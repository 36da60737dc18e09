"""What a run records of itself: tensors that smdebug reads, losses of every step, times, utilisation."""

import csv
import gzip
import json
import os
import time
from copy import deepcopy

import numpy as np
import pytest
import torch
from smdebug.core.modes import ModeKeys
from smdebug.trials import create_trial
from torch import nn

from byoc_vision.contract.hyperparameters import SettingsError, parse
from byoc_vision.debugger.finished_trial import FinishedTrial
from byoc_vision.debugger.trial import Mode
from classifier import artifact
from train.record import smdebug_files, tensor_hook, utilisation
from train.record.managed_hook import ManagedHook
from train.record.smdebug_files import Record, RecordingError, Step
from train.record.tensor_hook import Hook

TRAIN, EVAL = Mode.TRAIN, Mode.EVAL


def losses(trial, mode):
    steps = [(step, *trial.mode_step(step)) for step in trial.steps]
    return {n: trial.value("CrossEntropyLoss_output_0", step).item() for step, its, n in steps if its is mode}


class Net(nn.Module):
    """One ReLU in place, used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.relu, self.last = nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2)

    def forward(self, inputs):
        return self.last(self.relu(self.relu(self.first(inputs)) - 1))


def one_step(folder, network, number=0):
    """Run one recorded step on its own; return the inputs of the first ReLU."""
    seen = []
    network.relu.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    observed, step = Hook(network, folder, 10), Step("train", 1, number, number)
    assert observed.begin(step)
    loss = network(torch.linspace(-1, 1, 20).view(5, 4)).square().mean()
    observed.forward(step, loss)
    loss.backward()
    observed.backward(step)
    observed.close()
    return seen[0]


def test_smdebug_reads_what_is_recorded(tmp_path):
    torch.manual_seed(0)
    network = Net()
    inputs = one_step(tmp_path / "debugger", network)
    trial = create_trial(str(tmp_path / "debugger"))
    assert trial.steps(mode=ModeKeys.TRAIN) == [0]
    weight, gradient = trial.tensor("Net_first.weight"), trial.tensor("gradient/Net_first.weight")
    values = network.first.weight.detach().numpy()
    for reduction in ("mean", "std", "min", "max"):
        assert weight.reduction_value(0, reduction) == pytest.approx(getattr(values, reduction)(), rel=1e-5)
    assert weight.reduction_value(0, "mean", abs=True) == pytest.approx(np.abs(values).mean(), rel=1e-5)
    assert gradient.reduction_value(0, "max") == pytest.approx(network.first.weight.grad.max().item(), rel=1e-5)
    # Before the ReLU has overwritten it, and of each of its two passes.
    assert trial.tensor("relu_input_0").reduction_value(0, "min") == pytest.approx(inputs.min().item(), rel=1e-5)
    assert trial.tensor("relu_output_0").reduction_value(0, "min") >= 0
    assert "relu_input_1" in trial.tensor_names() and "relu_output_1" in trial.tensor_names()
    expected = (inputs > 0).float().mean(dim=0).numpy()
    np.testing.assert_allclose(trial.tensor("relu_activity/relu").value(0), expected)
    assert set(trial.tensor_names(collection="biases")) == {"Net_first.bias", "Net_last.bias"}
    assert trial.tensor_names(collection="losses") == ["CrossEntropyLoss_output_0"]


def test_bfloat16_and_nan(tmp_path):
    network = Net().bfloat16()
    with torch.no_grad():
        network.first.weight[0, 0] = torch.nan
    step, observed = Step("train", 1, 0, 0), Hook(network, tmp_path, 10)
    observed.begin(step)
    loss = network(torch.ones(5, 4, dtype=torch.bfloat16)).mean()
    observed.forward(step, loss)
    loss.backward()
    observed.backward(step)
    observed.close()
    trial = FinishedTrial(tmp_path)
    assert np.isnan(trial.reduction("Net_first.weight", 0, "mean"))
    assert np.isnan(losses(trial, TRAIN)[0])


def test_only_recorded_steps_are_hooked(tmp_path):
    network = Net()
    observed = Hook(network, tmp_path, 10)
    hooked = []
    for number in range(31):
        step = Step("train", 1, number, number)
        if observed.begin(step):
            hooked.append(number)
        assert bool(network.relu._forward_hooks) == (number == next(reversed(hooked)))
        loss = network(torch.ones(2, 4)).mean()
        observed.forward(step, loss)
        if number in hooked:
            observed.backward(step)
    assert hooked == [0, 1, 2, 4, 8, 10, 16, 20, 30]
    assert not observed.begin(Step("eval", 1, 31, 0))
    observed.close()
    assert sorted(losses(FinishedTrial(tmp_path), TRAIN)) == list(range(31))


def test_of_a_large_activation_some_samples_are_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_hook, "_ENOUGH", 6)
    inputs = one_step(tmp_path, Net())
    found = FinishedTrial(tmp_path).reduction("relu_input_0", 0, "max")
    assert found == pytest.approx(inputs[:2].max().item(), rel=1e-5)


def test_a_run_records_every_loss_and_step(make_run, tmp_path):
    run = make_run(epochs=2)
    run()
    output = tmp_path / "out" / "output"
    trial = FinishedTrial(output / "debugger")
    assert trial.notes == []
    history = json.loads((output / "metrics.json").read_text())["history"]
    batches = len(losses(trial, TRAIN)) // 2
    assert sorted(losses(trial, TRAIN)) == list(range(2 * batches))
    assert losses(trial, EVAL)[0] == pytest.approx(history[0]["validation_loss"], rel=1e-3)  # it fits one batch
    assert list(trial.steps) == list(range(2 * batches + 2))
    steps = list(csv.DictReader((output / "profile" / "steps.csv").open()))
    assert [row["epoch"] for row in steps if row["mode"] == "eval"] == ["1", "2"]
    trained = [row for row in steps if row["mode"] == "train"]
    # Steps whose tensors were recorded took longer for that, and are not timed.
    kinds = {step: trial.mode_step(step)[0] for step in trial.steps}
    recorded = {step for step, names in trial.steps.items() if any(name.startswith("gradient/") for name in names)}
    timed = [step for step, kind in kinds.items() if kind is Mode.TRAIN and step not in recorded]
    assert [int(row["step"]) for row in trained] == timed and len(timed) > 2
    assert all(float(row["backward"]) > 0 for row in trained)
    facts = json.loads((output / "profile" / "run.json").read_text())
    assert facts["started"] < facts["first_step"] and facts["workers"] == 0 and facts["device"] == "cpu"
    names, begins = zip(*facts["phases"], strict=True)
    last = [name for name in names if name != "heat maps"][-3:]  # which are made only where an answer was wrong
    assert names[0] == "reading the pictures" and last == ["training", "evaluation", "report"]
    assert facts["started"] < begins[0] and list(begins) == sorted(begins)


def test_recording_changes_nothing(make_run, tmp_path):
    make_run(out="with")()
    make_run(out="without", debug_interval=0)()
    assert not (tmp_path / "without" / "output" / "debugger").exists()
    assert not (tmp_path / "without" / "output" / "profile").exists()
    one, other = (artifact.load(tmp_path / out / "model").network.state_dict() for out in ("with", "without"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_new_run_forgets_the_old_recording(make_run, tmp_path):
    make_run(epochs=3)()
    make_run(epochs=1)()
    trial = FinishedTrial(tmp_path / "out" / "output" / "debugger")
    assert len(losses(trial, EVAL)) == 1


def test_utilisation_is_sampled(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr("train.record.utilisation.INTERVAL", 0.05)
    make_run()()
    (header, *rows) = csv.reader((tmp_path / "out" / "output" / "profile" / "system.csv").open())
    assert header[:2] == ["time", "cpu_0"] and header[-2:] == ["iowait", "memory"]
    assert len(rows) > 2 and all(len(row) == len(header) for row in rows)
    assert all(0 <= float(value) <= 100 for row in rows for value in row[1:])


def test_a_process_knows_when_it_began_to_the_hundredth_of_a_second(tmp_path, monkeypatch):
    tick = os.sysconf("SC_CLK_TCK")
    (tmp_path / "stat").write_text(f"7 (a) b) S {'0 ' * 18}{999 * tick} 0 0")
    monkeypatch.setattr(utilisation, "_SELF", tmp_path / "stat")
    monkeypatch.setattr(utilisation.time, "clock_gettime", {time.CLOCK_BOOTTIME: 1000.25}.__getitem__)
    monkeypatch.setattr(utilisation.time, "time", lambda: 5000.5)
    assert utilisation.began() == pytest.approx(4999.25)


def test_the_trace_opens(make_run, tmp_path):
    make_run(epochs=2, trace_steps=2)()
    with gzip.open(tmp_path / "out" / "output" / "profile" / "trace.json.gz") as file:
        trace = json.load(file)
    names = {event.get("name", "") for event in trace["traceEvents"]}
    assert any(name.startswith("aten::conv") for name in names)
    with pytest.raises(SettingsError, match="one of the two"):
        parse({"trace-steps": 3, "debug-interval": 0})


def test_a_disk_that_is_full_is_one_sentence(tmp_path):
    record = Record("x", Step("train", 1, 0, 0), np.float32(1))
    (tmp_path / "events").write_text("in the way")
    with pytest.raises(RecordingError, match="debug-interval"):
        smdebug_files.write(tmp_path, [record])


def test_the_service_configuration_is_obeyed(make_run, tmp_path):
    configuration = tmp_path / "debughookconfig.json"
    content = {
        "LocalPath": str(tmp_path / "tensors"),
        "HookParameters": {"save_interval": "2"},
        "CollectionConfigurations": [{"CollectionName": "gradients"}, {"CollectionName": "losses"}],
    }
    configuration.write_text(json.dumps(content))
    run = make_run(epochs=2, precision="bfloat16", hook_configuration=configuration)
    run()
    trial = create_trial(str(tmp_path / "tensors"))
    assert [step % 2 for step in trial.steps(mode=ModeKeys.TRAIN)] == [0] * len(trial.steps(mode=ModeKeys.TRAIN))
    assert len(trial.steps(mode=ModeKeys.TRAIN)) > 2 and trial.steps(mode=ModeKeys.EVAL)
    assert any(name.startswith("gradient/") for name in trial.tensor_names())
    assert not (tmp_path / "out" / "output" / "debugger").exists()


def test_the_services_hook_leaves_the_network_as_it_was(tmp_path):
    configuration = tmp_path / "debughookconfig.json"
    content = {
        "LocalPath": str(tmp_path / "tensors"),
        "CollectionConfigurations": [{"CollectionName": "losses", "CollectionParameters": {"save_interval": "5"}}],
    }
    configuration.write_text(json.dumps(content))
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    hook = ManagedHook(net, configuration)
    step = Step("train", 1, 0, 0)
    hook.begin(step)
    hook.forward(step, net(torch.ones(1, 2)).sum())
    hook.close()
    assert not [module for module in net.modules() if module._forward_hooks or module._forward_pre_hooks]
    copied = deepcopy(net)  # as what makes the graphs for CPUs does
    assert torch.equal(copied(torch.ones(1, 2)), net(torch.ones(1, 2)))
