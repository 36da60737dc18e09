"""What is saved is what is loaded; what is damaged says so; a failed write leaves the old files."""

import errno
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from byoc_vision import __version__
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
    model = small()
    artifact.save(model, tmp_path)
    assert artifact.load_probes(tmp_path, model) is None
    before = artifact.Probes(np.arange(2 * 3 * 32 * 32, dtype=np.uint8).reshape(2, 3, 32, 32), np.array([1, 0]))
    artifact.save_probes(before, tmp_path)
    after = artifact.load_probes(tmp_path, model)
    assert np.array_equal(after.pictures, before.pictures)
    assert np.array_equal(after.answers, before.answers)
    artifact.save(small(), tmp_path)
    assert artifact.load_probes(tmp_path, model) is None


def test_description_can_be_read_by_anyone(tmp_path):
    artifact.save(small(), tmp_path)
    description = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert description["format_version"] == 1
    assert description["labels"] == list(LABELS)
    assert set(description["versions"]) == {"byoc-vision", "torch", "torchvision"}
    assert description["versions"]["byoc-vision"] == __version__


def edit(folder, **changes):
    file = folder / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes))


def raw(folder: Path, text: bytes) -> None:
    (folder / "model.json").write_bytes(text)


def replaced(file: Path, make) -> None:
    file.unlink()
    make(file)


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
        (lambda folder: raw(folder, b"[]"), "not a JSON object"),
        (lambda folder: raw(folder, b"{}"), "format None"),
        (lambda folder: raw(folder, b"null"), "not a JSON object"),
        (lambda folder: raw(folder, b"\xff"), "damaged"),
        (lambda folder: raw(folder, b"[" * 100_000), "damaged"),
        (lambda folder: raw(folder, b"9" * 5000), "damaged"),
        (lambda folder: os.truncate(folder / "model.json", 10**12), "1000000000000 bytes"),
        (lambda folder: edit(folder, format_version="1\n2" * 1000), "format '1"),
        (lambda folder: edit(folder, arch=3), "arch in model.json is not a name"),
        (lambda folder: edit(folder, arch="fasterrcnn_resnet50_fpn"), "no architecture"),
        (lambda folder: edit(folder, labels="abc"), "labels in model.json is not a list"),
        (lambda folder: edit(folder, labels=[]), "labels"),
        (lambda folder: edit(folder, labels=["a", "b", 3]), "labels"),
        (lambda folder: edit(folder, labels=["a", "b", "a"]), "labels"),
        (lambda folder: edit(folder, labels=["a", "b", ""]), "labels"),
        (lambda folder: edit(folder, labels=["a", "b", "\ud800"]), "labels"),
        (lambda folder: edit(folder, labels=["a", "b", "c" * (artifact.MAX_LABEL + 1)]), "labels"),
        (lambda folder: edit(folder, labels=[str(number) for number in range(100_001)]), "labels"),
        (lambda folder: edit(folder, labels=[[], [], []]), "labels"),
        (lambda folder: edit(folder, labels=None), "labels"),
        (lambda folder: edit(folder, metrics=[]), "metrics"),
        (lambda folder: edit(folder, settings=1), "settings"),
        (lambda folder: edit(folder, preprocessing=[]), "preprocessing"),
        (lambda folder: edit(folder, preprocessing={"crop_size": 32}), "preprocessing has no resize_size"),
        (lambda folder: replaced(folder / "model.json", Path.mkdir), "model.json is not a file"),
        (lambda folder: replaced(folder / "model.json", os.mkfifo), "model.json is not a file"),
        (lambda folder: replaced(folder / "model.safetensors", os.mkfifo), "model.safetensors is not a file"),
        (lambda folder: replaced(folder / "model.json", lambda file: file.symlink_to("/dev/zero")), "not a file"),
        (lambda folder: replaced(folder / "model.json", lambda file: file.symlink_to("nowhere")), "no model.json"),
        (lambda folder: replaced(folder / "model.json", lambda file: file.symlink_to(file)), "cannot be read"),
    ],
)
def test_damaged_artifacts_say_what_is_wrong(tmp_path, damage, message):
    artifact.save(small(), tmp_path)
    damage(tmp_path)
    with pytest.raises(ArtifactError, match=message) as raised:
        artifact.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_fields_of_later_versions_and_links_to_files_do_no_harm(tmp_path):
    artifact.save(small(), tmp_path)
    edit(tmp_path, more={"nested": [1]})
    (tmp_path / "model.json").rename(tmp_path / "elsewhere")
    (tmp_path / "model.json").symlink_to("elsewhere")
    assert artifact.load(tmp_path).labels == LABELS


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_that_are_not_finite_are_refused(tmp_path, value):
    damaged = small()
    with torch.no_grad():
        damaged.network.get_submodule("classifier.0").weight[3, 5] = value
    artifact.save(damaged, tmp_path)
    with pytest.raises(ArtifactError, match="NaN or infinite"):
        artifact.load(tmp_path)


