"""Features are computed once for a picture, and never reused for another, nor for another network."""

import functools
import hashlib
import itertools
import os
import shutil
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from bench.gpu.runs import StopAfter
from byoc_vision.contract import hyperparameters
from classifier import artifact, network, pictures
from tests.unit.train import processes
from train import features, forms, run
from train.augmentation import Augmentation
from train.backbone import Backbone
from train.features import Extraction, FeaturesError, View
from train.forms import Form, Trial
from train.pixels import Pixels
from train.stopping import Stopped
from train.store import Store

WIDTH = 3


def name(number):
    return hashlib.sha256(str(number).encode()).digest()


def rows(*numbers):
    return np.array([[number] * WIDTH for number in numbers], np.float32)


def head_run(make_run, weights, **settings):
    return make_run(
        weights=weights,
        **{"pretrained": True, "train_layers": "head", "arch": "resnet18", "lr": 0.01, "debug_interval": 0, **settings},
    )


@pytest.fixture
def computed(monkeypatch):
    """Return a list that gets the number of pictures in each batch that went through the backbone in this process."""
    counted = []
    real = Backbone.features

    def features(self, pixels, *precision):
        counted.append(int((pixels.flatten(1).amax(dim=1) > 0).sum()))
        return real(self, pixels, *precision)

    monkeypatch.setattr(Backbone, "features", features)
    return counted


@pytest.fixture
def rounded(monkeypatch):
    """Have a form that rounds, fast, on any processor; return the number of pictures that each form computes."""
    counted, real = Counter(), forms.runner

    def runner(backbone, form, graphs):
        run = real(backbone, Form("torch", "float32"), graphs)

        def compute(pixels):
            counted[form.precision] += int((pixels.reshape(len(pixels), -1).max(axis=1) > 0).sum())
            found = run(pixels)
            return torch.from_numpy(found).bfloat16().float().numpy() if form.precision == "bfloat16" else found

        return compute

    def attempt(backbone, possible, *_):
        return {form: Trial(0, 3.0 if form.precision == "bfloat16" else 1.0) for form in possible}

    monkeypatch.setattr(forms, "runner", runner)
    monkeypatch.setattr(forms, "attempt", attempt)
    monkeypatch.setattr(features, "FEW", 1)
    return counted


def tensors(tmp_path, out):
    return (tmp_path / out / "model" / "model.safetensors").read_bytes()


def test_a_store_gives_back_what_was_added(tmp_path):
    store = Store(tmp_path / "store", (WIDTH,))
    store.add([name(1), name(2)], rows(1, 2))
    store.add([name(2), name(3)], rows(9, 3))
    again = Store(tmp_path / "store", (WIDTH,))
    assert list(again.rows) == [name(1), name(2), name(3)]
    found, chosen = again.of([name(3), name(1), name(3)], torch.device("cpu"))
    assert torch.equal(found[chosen], torch.from_numpy(rows(3, 1, 3)))


@pytest.mark.parametrize(("file", "size"), [("features", 4 * WIDTH), ("digests", 32)])
@pytest.mark.parametrize("left", [0, 1, 31])
def test_rows_that_were_half_written_do_not_count(tmp_path, file, size, left):
    store = Store(tmp_path / "store", (WIDTH,))
    store.add([name(1), name(2)], rows(1, 2))
    store.add([name(3)], rows(3))
    os.truncate(tmp_path / "store" / file, 2 * size + min(left, size - 1))
    again = Store(tmp_path / "store", (WIDTH,))
    assert list(again.rows) == [name(1), name(2)]
    again.add([name(4)], rows(4))
    found = Store(tmp_path / "store", (WIDTH,))
    assert list(found.rows) == [name(1), name(2), name(4)]
    assert torch.equal(found.tensor(), torch.from_numpy(rows(1, 2, 4)))


