"""A whole run: what it leaves, that it learns, that frozen means frozen, that figures are means over samples."""

import csv
import errno
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from byoc_vision.contract import metrics
from byoc_vision.contract.hyperparameters import Settings
from classifier import artifact, network
from classifier.artifact import ArtifactError
from train import evaluation, progress
from train import run as run_module
from train.fit import DivergedError


def head_run(make_run, weights, **settings):
    return make_run(
        weights=weights,
        **{"pretrained": True, "train_layers": "head", "arch": "resnet18", "epochs": 20, "lr": 0.01, **settings},
    )


def test_a_run_leaves_model_metrics_and_predictions(make_run, tmp_path):
    run = make_run(epochs=8, lr=0.003)
    run()
    out = tmp_path / "out"
    classifier = artifact.load(out / "model")
    assert classifier.labels == ("blue", "green", "red")
    assert (classifier.settings["image_size"], classifier.settings["precision"]) == (32, "float32")
    left = json.loads((out / "output" / "metrics.json").read_text())
    assert left["test_accuracy"] == classifier.metrics["test_accuracy"]
    assert len(left["history"]) == left["epochs"]
    assert left["history"][left["best_epoch"] - 1]["validation_accuracy"] == left["validation_accuracy"]
    rows = list(csv.DictReader((out / "output" / "predictions.csv").open(encoding="utf-8")))
    assert len(rows) == left["pictures"]["test"]
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert right == pytest.approx(left["test_accuracy"])
    probabilities = np.load(out / "output" / "probabilities.npy")
    assert probabilities.shape == (len(rows), 3) and probabilities.dtype == np.float32
    assert [classifier.labels[i] for i in probabilities.argmax(axis=1)] == [row["predicted"] for row in rows]
    assert [f"{most:.6f}" for most in probabilities.max(axis=1)] == [row["probability"] for row in rows]
    assert re.fullmatch("[0-9a-f]{16}", left["data_digest"])
    assert left["pictures_of_classes"]["red"] == {"train": 6, "validation": 1, "test": 1}
    everything = sum(left["pictures"].values())
    kinds = {"formats": {"PNG": everything}, "modes": {"RGB": everything}, "shorter_sides": {"32": everything}}
    assert left["kinds_of_pictures"] == kinds and left["left_out"] == []
    assert not (out / "checkpoints" / "checkpoint.pt").exists()


def test_calibration_changes_probabilities_and_nothing_else(make_run, tmp_path):
    figures, rows, heads = {}, {}, {}
    for calibrate in (True, False):
        out = tmp_path / str(calibrate)
        make_run(out=str(calibrate), calibrate=calibrate, debug_interval=0)()
        figures[calibrate] = json.loads((out / "output" / "metrics.json").read_text())
        rows[calibrate] = list(csv.DictReader((out / "output" / "predictions.csv").open(encoding="utf-8")))
        net = artifact.load(out / "model").network
        heads[calibrate] = net.get_submodule(network.head_name(net))
    temperature = figures[True].pop("temperature")
    assert temperature != 1 and figures[False].pop("temperature") == 1
    assert not any(figure.pop("seconds") is None for figure in figures.values())
    assert figures[True] == figures[False]
    assert [row["predicted"] for row in rows[True]] == [row["predicted"] for row in rows[False]]
    assert [row["probability"] for row in rows[True]] != [row["probability"] for row in rows[False]]
    torch.testing.assert_close(heads[True].weight * temperature, heads[False].weight)
    torch.testing.assert_close(heads[True].bias * temperature, heads[False].bias)


def test_the_log_holds_counts_and_every_metric(make_run):
    lines = []
    make_run(report=lines.append)()
    log = "\n".join(lines)
    assert re.search(r"^red +6 +1 +1$", log, re.MULTILINE)
    assert [line.split()[0] for line in lines if line.startswith("epoch=")] == ["epoch=1", "epoch=2", "epoch=3"]
    kept = next(line for line in lines if line.startswith("best_epoch="))
    assert any(line.startswith(f"epoch={kept.split()[0].split('=')[1]} {' '.join(kept.split()[1:])}") for line in lines)
    for definition in metrics.DEFINITIONS:
        assert any(re.search(definition["Regex"], line) for line in lines), definition["Name"]


def test_long_work_says_how_far_it_has_come(make_run, weights, monkeypatch, capsys):
    clock = SimpleNamespace(monotonic=itertools.count(0, 11).__next__)  # 11 s between two looks at it
    monkeypatch.setattr(progress, "time", clock)
    make_run(epochs=1, export=True)()
    head_run(make_run, weights, epochs=1, out="head", debug_interval=0)()
    said = {line.partition(": ")[0] for line in capsys.readouterr().out.splitlines() if " s left" in line}
    assert said == {
        "checking pictures", "computing features", "epoch 1", "evaluating", "heat maps", "choosing probe pictures",
        "trying the float32 graph", "calibrating the int8 graph", "measuring the float32 graph",
        "measuring the int8 graph",
    }  # fmt: skip


