"""Several replicas end where one does: real processes, real gloo."""

import json
import socket
from dataclasses import replace

import pytest
import torch

from byoc_vision.contract.errors import DataError
from byoc_vision.contract.hyperparameters import SettingsError
from classifier import artifact
from tests.unit.train.processes import WARM
from train import distributed
from train.distributed import ALONE, Group, join
from train.features import Store


def replica(port, rank, size, run, failures):
    distributed.PORT = port
    torch.set_num_threads(1)
    group = join("localhost", rank, size, "lo")
    try:
        replace(run, group=group)()
    except Exception as error:
        failures.put((rank, f"{type(error).__name__}: {error}"))
    finally:
        group.leave()


def train_together(runs):
    """Run the replicas `runs` in a process each; return the failures by rank."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    failures = WARM.Queue()
    replicas = [
        WARM.Process(target=replica, args=(port, rank, len(runs), run, failures)) for rank, run in enumerate(runs)
    ]
    for process in replicas:
        process.start()
    for process in replicas:
        process.join(timeout=300)
        assert process.exitcode == 0
    found = {}
    while not failures.empty():
        rank, failure = failures.get()
        found[rank] = failure
    return found


@pytest.mark.parametrize("size", [2, 3])
def test_the_head_ends_with_the_same_weights_and_figures(make_run, weights, tmp_path, size):
    settings = {
        "pretrained": True,
        "train_layers": "head",
        "arch": "resnet18",
        "batch_size": 5,
        "normalization": "data",
    }
    make_run(out="alone", weights=weights, report=print, **settings)()
    assert not train_together([make_run(out="group", weights=weights, report=print, **settings)] * size)
    one, many = (artifact.load(tmp_path / out / "model") for out in ("alone", "group"))
    assert one.preprocessing == many.preprocessing
    for name, tensor in one.network.state_dict().items():
        assert torch.allclose(tensor, many.network.state_dict()[name], atol=1e-5), name
    assert many.metrics == pytest.approx(dict(one.metrics), abs=1e-4)
    alone, group = ((tmp_path / out / "output" / "predictions.csv").read_text() for out in ("alone", "group"))
    assert [row.split(",")[:3] for row in alone.split()] == [row.split(",")[:3] for row in group.split()]


def test_features_that_replicas_have_kept_are_those_of_one(make_run, weights, tmp_path):
    settings = {"pretrained": True, "train_layers": "head", "arch": "resnet18", "debug_interval": 0}
    run = make_run(out="group", weights=weights, report=print, **settings)
    assert not train_together([run, run])
    assert not train_together([run, replace(run, checkpoints=tmp_path / "elsewhere")])
    make_run(out="alone", weights=weights, **settings)()
    store, other, alone = (
        Store(next((tmp_path / folder / "features").glob("*/digests")).parent, (512,))
        for folder in ("group/checkpoints", "elsewhere", "alone/checkpoints")
    )
    assert store.rows.keys() == other.rows.keys() == alone.rows.keys()
    for digest, row in alone.rows.items():
        assert torch.equal(store.tensor()[store.rows[digest]], alone.tensor()[row])
        assert torch.equal(other.tensor()[other.rows[digest]], alone.tensor()[row])


def test_all_layers_learn_together_and_one_artifact_is_written(make_run, tmp_path):
    run = make_run(out="group", report=print, arch="resnet18", epochs=8, workers=1)
    assert not train_together([run, run])
    left = json.loads((tmp_path / "group" / "output" / "metrics.json").read_text())
    losses = [row["train_loss"] for row in left["history"]]
    assert min(losses) < 0.6 * losses[0]
    assert left["pictures"] == {"train": 18, "validation": 3, "test": 3}


def test_hosts_with_different_pictures_are_told_so(make_run, draw_classes):
    run = make_run(report=print)
    other = replace(run, channels={"training": draw_classes("others", count=5)})
    failures = train_together([run, other])
    assert set(failures) == {0, 1}
    assert all(f.startswith(DataError.__name__) and "FullyReplicated" in f for f in failures.values())


def test_a_batch_too_small_for_all_is_told(make_run):
    with pytest.raises(SettingsError, match="2 processes train together, so batch-size and test-batch-size must be at"):
        replace(make_run(batch_size=1), group=Group(0, 2))()


def test_alone_costs_nothing():
    rows = torch.arange(3)
    assert ALONE.gather(rows, rows, 3) is rows
    assert ALONE.sum([1.5]) == [1.5]
    assert ALONE.share("x") == "x"
    module = torch.nn.Linear(1, 1)
    assert ALONE.replicate(module) is module