def test_a_disk_without_room_says_so_before_anything_is_computed(make_run, weights, monkeypatch, computed):
    monkeypatch.setattr("train.store.shutil.disk_usage", lambda path: SimpleNamespace(free=24 * 512 * 4 - 1))
    with pytest.raises(FeaturesError, match=r"take 0\.0 GB.* more disk.* or set blocks or views to fewer"):
        head_run(make_run, weights)()
    assert not computed


def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FeaturesError, match=r"No space left on device.*more disk"):
        Store(tmp_path / "store", (WIDTH,)).add([name(1)], rows(1))


@pytest.mark.parametrize("workers", [0, 2])
def test_kept_features_give_the_very_same_model(make_run, weights, tmp_path, computed, workers):
    head_run(make_run, weights, out="first", workers=workers)()
    kept = tmp_path / "first" / "checkpoints" / "features"
    computed.clear()
    replace(head_run(make_run, weights, out="second"), features=kept)()
    assert not computed
    assert not (tmp_path / "second" / "checkpoints" / "features").exists()
    head_run(make_run, weights, out="fresh")()
    assert sum(computed) == 24
    assert tensors(tmp_path, "first") == tensors(tmp_path, "second") == tensors(tmp_path, "fresh")


def test_another_head_seed_and_split_reuse_all(make_run, weights, computed):
    head_run(make_run, weights)()
    computed.clear()
    head_run(make_run, weights, lr=0.1, batch_size=7, test_batch_size=5, seed=3, validation_share=0.3)()
    assert not computed


@pytest.mark.parametrize(
    "change", [{"image_size": 48}, {"precision": "bfloat16"}, {"arch": "resnet34"}, {"normalization": "data"}]
)
def test_what_changes_the_features_reuses_none(make_run, weights, tmp_path, computed, change):
    head_run(make_run, weights)()
    computed.clear()
    if "arch" in change:
        weights = tmp_path / "resnet34.pth"
        torch.save(network.build("resnet34", 10).state_dict(), weights)
    head_run(make_run, weights, **change)()
    assert sum(computed) == 24


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({}, {"bfloat16": 18, "float32": 6}),  # those that are judged, for validation and test
        ({"augment": "basic", "views": 1}, {"bfloat16": 36, "float32": 6}),
        ({"train_layers": "last-block"}, {"float32": 24}),
        ({"precision": "float32"}, {"float32": 24}),
        ({"precision": "bfloat16"}, {"bfloat16": 24}),
    ],
)
def test_only_what_a_head_learns_from_is_rounded(make_run, weights, rounded, settings, counts):
    head_run(make_run, weights, **{"precision": None, **settings})()
    assert rounded == counts
    rounded.clear()
    head_run(make_run, weights, **{"precision": None, "lr": 0.1, **settings})()
    assert not rounded


@pytest.mark.parametrize("interrupted", [24, 26, 40])
def test_a_head_on_rounded_features_resumes_to_the_same_bits(make_run, weights, tmp_path, rounded, interrupted):
    head_run(make_run, weights, out="whole", precision=None)()
    with pytest.raises(Stopped):
        head_run(make_run, weights, precision=None, stop=StopAfter(interrupted))()
    head_run(make_run, weights, precision=None)()
    assert tensors(tmp_path, "out") == tensors(tmp_path, "whole")


def test_views_are_computed_once_and_only_the_missing_ones(make_run, weights, tmp_path, computed):
    head_run(make_run, weights, augment="basic", views=2)()
    pictures, training = 24, 18
    assert sum(computed) == pictures + 2 * training
    for change, missing in (({"seed": 0, "lr": 0.1}, 0), ({"views": 3}, training), ({"flip": "none"}, 2 * training)):
        computed.clear()
        head_run(make_run, weights, **{"augment": "basic", "views": 2, **change})()
        assert sum(computed) == missing
    computed.clear()
    head_run(make_run, weights)()
    assert not computed


def test_views_change_what_is_learnt(make_run, weights, tmp_path):
    for out, settings in (("plain", {}), ("views", {"augment": "basic", "views": 2})):
        head_run(make_run, weights, out=out, **settings)()
    assert tensors(tmp_path, "plain") != tensors(tmp_path, "views")