@pytest.mark.parametrize("augment", ["none", "basic"])
def test_frozen_means_frozen(make_run, weights, tmp_path, augment):
    head_run(make_run, weights, augment=augment)()
    trained = artifact.load(tmp_path / "out" / "model").network.state_dict()
    head = network.head_name(network.build("resnet18", 3))
    for name, before in torch.load(weights).items():
        if not name.startswith(head):
            assert torch.equal(trained[name], before), f"{name} changed (weights or batch-norm statistics)"
    assert not torch.equal(trained[f"{head}.weight"], network.build("resnet18", 3).state_dict()[f"{head}.weight"])


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_last_blocks_learn_and_no_others(make_run, weights, tmp_path, blocks):
    head_run(make_run, weights, train_layers="last-block", blocks=blocks, epochs=2)()
    trained = artifact.load(tmp_path / "out" / "model").network.state_dict()
    before = torch.load(weights)
    changed = {name for name in before if "fc" not in name and not torch.equal(trained[name], before[name])}
    learning = ("layer3.1", "layer4.0", "layer4.1")[-blocks:]
    # Everything in them, batch normalisation's statistics too.
    assert changed == {name for name in before if name.startswith(learning)}


# Without mixup, which mixes features here and pictures there.
@pytest.mark.parametrize("layers", [{}, {"train_layers": "last-block", "blocks": 2, "epochs": 3, "optimizer": "sgd"}])
def test_features_computed_once_give_the_same_model_as_running_the_backbone(
    make_run, weights, tmp_path, monkeypatch, layers
):
    head_run(make_run, weights, out="cached", **layers)()
    monkeypatch.setattr("byoc_vision.contract.hyperparameters.on_features", lambda settings: False)
    head_run(make_run, weights, out="direct", **layers)()
    cached, direct = (artifact.load(tmp_path / out / "model") for out in ("cached", "direct"))
    for name, tensor in direct.network.state_dict().items():
        assert torch.allclose(cached.network.state_dict()[name], tensor, atol=1e-5), name
    assert cached.metrics["validation_accuracy"] == direct.metrics["validation_accuracy"]


def test_the_head_learns_the_colours(make_run, weights, tmp_path):
    head_run(make_run, weights)()
    assert artifact.load(tmp_path / "out" / "model").metrics["test_accuracy"] == 1.0


def test_squeezenets_inner_head_is_trained_without_features(make_run, tmp_path):
    make_run(arch="squeezenet1_1", epochs=1, image_size=64)()
    file = tmp_path / "squeezenet1_1.pth"
    torch.save(artifact.load(tmp_path / "out" / "model").network.state_dict(), file)
    head_run(make_run, file, arch="squeezenet1_1", epochs=1, image_size=64)()


def test_figures_do_not_depend_on_the_batch_size(make_run, weights, tmp_path):
    figures = []
    for size in (1, 2, 100):
        head_run(make_run, weights, out=f"by{size}", test_batch_size=size)()
        figures.append(artifact.load(tmp_path / f"by{size}" / "model").metrics)
    for other in figures[1:]:
        assert other == pytest.approx(figures[0], abs=1e-4)


def test_patience_ends_training_and_the_best_epoch_is_kept(make_run, weights, tmp_path):
    # A learning rate this size jumps about: some epoch is the best, and it is not the last.
    head_run(make_run, weights, epochs=200, patience=3, lr=3.0, schedule="constant")()
    left = json.loads((tmp_path / "out" / "output" / "metrics.json").read_text())
    assert left["epochs"] == left["best_epoch"] + 3
    losses = [row["validation_loss"] for row in left["history"]]
    assert min(losses) == losses[left["best_epoch"] - 1]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(make_run, tmp_path):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_run(out=out, seed=seed, augment="trivial")()
    a, b, c = ((tmp_path / out / "model" / "model.safetensors").read_bytes() for out in "abc")
    assert a == b
    assert a != c


def test_a_batch_size_beyond_the_data(make_run):
    make_run(batch_size=5000, epochs=1)()


def test_normalization_measured_on_the_data(make_run, tmp_path):
    make_run(normalization="data", epochs=1)()
    preprocessing = artifact.load(tmp_path / "out" / "model").preprocessing
    # A third of the pictures each is (220, 30, 20), (30, 200, 60), (20, 40, 220), with noise.
    assert preprocessing.mean == pytest.approx((0.353, 0.353, 0.392), abs=0.01)
    assert preprocessing.std == pytest.approx((0.36, 0.305, 0.34), abs=0.02)


