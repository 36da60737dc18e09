"""What is saved is what is loaded; what is damaged says so; a failed write leaves the old files."""

import errno
import json

import numpy as np
import pytest
import torch

from classifier import artifact, network
from classifier.artifact import ArtifactError, Classifier
from classifier.preprocessing import Preprocessing

LABELS = ("Bär", "cat & dog", "狗")


def small() -> Classifier:
    torch.manual_seed(0)
    preprocessing = Preprocessing(40, 32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), "bicubic")
    return Classifier(
        "mobilenet_v3_small", LABELS, preprocessing, {"validation_accuracy": 0.5}, {"lr": 0.1},
        network=network.build("mobilenet_v3_small", 3).eval(),
    )  # fmt: skip


def test_saved_and_loaded_are_the_same(tmp_path):
    before = small()
    artifact.save(before, tmp_path)
    after = artifact.load(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    assert (after.labels, after.arch, after.preprocessing) == (LABELS, before.arch, before.preprocessing)
    assert (after.metrics, after.settings) == (before.metrics, before.settings)
    assert not after.network.training
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o644}
    with torch.inference_mode():
        picture = torch.rand(2, 3, 32, 32)
        assert torch.equal(before.network(picture), after.network(picture))


def test_probes_stay_with_their_model(tmp_path):
    artifact.save(small(), tmp_path)
    assert artifact.load_probes(tmp_path) is None
    before = artifact.Probes(np.arange(96, dtype=np.uint8).reshape(2, 3, 4, 4), np.array([1, 0]))
    artifact.save_probes(before, tmp_path)
    after = artifact.load_probes(tmp_path)
    assert np.array_equal(after.pictures, before.pictures)
    assert np.array_equal(after.answers, before.answers)
    (tmp_path / artifact.PROBES).write_bytes(b"PK")
    with pytest.raises(artifact.ArtifactError, match="damaged"):
        artifact.load_probes(tmp_path)
    artifact.save(small(), tmp_path)
    assert artifact.load_probes(tmp_path) is None


def test_description_can_be_read_by_anyone(tmp_path):
    artifact.save(small(), tmp_path)
    description = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert description["format_version"] == 1
    assert description["labels"] == list(LABELS)
    assert set(description["versions"]) == {"torch", "torchvision"}


def edit(folder, **changes):
    file = folder / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "no model.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda folder: (folder / "model.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"12345678"), "damaged"),
        (lambda folder: edit(folder, format_version=99), "format 99"),
        (lambda folder: edit(folder, arch="resnet18"), "do not match"),
        (lambda folder: edit(folder, arch="no_such_net"), "no_such_net"),
        (lambda folder: edit(folder, labels=["one", "two"]), "do not match"),
        (lambda folder: edit(folder, preprocessing={}), "do not match"),
        (lambda folder: (folder / "model.json").write_text("[]"), "damaged"),
    ],
)
def test_damaged_artifacts_say_what_is_wrong(tmp_path, damage, message):
    artifact.save(small(), tmp_path)
    damage(tmp_path)
    with pytest.raises(ArtifactError, match=message) as raised:
        artifact.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_failed_write_keeps_the_file_of_before(tmp_path):
    file = tmp_path / "model.json"
    file.write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match="No space left on device"):
        artifact.write_whole(file, fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.json"]
    assert file.read_text() == "old"