@pytest.mark.parametrize("interrupted", [24, 27, 40, 45])
def test_interrupted_training_on_views_ends_with_the_same_bits(make_run, weights, tmp_path, interrupted):
    settings = {
        "train_layers": "last-block", "augment": "basic", "views": 1, "mixup": 0.2, "sampling": "balanced",
        "arch": "resnet18", "lr": 0.001,
    }  # fmt: skip
    head_run(make_run, weights, out="whole", **settings)()
    with pytest.raises(Stopped):
        replace(head_run(make_run, weights, **settings), stop=StopAfter(interrupted))()
    head_run(make_run, weights, **settings)()
    assert tensors(tmp_path, "out") == tensors(tmp_path, "whole")


def test_one_changed_weight_reuses_none(make_run, weights, tmp_path, computed):
    head_run(make_run, weights)()
    computed.clear()
    state = torch.load(weights)
    state["layer1.0.conv1.weight"][0, 0, 0, 0] += 0.001
    torch.save(state, tmp_path / weights.name)
    head_run(make_run, tmp_path / weights.name)()
    assert sum(computed) == 24


def test_only_changed_and_added_pictures_are_computed(make_run, weights, tmp_path, computed):
    head_run(make_run, weights)()
    computed.clear()
    folder = tmp_path / "pictures" / "red"
    picture = Image.open(folder / "red0.png")
    picture.putpixel((20, 20), (0, 0, 0))
    picture.save(folder / "red0.png")  # under its old name
    shutil.copy(folder / "red1.png", folder / "another.png")
    Image.new("RGB", (50, 40), (200, 20, 20)).save(folder / "new.png")
    head_run(make_run, weights)()
    assert sum(computed) == 2


def test_given_features_are_completed_elsewhere(make_run, weights, tmp_path, computed):
    head_run(make_run, weights, out="first")()
    given = tmp_path / "first" / "checkpoints" / "features"
    before = {file: file.read_bytes() for file in given.rglob("*") if file.is_file()}
    Image.new("RGB", (50, 40), (200, 20, 20)).save(tmp_path / "pictures" / "red" / "new.png")
    computed.clear()
    replace(head_run(make_run, weights, out="second"), features=given)()
    assert sum(computed) == 1
    assert before == {file: file.read_bytes() for file in given.rglob("*") if file.is_file()}


def test_an_interrupted_extraction_goes_on(make_run, weights, tmp_path, computed):
    with pytest.raises(Stopped):
        head_run(make_run, weights, stop=StopAfter(24))()  # one look at each picture; then the extraction begins
    done = sum(computed)
    assert 0 < done < 24
    head_run(make_run, weights)()
    assert sum(computed) == 24
    head_run(make_run, weights, out="whole")()
    assert tensors(tmp_path, "out") == tensors(tmp_path, "whole")


def die_at_write(number):
    """Have the machine die before that write is safe."""
    writes, real = itertools.count(1), os.fsync

    def fsync(handle):
        if next(writes) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)

    os.fsync = fsync


@pytest.fixture(scope="module")
def references():
    """Return the features of whole runs by what made them: the pictures of all tests are the same."""
    return {}


@pytest.mark.parametrize("die_at", [1, 2, 3])
def test_killed_while_writing_features(make_run, weights, tmp_path, references, die_at):
    values = {
        "data": tmp_path / "pictures", "weights": weights, "arch": "resnet18", "image-size": 32, "epochs": 2,
        "export": "false",
    }  # fmt: skip
    options, log = [f"--{name}={value}" for name, value in values.items()], tmp_path / "log"

    def train(out, prepare=bool):
        return processes.train([f"--out={tmp_path / out}", *options], log, prepare)

    assert train("out", functools.partial(die_at_write, die_at)) == -signal.SIGKILL, log.read_text()
    assert train("out") == 0, log.read_text()
    if "command" not in references:
        assert train("whole") == 0, log.read_text()
        references["command"] = tensors(tmp_path, "whole")
    assert tensors(tmp_path, "out") == references["command"]


