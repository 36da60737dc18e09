"""The forms torch computes: alike in their answers, and chosen as the environment asks."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from byoc_vision.contract.errors import UserError
from classifier import artifact
from classifier.preprocessing import Preprocessing
from serve import backend

torch = pytest.importorskip("torch", reason="the lean image has no torch")

from safetensors.torch import save_file  # noqa: E402

from classifier import network  # noqa: E402
from serve import torch_backend  # noqa: E402
from tests.unit.serve.conftest import settled  # noqa: E402

PREPROCESSING = Preprocessing(36, 32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with probes, whose answers are wide apart."""
    monkeypatch.delenv("BYOC_PRECISION", raising=False)
    monkeypatch.setenv("BYOC_FORMS", str(tmp_path / "none-kept"))
    torch.manual_seed(0)
    net = network.build("resnet18", 7).eval()
    inputs = torch.from_numpy(PREPROCESSING.normalize(pictures))
    with torch.no_grad():
        net.fc.bias.sub_(net(inputs).mean(dim=0))
        net.fc.weight.mul_(20)
        net.fc.bias.mul_(20)
        answers = net(inputs).argmax(dim=1).numpy()
    labels = tuple(f"label {index}" for index in range(7))
    classifier = artifact.Classifier(arch="resnet18", labels=labels, preprocessing=PREPROCESSING, network=net)
    artifact.save(classifier, tmp_path)
    artifact.save_probes(artifact.Probes(pictures, answers), tmp_path)
    return tmp_path


def test_every_form_gives_the_networks_answers(folder: Path, pictures: np.ndarray) -> None:
    loaded = torch_backend.load(folder)
    assert list(loaded.forms)[:2] == ["float32", "float32 fused"]
    inputs = PREPROCESSING.normalize(pictures)
    with torch.no_grad():
        expected = artifact.load(folder).network(torch.from_numpy(inputs)).numpy()
    for name, make in loaded.forms.items():
        run = make()
        tolerance = np.abs(expected).max() * (0.05 if "bfloat16" in name else 1e-5)
        for count in (1, 5, 2):
            logits = run(inputs[:count])
            assert (logits.shape, logits.dtype) == ((count, 7), np.float32)
            assert np.abs(logits - expected[:count]).max() < tolerance


def test_a_network_in_another_precision_answers_alike(folder: Path, pictures: np.ndarray) -> None:
    net, inputs = artifact.load(folder).network, PREPROCESSING.normalize(pictures)
    with torch.no_grad():
        expected = net(torch.from_numpy(inputs)).numpy()
    logits = torch_backend._cast(net, torch.device("cpu"), torch.bfloat16)(inputs)
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()
    assert next(net.parameters()).dtype == torch.float32  # the reference is left as it was


def test_a_form_is_chosen_and_reasoned(folder: Path) -> None:
    assert backend.load(folder).form == "float32"
    choice = settled(folder).choice
    assert choice.startswith("chose ")
    assert " ms a picture" in choice


def test_float32_can_be_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOC_PRECISION", "float32")
    model = settled(folder)
    assert model.choice.startswith("chose float32")
    assert model.choice.endswith(", as BYOC_PRECISION=float32 asks")
    assert model.enough_pixels is None


@pytest.mark.parametrize("precision", ["fastest", "float32"])
def test_answers_other_than_those_of_training_are_refused(
    folder: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setenv("BYOC_PRECISION", precision)
    stored = artifact.load_probes(folder, artifact.describe(folder))
    assert stored is not None
    artifact.save_probes(artifact.Probes(pictures, (stored.answers + 1) % 7), folder)
    with pytest.raises(UserError, match="2 of 2 probe pictures another class"):
        backend.load(folder)


def test_a_network_that_fails_on_its_pictures_is_told_in_one_sentence(folder: Path) -> None:
    file = folder / artifact.DESCRIPTION
    description = json.loads(file.read_text())
    description |= {"arch": "alexnet", "preprocessing": description["preprocessing"] | {"crop_size": 16}}
    file.write_text(json.dumps(description))
    (folder / artifact.PROBES).unlink()
    save_file(network.build("alexnet", 7).state_dict(), folder / artifact.TENSORS)
    with pytest.raises(UserError, match="fails on a picture of the size in its description") as raised:
        backend.load(folder).warm_up()
    assert "\n" not in str(raised.value)


def test_a_model_without_probes_gets_the_reference(folder: Path) -> None:
    (folder / artifact.PROBES).unlink()
    assert backend.load(folder).choice == "chose float32: the model has no probe pictures to try other forms on"


def test_a_machine_with_one_form_says_so(folder: Path) -> None:
    loaded = torch_backend.load(folder)
    only = replace(loaded, forms={"float32": loaded.forms["float32"]})
    assert backend.Model(only).choice == "chose float32: this machine computes nothing else faster"


def test_a_worker_whose_gpu_has_failed_ends() -> None:
    def failing(batch: object) -> object:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    run = torch_backend._run(failing, torch.device("cpu"))  # type: ignore[arg-type]
    worker = multiprocessing.get_context("fork").Process(target=run, args=(np.zeros((1, 3, 2, 2), np.float32),))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 1