def npy(array: np.ndarray, shape: str | None = None) -> bytes:
    """An .npy file, of which the header may say another `shape`."""
    stream = io.BytesIO()
    np.save(stream, array)
    content = stream.getvalue()
    return content if shape is None else content.replace(str(array.shape).encode().ljust(len(shape)), shape.encode(), 1)


def archive(file: Path, **members: bytes) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(f"{name}.npy", content)


PIXELS, CLASSES = np.zeros((2, 3, 32, 32), np.uint8), np.array([0, 2])
PROBES = {
    "no archive": lambda file: file.write_bytes(b"PK"),
    "a plain array": lambda file: file.write_bytes(npy(PIXELS)),
    "a folder": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
    "no answers": lambda file: archive(file, pictures=npy(PIXELS)),
    "no arrays": lambda file: archive(file, pictures=b"x", answers=b"x"),
    "a truncated array": lambda file: archive(file, pictures=npy(PIXELS)[:-1], answers=npy(CLASSES)),
    "another size": lambda file: archive(file, pictures=npy(PIXELS[..., 1:]), answers=npy(CLASSES)),
    "no pictures": lambda file: archive(file, pictures=npy(PIXELS[:0]), answers=npy(CLASSES[:0])),
    "a number": lambda file: archive(file, pictures=npy(np.array(1, np.uint8)), answers=npy(CLASSES)),
    "floats": lambda file: archive(file, pictures=npy(PIXELS.astype(np.float32)), answers=npy(CLASSES)),
    "answers of another type": lambda file: archive(file, pictures=npy(PIXELS), answers=npy(CLASSES.astype(float))),
    "fewer answers": lambda file: archive(file, pictures=npy(PIXELS), answers=npy(CLASSES[:1])),
    "no such class": lambda file: archive(file, pictures=npy(PIXELS), answers=npy(CLASSES + 1)),
    "a negative class": lambda file: archive(file, pictures=npy(PIXELS), answers=npy(CLASSES - 1)),
    "objects": lambda file: np.savez(file.open("wb"), pictures=PIXELS, answers=np.array([{}, {}])),
    "a header that lies": lambda file: archive(file, pictures=npy(PIXELS, "(99999999999,)"), answers=npy(CLASSES)),
    "packed zeros": lambda file: archive(file, pictures=bytes(10**8), answers=npy(CLASSES)),
    "many pictures": lambda file: archive(file, pictures=npy(np.zeros((99, 3, 32, 32), np.uint8)), answers=b""),
    "a huge file": lambda file: (archive(file, pictures=npy(PIXELS), answers=npy(CLASSES)), os.truncate(file, 10**12)),
}


@pytest.mark.parametrize("case", PROBES)
def test_damaged_probes_are_refused(tmp_path, case):
    model = small()
    PROBES[case](tmp_path / artifact.PROBES)
    with pytest.raises(ArtifactError, match=r"probes\.npz|damaged") as raised:
        artifact.load_probes(tmp_path, model)
    assert "\n" not in str(raised.value)


def test_a_failed_write_keeps_the_file_of_before(tmp_path):
    file = tmp_path / "model.json"
    file.write_text("old")

    def fail():
        with artifact.whole(file) as path:
            path.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match="No space left on device"):
        fail()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.json"]
    assert file.read_text() == "old"