def test_two_jobs_that_share_a_folder_at_once(weights, tmp_path, make_run):
    """Whole jobs, each a process: both have the model of one that had the folder to itself."""
    values = {
        "data": tmp_path / "pictures", "weights": weights, "arch": "resnet18", "image-size": 32, "epochs": 2,
        "export": "false", "workers": 0,
    }  # fmt: skip
    options = [f"--{name}={value}" for name, value in values.items()]
    shared = tmp_path / "shared"
    shared.mkdir()
    for out in ("one", "two"):
        (tmp_path / out / "checkpoints").mkdir(parents=True)
        (tmp_path / out / "checkpoints" / "features").symlink_to(shared)

    def job(out):
        return processes.train([f"--out={tmp_path / out}", *options], tmp_path / f"{out}.log")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(job, ("one", "two"))) == [0, 0], (tmp_path / "one.log").read_text()
    (store,) = [folder for folder in shared.iterdir() if folder.is_dir()]
    assert (store / "digests").stat().st_size == 24 * 32
    assert job("alone") == 0
    assert tensors(tmp_path, "one") == tensors(tmp_path, "two") == tensors(tmp_path, "alone")


def test_kept_features_spare_decoding(make_run, weights, monkeypatch):
    head_run(make_run, weights)()

    def decode(*_, **__):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr("classifier.pictures.decode", decode)
    head_run(make_run, weights, lr=0.1)()


@pytest.mark.parametrize("settings", [{}, {"train_layers": "all", "pretrained": False}])
def test_a_picture_is_decoded_for_its_look_and_once_more(make_run, weights, tmp_path, monkeypatch, settings):
    decoded, real = [], pictures.decode

    def decode(*given):
        decoded.append(given)
        return real(*given)

    settings = {"export": True, "precision": None, **settings}
    monkeypatch.setattr(pictures, "decode", decode)
    head_run(make_run, weights, **settings)()
    assert len(decoded) == 2 * 24
    monkeypatch.setattr(run.Pixels, "of", lambda preprocessing, *_: Pixels(preprocessing, 5))
    head_run(make_run, weights, out="other", **settings)()
    assert len(decoded) > 4 * 24
    assert tensors(tmp_path, "out") == tensors(tmp_path, "other")


def test_extract_only_leaves_features_and_nothing_else(make_run, weights, tmp_path, computed):
    head_run(make_run, weights, out="extraction", extract_only=True)()
    assert not (tmp_path / "extraction" / "model").exists()
    assert not (tmp_path / "extraction" / "output").exists()
    computed.clear()
    replace(head_run(make_run, weights), features=tmp_path / "extraction" / "checkpoints" / "features")()
    assert not computed
    artifact.load(tmp_path / "out" / "model")


@pytest.mark.parametrize("other", [{"train-layers": "all"}, {"augment": "basic"}, {"arch": "squeezenet1_0"}])
def test_extract_only_where_there_is_nothing_to_extract(other):
    with pytest.raises(hyperparameters.SettingsError, match="extract-only is for features"):
        hyperparameters.parse({"extract-only": True, **other})


def test_a_picture_that_changes_meanwhile_is_told(make_run, weights, tmp_path):
    net, _ = network.split(network.build("resnet18", 3), "fc")
    run = head_run(make_run, weights)
    backbone = Backbone(net, "resnet18", network.preset("resnet18").resized(32), torch.device("cpu"))
    plain, form = Augmentation(backbone.preprocessing), Form("torch", "float32")
    extraction = Extraction(backbone, plain, [form], tmp_path / "kept", None, tmp_path, 4, 0, run.group, run.stop)
    with pytest.raises(FeaturesError, match=r"red0\.png was changed while it was read"):
        extraction({name(0): View(tmp_path / "pictures" / "red" / "red0.png")})
