"""The form that features are computed in: what is faster and exact enough, whatever the others do to their process."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
import torch
from PIL import Image

from bench.gpu.runs import StopAfter
from classifier import network
from classifier.preprocessing import Preprocessing
from train import features, forms, graphs
from train.augmentation import Augmentation
from train.backbone import Backbone
from train.distributed import ALONE
from train.features import Extraction, View
from train.forms import Form, Trial
from train.stopping import Stopped, StopSignal
from train.store import FeaturesError, Store

CPU = torch.device("cpu")
TORCH, OPENVINO, ROUNDED = Form("torch", "float32"), Form("openvino", "float32"), Form("openvino", "bfloat16")
SIDE, COUNT = 32, 40


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(1)
    net = network.build("resnet18", 3).requires_grad_(False).to(memory_format=torch.channels_last)
    preprocessing = Preprocessing(SIDE, SIDE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Backbone(network.split(net, "fc")[0], "resnet18", preprocessing, CPU)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (forms.SAMPLE, 3, SIDE, SIDE), np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the files of noise by digest."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = {}
    for i in range(COUNT):
        file = folder / f"{i}.png"
        Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(file)
        found[hashlib.sha256(file.read_bytes()).digest()] = View(file)
    return found


@pytest.fixture
def extraction(backbone, tmp_path, monkeypatch):
    """Return a function that makes an extraction, and the list of what it says."""
    monkeypatch.setattr(features, "FEW", 4)
    said = []

    def make(possible=(OPENVINO, TORCH), folder="kept", stop=None, workers=0):
        stop = stop or StopSignal()
        plain, kept = Augmentation(backbone.preprocessing), tmp_path / folder
        return Extraction(backbone, plain, possible, kept, None, tmp_path, 8, workers, ALONE, stop, said.append)

    return make, said


@pytest.fixture
def spoilt(monkeypatch):
    """Return a function that replaces what a form computes."""
    real, others = forms.runner, {}

    def runner(backbone, form, graphs):
        run = real(backbone, TORCH if form in others else form, graphs)
        return (lambda pixels: others[form](run(pixels))) if form in others else run

    monkeypatch.setattr(forms, "runner", runner)
    return others.__setitem__


def rows(store, files):
    found, chosen = store.of(list(files), CPU)
    return found[chosen].numpy()


def die(number):
    def run(found):
        os.kill(os.getpid(), number)

    return run


@pytest.fixture(scope="module")
def exact(backbone, files, tmp_path_factory):
    """Return the features in torch's float32."""
    folder = tmp_path_factory.mktemp("exact")
    plain = Augmentation(backbone.preprocessing)
    return rows(Extraction(backbone, plain, [TORCH], folder, None, folder, 8, 0, ALONE, StopSignal())(files), files)


def test_no_graph_pins_its_process_to_the_first_cores(backbone, tmp_path, monkeypatch):
    models, compile_model = [], ov.Core.compile_model

    def keeping(*arguments):
        models.append(compile_model(*arguments))
        return models[-1]

    monkeypatch.setattr(ov.Core, "compile_model", keeping)
    forms.runner(backbone, OPENVINO, tmp_path)
    graphs.compiled(ov.Core().read_model(tmp_path / forms.GRAPH))
    assert [model.get_property("ENABLE_CPU_PINNING") for model in models] == [False, False]


def test_float32_of_openvino_is_as_exact(backbone, pixels, tmp_path):
    said = []
    trials = forms.attempt(backbone, [OPENVINO, TORCH], pixels, tmp_path, said.append)
    assert list(trials) == [OPENVINO, TORCH] and not said
    assert trials[OPENVINO].difference < forms.EXACT
    assert trials[TORCH] == Trial(0, 1)


def test_a_picture_has_the_same_features_at_every_place(backbone, pixels, tmp_path):
    run = forms.runner(backbone, OPENVINO, tmp_path)
    assert np.array_equal(run(pixels)[::-1], run(np.ascontiguousarray(pixels[::-1])))


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ((3.0, 2.0, 1.0), ROUNDED),
        ((2.4, 2.0, 1.0), OPENVINO),  # not worth it
        ((1.2, 0.9, 1.0), TORCH),
        ((0.5, 0.8, 1.0), TORCH),
        ((3.0, 0.8, 1.0), ROUNDED),
    ],
)
def test_the_fastest_form_is_taken_and_rounding_must_be_worth_it(speeds, chosen):
    trials = {form: Trial(0, speed) for form, speed in zip((ROUNDED, OPENVINO, TORCH), speeds, strict=True)}
    assert forms.fastest(trials) == chosen


