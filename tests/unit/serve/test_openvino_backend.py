"""The backend without torch, in the image that has none: which forms there are, what they answer, what is refused."""

import json
import re
import weakref
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byoc_vision.contract.errors import UserError
from classifier import artifact
from classifier.artifact import ArtifactError, Probes
from classifier.preprocessing import Preprocessing

ov = pytest.importorskip("openvino", reason="only the lean image has OpenVINO")
from openvino import opset13 as ops  # noqa: E402

from serve import backend, measuring, openvino_backend, processor, records  # noqa: E402
from tests.unit.serve.conftest import settled  # noqa: E402

PREPROCESSING = Preprocessing(8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
COLOURS = ("red", "green", "blue")


def graph(weights: np.ndarray, *shape: int) -> "ov.Model":
    """Mean colour [N, 3] times `weights`."""
    inputs = ops.parameter(shape or [-1, 3, 8, 8], np.float32)
    mean = ops.reduce_mean(inputs, np.array([2, 3]))
    return ov.Model([ops.result(ops.matmul(mean, ops.constant(weights.astype(np.float32)), False, True))], [inputs])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose classes are the three colours."""
    description = {"format_version": 1, "arch": "mean", "labels": COLOURS, "preprocessing": asdict(PREPROCESSING)}
    (tmp_path / artifact.DESCRIPTION).write_text(json.dumps(description | {"metrics": {}, "settings": {}}))
    (tmp_path / artifact.GRAPHS).mkdir()
    for name in ("float32", "int8"):
        ov.serialize(graph(10 * np.eye(3)), tmp_path / artifact.GRAPHS / f"{name}.xml")
    pixels = np.stack([PREPROCESSING.pixels(Image.new("RGB", (8, 8), colour)) for colour in ("red", "lime", "blue")])
    artifact.save_probes(Probes(pixels, np.arange(3)), tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _processor(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A processor that has all instructions, as far as the choice of forms goes; nothing is known from before."""
    monkeypatch.setenv("BYOC_FORMS", str(tmp_path_factory.mktemp("none-kept")))
    monkeypatch.setattr(processor, "instructions", lambda: {"avx512_vnni", "avx512_bf16"})


def test_the_image_has_neither_torch_nor_anything_of_training() -> None:
    assert [name for name in ("torch", "torchvision", "smdebug", "sagemaker_training") if find_spec(name)] == []


def test_pictures_and_tensors_are_answered(folder: Path) -> None:
    model = backend.load(folder)
    assert (model.arch, model.labels, model.device) == ("mean", COLOURS, "cpu")
    pictures = [Image.new("RGB", (20, 10), colour) for colour in ("blue", "red")]
    probabilities = model.predict(pictures)
    assert probabilities.argmax(axis=1).tolist() == [2, 0]
    assert np.allclose(probabilities[0], np.exp([0, 0, 10]) / np.exp([0, 0, 10]).sum(), atol=1e-5)
    tensor = np.zeros((3, 3, 8, 8), np.float32)
    tensor[:, 1] = 1
    assert model.predict(tensor).argmax(axis=1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("count", [1, 5])
def test_nothing_of_a_batch_is_kept(folder: Path, count: int) -> None:
    model = backend.load(folder)
    batch = np.zeros((count, 3, 8, 8), np.float32)
    kept = weakref.ref(batch)
    model.predict(batch)
    del batch
    assert count == 1 or kept() is None
    model.predict(np.zeros((1, 3, 8, 8), np.float32))
    assert kept() is None


def test_a_form_is_there_where_the_processor_has_its_instructions(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(openvino_backend.load(folder).forms) == ["float32", "bfloat16", "int8"]
    for instructions, names in (
        ({"avx_vnni"}, ["float32", "int8"]),
        ({"amx_bf16"}, ["float32", "bfloat16"]),
        ({"avx512f"}, ["float32"]),
    ):
        monkeypatch.setattr(processor, "instructions", lambda instructions=instructions: instructions)
        assert list(openvino_backend.load(folder).forms) == names


def test_a_second_start_on_the_same_processor_measures_nothing(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYOC_FORMS", str(tmp_path_factory.mktemp("kept")))
    first = settled(folder)
    assert " ms a picture" in first.choice
    second = settled(folder)
    assert (second.form, " ms a picture" in second.choice) == (first.form, False)
    monkeypatch.setattr(processor, "instructions", lambda: {"avx512_vnni", "avx512_bf16", "sse2"})
    assert " ms a picture" in settled(folder).choice  # on another processor
    (folder / artifact.GRAPHS / "int8.xml").unlink()
    assert " ms a picture" in settled(folder).choice  # of another model


def test_a_record_of_a_form_that_answers_otherwise_is_not_followed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYOC_FORMS", str(tmp_path_factory.mktemp("kept")))
    ov.serialize(graph(np.eye(3)[::-1]), folder / artifact.GRAPHS / "int8.xml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records.Kept, "read", lambda self: "int8")
        model = settled(folder)
    assert model.form in ("float32", "bfloat16") and " ms a picture" in model.choice


def test_answers_are_those_of_float32_until_the_fastest_form_is_known(folder: Path) -> None:
    model = backend.load(folder)
    assert (model.form, model.choice) == ("float32", "in float32 until the fastest form is known")
    red = [Image.new("RGB", (8, 8), "red")]
    before, asked = model.predict(red), []

    def fastest(reference: str) -> tuple[str, str]:
        asked.append(reference)
        assert (model.predict(red) == before).all()
        return "int8", "chose int8: it is a test"

    for _ in range(2):
        model.settle(fastest, lambda: True)
    assert (model.form, model.choice, asked) == ("int8", "chose int8: it is a test", ["float32"])
    assert model.predict(red).argmax() == 0


@pytest.mark.parametrize(
    ("weights", "roomy", "words"),
    [
        (-np.eye(3), True, "int8 answers otherwise in this process"),
        (np.full((3, 3), np.nan), True, "int8 answers otherwise in this process"),
        (np.eye(4, 3), True, "int8 cannot be made (.*3 labels need"),
        (10 * np.eye(3), False, "there is too little memory for int8"),
    ],
)
def test_a_form_that_is_not_right_is_never_gone_on_in(
    folder: Path, weights: np.ndarray, roomy: bool, words: str
) -> None:
    ov.serialize(graph(weights), folder / artifact.GRAPHS / "int8.xml")
    model = backend.load(folder)
    model.settle(lambda reference: ("int8", "chose int8"), lambda: roomy)
    assert model.form == "float32" and re.search("chose float32: " + words.replace("(", r"\("), model.choice)
    assert model.predict([Image.new("RGB", (8, 8), "blue")]).argmax() == 2


def test_workers_share_the_probes(folder: Path) -> None:
    stored = artifact.load_probes(folder, artifact.describe(folder))
    assert stored is not None
    artifact.save_probes(Probes(stored.pictures, np.array([0, 2, 2])), folder)
    network = backend.read(folder, None, "fastest")
    for worker in (0, 2, 3, 5, 8):
        backend.Model(network, worker=worker, workers=3)
    for worker in (1, 4):
        with pytest.raises(UserError, match="1 of 1 probe pictures another class"):
            backend.Model(network, worker=worker, workers=3)


def test_probes_are_judged_before_the_first_answer_and_behind_it(folder: Path) -> None:
    ov.serialize(graph(np.diag([10, 10, -10])), folder / artifact.GRAPHS / "float32.xml")
    assert backend._varied(np.array([0, 0, 1, 0, 1, 2])) == [0, 2, 5, 1, 4, 3]
    model = backend.load(folder)  # two of the three are right
    assert model.predict([Image.new("RGB", (8, 8), "red")]).argmax() == 0
    with pytest.raises(UserError, match="1 of 1 probe pictures another class"):
        model.settle(lambda reference: pytest.fail("nothing is measured"), lambda: True)


def test_a_form_is_found_in_a_process_of_its_own(folder: Path) -> None:
    for name, graphs in (("float32", "float32.xml"), ("int8", "int8.xml")):
        form, sentence = measuring.fastest(folder, None, "float32")
        assert sentence.startswith(f"chose {form}: ") and form in openvino_backend.load(folder).forms, name
        (folder / artifact.GRAPHS / graphs).unlink()
        if name == "float32":  # the model is gone
            assert measuring.fastest(folder, None, "float32") == (
                "float32",
                "chose float32: the process that measured other forms has ended (exit status 1)",
            )
            break


DYING = """
import os
from serve import openvino_backend, processor
from serve.records import Trials
processor.instructions = lambda: {"avx512_vnni", "avx512_bf16"}
compiled = openvino_backend._compiled

def dying(file, precision, side):
    if precision == "bf16":
        os.kill(os.getpid(), SIGNAL)
    return compiled(file, precision, side)

openvino_backend._compiled = dying
"""


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (4, "; bfloat16 ended the process that tried it"),
        (9, "the process that measured other forms has ended (SIGKILL)"),
    ],
)
def test_a_form_that_ends_its_process_is_told_and_not_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "dying.py").write_text(DYING.replace("SIGNAL", str(number)))
    plain = measuring.COMMAND
    code = f"import sys; sys.path.append({str(tmp_path / 'packages')!r}); import dying; from serve import measuring; "
    monkeypatch.setattr(measuring, "COMMAND", (plain[0], "-P", "-c", code + "sys.exit(measuring.main(*sys.argv[1:]))"))
    form, sentence = measuring.fastest(folder, None, "float32")
    assert words in sentence and form != "bfloat16"


def test_a_model_without_an_8_bit_graph_has_the_other_forms(folder: Path) -> None:
    (folder / artifact.GRAPHS / "int8.xml").unlink()
    assert list(openvino_backend.load(folder).forms) == ["float32", "bfloat16"]


def test_a_form_that_disagrees_is_not_chosen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "instructions", lambda: {"avx512_vnni"})
    ov.serialize(graph(-np.eye(3)), folder / artifact.GRAPHS / "int8.xml")
    model = settled(folder)
    assert "chose float32" in model.choice
    assert model.predict([Image.new("RGB", (8, 8), "red")]).argmax() == 0


@pytest.mark.parametrize(("precision", "never"), [("bfloat16", ["int8"]), ("float32", ["int8", "bfloat16"])])
def test_a_form_coarser_than_asked_for_is_not_chosen(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, never: list[str]
) -> None:
    monkeypatch.setenv("BYOC_PRECISION", precision)
    for number in range(5):  # whichever is faster
        monkeypatch.setenv("BYOC_FORMS", str(tmp_path / f"{number}"))
        choice = settled(folder).choice
        assert not any(f"chose {name}" in choice for name in never)
        assert choice.endswith(f", as BYOC_PRECISION={precision} asks")


def test_a_model_without_graphs_says_what_to_do(folder: Path) -> None:
    (folder / artifact.GRAPHS / "float32.xml").unlink()
    with pytest.raises(UserError, match=r"no graphs for CPUs.*--image serve.*export=true"):
        backend.load(folder)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (graph(np.eye(4, 3)), "needs?"),
        (graph(10 * np.eye(3), -1, 3, 9, 9), "does not take"),
        (graph(10 * np.eye(3), 1, 3, 8, 8), "does not take"),
        (graph(10 * np.eye(3), -1, 3, -1, -1), "does not take"),
        (graph(np.full((3, 3), np.nan)), "NaN"),
        (graph(np.zeros((3, 3))), "1 of 2 probe pictures"),
        (graph(np.eye(3)[::-1]), "1 of 2 probe pictures"),
    ],
)
@pytest.mark.parametrize("precision", ["fastest", "float32"])
def test_a_graph_that_is_not_the_models_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, made: "ov.Model", words: str, precision: str
) -> None:
    monkeypatch.setenv("BYOC_PRECISION", precision)
    (folder / artifact.GRAPHS / "int8.xml").unlink()
    ov.serialize(made, folder / artifact.GRAPHS / "float32.xml")
    with pytest.raises(UserError, match=words):
        backend.load(folder)