def test_bfloat16(make_run, tmp_path):
    make_run(precision="bfloat16", epochs=1)()
    assert artifact.load(tmp_path / "out" / "model").network.state_dict()["classifier.3.weight"].dtype == torch.float32


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_every_optimizer(make_run, optimizer):
    make_run(optimizer=optimizer, epochs=1)()


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_to_do(make_run, tmp_path):
    with pytest.raises(DivergedError, match=r"loss became (nan|inf).* in epoch \d+; set lr below"):
        make_run(lr=100.0, optimizer="sgd", schedule="constant", epochs=50)()
    assert not (tmp_path / "out" / "model").exists()


def test_a_disk_full_at_the_artifact_loses_no_training(make_run, tmp_path, monkeypatch):
    def full(tensors, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(ArtifactError, match=r"No space left on device.*more disk"):
            make_run()()
    assert (tmp_path / "out" / "checkpoints" / "checkpoint.pt").exists()
    lines = []
    make_run(report=lines.append)()
    assert not any(line.startswith("epoch=") for line in lines), "the second run trained again"
    artifact.load(tmp_path / "out" / "model")


@pytest.mark.parametrize("name", ["seen", "predictions.csv", "metrics.json"])
def test_a_disk_full_at_the_results_is_one_sentence_and_loses_no_training(make_run, tmp_path, monkeypatch, name):
    replace_file = Path.replace

    def full(partial, path):
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace_file(partial, path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(ArtifactError, match=f"{name} could not be written .*No space left on device.*more disk"):
            make_run(epochs=1)()
    lines = []
    make_run(epochs=1, report=lines.append)()
    assert name == "seen" or not any(line.startswith("epoch=") for line in lines), "the second run trained again"
    artifact.load(tmp_path / "out" / "model")


def test_names_of_any_bytes_come_through_to_model_and_figures(make_run, tmp_path):
    run = make_run(epochs=1)
    red = tmp_path / "pictures" / "red"
    for picture in list(red.iterdir()):
        picture.rename(red / os.fsdecode(b"\xe9\n" + os.fsencode(picture.name)))
    red.rename(tmp_path / "pictures" / os.fsdecode(b"\xff" * 255))
    (tmp_path / "pictures" / "blue" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"broken")
    lines = []
    replace(run, report=lines.append, settings=replace(run.settings, max_unreadable=0.5))()
    "\n".join(lines).encode()
    label = "\\xff" * 255
    assert artifact.load(tmp_path / "out" / "model").labels == ("blue", "green", label)
    rows = list(csv.DictReader((tmp_path / "out" / "output" / "predictions.csv").open(encoding="utf-8")))
    assert {row["label"] for row in rows} == {"blue", "green", label}
    assert any(row["file"].startswith(f"{label}/\\xe9\\x0ared") for row in rows)
    left = json.loads((tmp_path / "out" / "output" / "metrics.json").read_text(encoding="utf-8"))
    assert list(left["unreadable"]) == ["blue/caf\\xe9.jpg"]


def test_copies_are_said_in_the_log_and_left_for_the_report(make_run, tmp_path):
    run = make_run(epochs=1)
    copy = (tmp_path / "pictures" / "red" / "red0.png").read_bytes()
    (tmp_path / "pictures" / "blue" / "red.png").write_bytes(copy)
    lines = []
    replace(run, report=lines.append)()
    (said,) = [line for line in lines if line.startswith("copies")]
    assert "1 with different labels" in said
    left = json.loads((tmp_path / "out" / "output" / "metrics.json").read_text())["copies"]
    assert left["label_conflicts"] == 1 and {each["label"] for each in left["groups"][0]} == {"red", "blue"}


@pytest.mark.parametrize(
    ("layers", "native", "expected"),
    [("all", True, torch.bfloat16), ("all", False, torch.float32), ("head", True, torch.float32)],
)
def test_the_number_format_is_the_machines_where_all_layers_are_trained(monkeypatch, layers, native, expected):
    monkeypatch.setattr(evaluation, "_has_bfloat16", lambda: native)
    assert evaluation.precision(Settings(train_layers=layers)) is expected
    assert evaluation.precision(Settings(train_layers=layers, precision="float32")) is torch.float32


def test_a_head_loads_no_compiler(make_run, weights, tmp_path):
    """torch's would take a second of every trial."""
    make_run()  # draws the pictures
    options = [
        f"--data={tmp_path / 'pictures'}", f"--weights={weights}", f"--out={tmp_path / 'out'}", "--arch=resnet18",
        "--image-size=32", "--epochs=2", "--workers=0", "--export=false", "--report=false",
        "--augment=basic", "--views=2",
    ]  # fmt: skip
    program = "import sys; from train import __main__; sys.exit(__main__.main() or 'torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_table_of_all_probabilities_that_would_be_too_large_is_left_out(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "PROBABILITIES", 1)
    lines = []
    make_run(report=lines.append, epochs=1)()
    assert "probabilities.npy is left out, for it would hold 3 test pictures × 3 classes" in lines
    assert (tmp_path / "out" / "output" / "predictions.csv").exists()
    assert not (tmp_path / "out" / "output" / "probabilities.npy").exists()