@pytest.mark.parametrize(
    ("precision", "possible"),
    [
        (None, [ROUNDED, OPENVINO, TORCH]),
        ("float32", [OPENVINO, TORCH]),
        ("bfloat16", [ROUNDED, Form("torch", "bfloat16")]),
    ],
)
def test_a_precision_that_is_named_is_kept_to(precision, possible):
    assert forms.candidates(CPU, precision) == possible


@pytest.mark.parametrize(("has_bfloat16", "rounded"), [(True, "bfloat16"), (False, "float16")])
def test_gpus_have_half_precision(monkeypatch, has_bfloat16, rounded):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert forms.candidates(torch.device("cuda"), None) == [Form("torch", rounded), TORCH]


@pytest.mark.parametrize("number", [signal.SIGILL, signal.SIGSEGV])
def test_a_form_that_ends_its_process_is_not_used(extraction, spoilt, files, exact, number):
    make, said = extraction
    spoilt(OPENVINO, die(number))
    assert np.array_equal(rows(make()(files), files), exact)
    assert said[0] == f"features: openvino float32 is not used: it ended its process ({number.name})"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda found: found * np.nan, "differ from torch's in float32 by nan"),
        (lambda found: found + 0.01 * np.abs(found).max(), "more than 0.001"),
        (lambda found: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_form_that_is_wrong_is_not_used(extraction, spoilt, files, exact, spoil, reason):
    make, said = extraction
    spoilt(OPENVINO, spoil)
    assert np.array_equal(rows(make()(files), files), exact)
    assert "openvino float32 is not used" in said[0] and reason in said[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_form_that_fails_later_is_left(extraction, spoilt, files, exact, tmp_path, workers, monkeypatch):
    make, said = extraction
    monkeypatch.setattr(forms, "attempt", lambda *_: {OPENVINO: Trial(0, 2), TORCH: Trial(0, 1)})
    flag = tmp_path / "once"

    def later(found):
        if flag.exists() or len(found) < 8:
            return found * np.nan
        flag.touch()
        return found

    spoilt(OPENVINO, later)
    store = make(workers=workers)(files)
    assert np.array_equal(rows(store, files), exact)  # none of the other form among them
    assert said[-1] == "features: openvino float32 is not used any more: it gives features that are no numbers"


def test_a_process_that_dies_later_is_not_the_end(extraction, spoilt, files, exact, monkeypatch):
    make, said = extraction
    monkeypatch.setattr(forms, "attempt", lambda *_: {OPENVINO: Trial(0, 2), TORCH: Trial(0, 1)})
    spoilt(OPENVINO, die(signal.SIGILL))
    assert np.array_equal(rows(make(workers=1)(files), files), exact)
    assert "openvino float32 is not used any more: DataLoader worker" in said[-1]


def test_an_interrupted_extraction_goes_on_in_its_form(extraction, files, monkeypatch):
    make, said = extraction
    # The speed is what is measured at the start of each run; the second finds the other form faster.
    speeds = {OPENVINO: 2.0, TORCH: 1.0}
    real = forms.attempt

    def attempt(backbone, possible, *rest):
        return {form: replace(trial, speed=speeds[form]) for form, trial in real(backbone, possible, *rest).items()}

    monkeypatch.setattr(forms, "attempt", attempt)
    whole = rows(make(folder="whole")(files), files)
    with pytest.raises(Stopped):
        make(stop=StopAfter(2))(files)
    speeds[OPENVINO] = 0.1  # another machine, or a busy one
    assert np.array_equal(rows(make()(files), files), whole)
    assert said[-1].startswith("features: openvino float32, 0.1 times")


def test_a_form_that_does_not_work_on_another_processor_is_not_gone_on_with(extraction, spoilt, files, exact):
    make, said = extraction
    with pytest.raises(Stopped):
        make(stop=StopAfter(2))(files)
    spoilt(OPENVINO, die(signal.SIGILL))
    assert np.array_equal(rows(make()(files), files), exact)
    assert "openvino float32 is not used: it ended its process" in said[1]


def test_forms_do_not_share_features(extraction, files, exact):
    make, _ = extraction
    first = make(possible=(TORCH,))
    assert np.array_equal(rows(first(files), files), exact)
    assert first._store(first.folder, TORCH).rows and not first._store(first.folder, OPENVINO).rows


def test_each_form_is_tried_once(extraction, files, monkeypatch):
    make, _ = extraction
    tried, real = [], forms.attempt

    def attempt(backbone, possible, *rest):
        tried.append(list(possible))
        return real(backbone, possible, *rest)

    monkeypatch.setattr(forms, "attempt", attempt)
    first = make()
    some = dict(list(files.items())[:20])
    first(some)
    replace(first, folder=first.folder / "other")(files)
    assert tried == [[OPENVINO, TORCH]]


def test_few_pictures_need_no_trial(extraction, files, exact, monkeypatch):
    make, said = extraction
    monkeypatch.setattr(features, "FEW", COUNT + 1)
    assert np.array_equal(rows(make()(files), files), exact)
    assert not said


def test_clock_speeds_that_change_while_forms_are_timed(backbone, pixels, tmp_path, monkeypatch):
    """A processor that becomes slower with every call makes no form look slower than another."""
    clock = [0.0, 1.0]

    def run(cost):
        def call(_):
            clock[0] += cost * clock[1]
            clock[1] *= 1.3
            return exact

        return call

    exact = backbone.features(torch.from_numpy(pixels))
    monkeypatch.setattr(forms, "runner", lambda _, form, graphs: run(1.0 if form == OPENVINO else 2.0))
    monkeypatch.setattr(forms.time, "process_time", lambda: clock[0])
    trials, _ = forms._compared(backbone, [OPENVINO, TORCH], pixels, tmp_path)
    assert forms.fastest(trials) == OPENVINO


@pytest.mark.parametrize("instructions", ["AVX2", "SSE41"])
def test_a_processor_without_bfloat16(backbone, tmp_path, instructions):
    """Without AVX-512, and without AVX2, too.

    OpenVINO would compute in float32 instead, and the features would be kept as what they are not.
    """
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions, "ATEN_CPU_CAPABILITY": "default"}
    program = """
import json, sys, torch
from pathlib import Path
from tests.unit.train.test_forms import *
torch.manual_seed(1)
net = network.build("resnet18", 3).requires_grad_(False)
backbone = Backbone(network.split(net, "fc")[0], "resnet18", Preprocessing(32, 32, (0.4,) * 3, (0.2,) * 3), CPU)
pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), np.uint8)
trials = forms.attempt(backbone, [ROUNDED, OPENVINO, TORCH], pixels, Path(sys.argv[1]), print)
print(json.dumps([str(form) for form in trials if trials[form].difference < forms.ROUNDED]))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    *said, tried = done.stdout.splitlines()
    assert set(json.loads(tried)) >= {str(OPENVINO), str(TORCH)}
    assert all("is not used" in line for line in said)


def test_two_jobs_share_a_folder(tmp_path):
    """Each has looked before the other wrote."""
    names = [hashlib.sha256(bytes([i])).digest() for i in range(60)]
    values = {name: np.full((1, 3), i, np.float32) for i, name in enumerate(names)}
    stores = Store(tmp_path / "store", (3,)), Store(tmp_path / "store", (3,))

    def fill(job):
        for begin in range(0, 60, 5):
            some = (names if job else names[::-1])[begin : begin + 5]
            stores[job].add(some, np.concatenate([values[name] for name in some]))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fill, range(2)))
    for store in (*stores, Store(tmp_path / "store", (3,))):
        found, chosen = store.of(names, CPU)
        assert np.array_equal(found[chosen].numpy(), np.concatenate(list(values.values())))
    assert (tmp_path / "store" / "features").stat().st_size == 60 * 3 * 4


def test_a_disk_that_is_full_loses_nothing(extraction, files, exact, monkeypatch):
    make, _ = extraction
    monkeypatch.setattr("train.store.STORED_AT_ONCE", 8)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12 * 512 * 4 + 100, unlimited[1]))
    try:
        with pytest.raises(FeaturesError, match="more disk"):
            make(possible=(TORCH,))(files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert np.array_equal(rows(make(possible=(TORCH,))(files), files), exact)