def test_an_8_bit_graph_that_is_not_the_models_is_left_out_and_told(folder: Path) -> None:
    ov.serialize(graph(np.eye(4, 3)), folder / artifact.GRAPHS / "int8.xml")
    assert re.search(r"; int8 cannot be made \(.*3 labels need", settled(folder).choice)
    (folder / artifact.GRAPHS / "int8.bin").unlink()
    (folder / artifact.GRAPHS / "int8.bin").mkdir()
    assert "; int8 cannot be made (the model's int8.bin is not a file" in settled(folder).choice


def test_a_model_without_probes_is_judged_by_one_picture(folder: Path) -> None:
    (folder / artifact.PROBES).unlink()
    backend.load(folder).warm_up()
    for weights, words in ((np.eye(4, 3), "labels need"), (np.full((3, 3), np.nan), "NaN")):
        ov.serialize(graph(weights), folder / artifact.GRAPHS / "float32.xml")
        with pytest.raises(UserError, match=words):
            backend.load(folder).warm_up()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ["one", "two"]}, "2 classes"),
        ({"labels": ["one", "two", "three", "four"]}, "labels need"),
        ({"labels": "rgb"}, "labels"),
        ({"preprocessing": asdict(PREPROCESSING) | {"crop_size": 7}}, r"\[N, 3, 7, 7\]"),
        ({"preprocessing": asdict(PREPROCESSING) | {"mean": [float("nan")] * 3}}, "mean"),
        ({"preprocessing": asdict(PREPROCESSING) | {"std": [1, 0, 1]}}, "std"),
    ],
)
def test_a_description_of_another_model_is_refused(folder: Path, changes: dict[str, object], words: str) -> None:
    file = folder / artifact.DESCRIPTION
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(UserError, match=words) as raised:
        backend.load(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("file", ["float32.xml", "float32.bin"])
def test_a_damaged_graph_is_told_in_one_sentence(folder: Path, file: str) -> None:
    (folder / artifact.GRAPHS / file).write_bytes(b"")
    with pytest.raises(ArtifactError, match="damaged"):
        backend.load(folder)
