"""A user's own model: what its code leaves out is done as AWS's PyTorch images do it."""

import io
import json
import multiprocessing
import re
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from mms.context import Context
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision import models

from byoc_vision.contract.errors import UserError
from serve import arrays
from serve.config import INTERNAL_ERROR
from tests.unit.serve.conftest import MakeWorker, ask

JSON, CSV, NPY, NPZ = "application/json", "text/csv", "application/x-npy", "application/x-npz"

ROWS = np.random.default_rng(0).random((5, 6), np.float32)

#: A network whose answer to four numbers is known: their products with these.
WEIGHTS = np.arange(18, dtype=np.float32).reshape(3, 6)


def network() -> nn.Module:
    layer = nn.Linear(6, 3, bias=False)
    layer.weight.data = torch.from_numpy(WEIGHTS.copy())
    return nn.Sequential(layer, nn.Dropout(0.9))


def saved(save: Callable[..., None], values: Any) -> bytes:
    file = io.BytesIO()
    save(file, values)
    return file.getvalue()


def shaped(shape: str, values: bytes) -> bytes:
    """A file of float32 by hand, so that its shape may be any."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


def lines(values: NDArray[Any]) -> bytes:
    return saved(lambda file, rows: np.savetxt(file, rows, delimiter=","), values)


ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    JSON: lambda values: json.dumps(values.tolist()).encode(),
    CSV: lines,
    NPY: lambda values: saved(np.save, values),
    NPZ: lambda values: saved(scipy.sparse.save_npz, scipy.sparse.csr_matrix(values)),
}
DECODERS: dict[str, Callable[[Any], NDArray[Any]]] = {
    JSON: lambda body: np.array(json.loads(body)),
    CSV: lambda body: np.loadtxt(io.BytesIO(body), delimiter=",", ndmin=2),
    NPY: lambda body: np.load(io.BytesIO(body)),
}


def save_as_main(file: Path) -> None:
    """Save a network whose class was defined in the program that was run, as notebooks and scripts do."""
    kind = type("Net", (nn.Sequential,), {"__module__": "__main__"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["__main__"], "Net", kind, raising=False)
        torch.save(kind(*network()), file)


#: Networks as people save them, each with the code that loads it.
MODELS: dict[str, tuple[Callable[[Path], None], str | None]] = {
    "TorchScript": (lambda folder: torch.jit.script(network()).save(folder / "model.pt"), None),
    "TorchScript of another name": (lambda folder: torch.jit.script(network()).save(folder / "net.pth"), None),
    "state dict": (
        lambda folder: torch.save(network().state_dict(), folder / "model.pth"),
        """
def model_fn(model_dir):
    network = torch.nn.Sequential(torch.nn.Linear(6, 3, bias=False), torch.nn.Dropout(0.9))
    network.load_state_dict(torch.load(os.path.join(model_dir, "model.pth"), map_location="cpu"))
    return network
""",
    ),
    "state dict of DataParallel": (
        lambda folder: torch.save(nn.DataParallel(network()).state_dict(), folder / "model.pth"),
        """
def model_fn(model_dir, context):
    assert context.system_properties["gpu_id"] is None
    network = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Linear(6, 3, bias=False), torch.nn.Dropout(0.9)))
    network.load_state_dict(torch.load(os.path.join(model_dir, "model.pth"), map_location="cpu"))
    return network
""",
    ),
    "pickled module": (
        lambda folder: torch.save(network(), folder / "model.pth"),
        """
def model_fn(model_dir):
    return torch.load(os.path.join(model_dir, "model.pth"), weights_only=False)
""",
    ),
    "pickled module of the program that was run": (
        lambda folder: save_as_main(folder / "model.pth"),
        """
class Net(torch.nn.Sequential):
    pass

def model_fn(model_dir):
    return torch.load(os.path.join(model_dir, "model.pth"), weights_only=False)
""",
    ),
    "exported program": (
        lambda folder: torch.export.save(
            torch.export.export(network().eval(), (torch.ones(5, 6),)), folder / "model.pt2"
        ),
        """
def model_fn(model_dir):
    return torch.export.load(os.path.join(model_dir, "model.pt2")).module()
""",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_arrays_in_and_out_are_those_of_awss_images(make_worker: MakeWorker, tmp_path: Path, case: str) -> None:
    save, code = MODELS[case]
    save(tmp_path)
    worker, context = make_worker(code and "import os, torch\n" + code)
    for content_type, encode in ENCODERS.items():
        for accept, decode in DECODERS.items():
            status, body, answered = ask(worker, context, encode(ROWS), content_type, Accept=accept)
            assert (status, answered) == (200, accept), body
            values = decode(body)
            assert values.shape == (5, 3)
            np.testing.assert_allclose(values, ROWS @ WEIGHTS.T, rtol=1e-6)


OWN = """
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        return RESULTS[int(x.flatten()[0])](x)

def generate(x):
    yield x

RESULTS = [
    lambda x: {"boxes": x, "labels": [torch.tensor(3), "dog"]},
    lambda x: [x, x],
    lambda x: x.bfloat16(),
    lambda x: None,
    generate,
    lambda x: torch.zeros(1, 2, 3),
    lambda x: "dog",
    lambda x: {1, 2},
    lambda x: [[1], [2, 3]],
    lambda x: x.requires_grad_(),
    lambda x: b"dog",
]

def model_fn(model_dir):
    return Net()
"""


@pytest.mark.parametrize(
    ("number", "accept", "status", "answer"),
    [
        (0, JSON, 200, {"boxes": [0.0], "labels": [3, "dog"]}),
        (0, NPY, 406, "an array of numbers; accept application/json"),
        (1, JSON, 200, [[1.0], [1.0]]),
        (1, CSV, 200, "1.0\n1.0\n"),
        (2, JSON, 200, [2.0]),
        (2, "text/plain, text/csv;q=0.5, application/json;q=0.1", 200, "2.0\n"),
        (3, JSON, 200, None),
        (4, JSON, INTERNAL_ERROR, "its log says why"),
        (5, CSV, 406, "two dimensions; accept application/json"),
        (5, NPY, 200, (1, 2, 3)),
        (6, JSON, 200, "dog"),
        (7, JSON, INTERNAL_ERROR, "its log says why"),
        (8, JSON, 200, [[1], [2, 3]]),
        (8, CSV, 406, "an array of numbers"),
        (9, NPY, 200, (1,)),
        (10, CSV, 406, "an array of numbers"),
        (9, "image/png", 406, "accept application/json, text/csv or application/x-npy"),
    ],
)
def test_what_a_model_returns_is_written_as_the_client_accepts(
    make_worker: MakeWorker, number: int, accept: str, status: int, answer: Any
) -> None:
    worker, context = make_worker(OWN)
    got, body, _ = ask(worker, context, json.dumps([number]).encode(), JSON, Accept=accept)
    assert got == status, body
    if status != 200:
        assert answer in json.loads(body)["error"]
    elif isinstance(answer, tuple):
        assert np.load(io.BytesIO(body)).shape == answer
    elif CSV in accept:
        assert body.decode() == answer
    else:
        assert json.loads(body) == answer


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (b"", JSON, 400, "empty"),
        (b"[1, 2", JSON, 400, "not JSON"),
        (b"[[1], [2, 3]]", JSON, 400, "equally long"),
        (b'["a"]', JSON, 400, "array of numbers"),
        (b'{"instances": [[1]]}', JSON, 415, "a JSON list"),
        (b"[" * 100_000, JSON, 400, "not JSON"),
        (b"1,2\n3", CSV, 400, "differ in length"),
        (b"\xff", CSV, 400, "UTF-8"),
        (b"hello", NPY, 400, ".npy"),
        (saved(lambda file, values: np.save(file, values, allow_pickle=True), np.array([{}])), NPY, 400, "object"),
        (ENCODERS[NPY](ROWS)[:-1], NPY, 400, "bytes"),
        (shaped("(" + "1, " * 100 + ")", bytes(4)), NPY, 400, "cannot have the shape"),
        (shaped("(0, 9223372036854775808)", b""), NPY, 400, "cannot have the shape"),
        (ENCODERS[NPZ](ROWS)[:-30], NPZ, 400, ".npz"),
        (b"hello", NPZ, 400, ".npz"),
        (b"\xff\xd8\xff\xe0", "image/jpeg", 415, "this model reads arrays"),
        (b"hello", "text/plain", 415, "this model reads arrays"),
    ],
)
def test_what_is_no_array_is_the_clients_fault(
    make_worker: MakeWorker, body: bytes, content_type: str, status: int, words: str
) -> None:
    worker, context = make_worker(OWN)
    got, answer, _ = ask(worker, context, body, content_type)
    assert (got, words in json.loads(answer)["error"]) == (status, True), answer


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"[[1, 2, 3]]", JSON, r"cannot take float32 \[1, 3\] \(mat1 and mat2 shapes cannot be multiplied"),
        (b"5", JSON, r"cannot take float32 \[\] \("),
        (b"hello", CSV, r"cannot take float32 \[\] \("),
        (ENCODERS[NPY](np.ones((2, 6), np.int64)), NPY, r"cannot take int64 \[2, 6\] \(.*dtype"),
    ],
)
def test_an_array_that_a_network_without_code_cannot_take_is_the_clients_fault(
    make_worker: MakeWorker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    content_type: str,
    words: str,
) -> None:
    MODELS["TorchScript"][0](tmp_path)
    worker, context = make_worker()
    got, answer, _ = ask(worker, context, body, content_type)
    assert got == 400 and re.search(words, json.loads(answer)["error"]), answer
    assert not caplog.records  # else clients would fill the log


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("CUDA out of memory")


def test_what_no_other_array_would_change_is_not_the_clients_fault(make_worker: MakeWorker, tmp_path: Path) -> None:
    torch.jit.script(Failing()).save(tmp_path / "model.pt")
    worker, context = make_worker()
    assert ask(worker, context, b"[1]", JSON)[0] == INTERNAL_ERROR


@pytest.mark.parametrize(
    "text",
    [
        *("1,2\n3,4", "1,2\r\n3,4\r\n", "1\n2\n3", "1,2,3", "7", " 1 , 2 ", "a,b\n1,2", ",,\n,1,", "\n1\n\n2\n"),
        *("1,2 # two\n# none\n3,4", "1e3,-inf\nnan,1_000", "1,1e99", "0x1,1", "#", ",", "1,2\n3,4 #,5", "1\x0b,2"),
    ],
)
def test_csv_is_read_as_numpy_does(text: str) -> None:
    expected = np.genfromtxt(io.StringIO(text), dtype=np.float32, delimiter=",")
    np.testing.assert_array_equal(arrays.csv(text), expected, strict=True)


def matrix(rows: int, indices: NDArray[Any]) -> bytes:
    """A sparse matrix by hand, so that it can lie."""
    file = io.BytesIO()
    parts = {"data": np.ones(1, np.float32), "indices": indices, "indptr": np.r_[0, np.full(rows, 1)]}
    np.savez(file, format=b"csr", shape=np.array([rows, 1000]), **parts)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (matrix(1000, np.array([10**6])), 400),
        (matrix(1000, np.array([0])), 413),
        (saved(lambda file, zeros: np.savez_compressed(file, zeros), np.zeros(10**6, np.float32)), 413),
        # Unpacking it takes twice as much.
        (saved(lambda file, zeros: np.savez_compressed(file, zeros), np.zeros(600_000, np.uint8)), 413),
    ],
)
def test_a_small_archive_takes_no_more_memory_than_there_is(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch, body: bytes, status: int
) -> None:
    monkeypatch.setenv("SERVE_DECODING_BYTES", "1000000")
    worker, context = make_worker(OWN)
    assert ask(worker, context, body, NPZ)[0] == status


def test_arrays_of_other_types_are_the_models_to_take(make_worker: MakeWorker, tmp_path: Path) -> None:
    torch.jit.script(network()).save(tmp_path / "model.pt")  # type: ignore[no-untyped-call]
    worker, context = make_worker()
    for values in (ROWS.astype(np.float64), ROWS.astype(">f4"), np.asfortranarray(ROWS)):
        status, body, _ = ask(worker, context, ENCODERS[NPY](values), NPY)
        assert status == 200
        np.testing.assert_allclose(json.loads(body), ROWS @ WEIGHTS.T, rtol=1e-6)


PREPROCESSING = {"resize_size": 36, "crop_size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


def test_pictures_reach_a_model_that_says_how_to_preprocess(make_worker: MakeWorker, tmp_path: Path) -> None:
    torch.jit.script(nn.AvgPool2d(32)).save(tmp_path / "model.pt")  # type: ignore[no-untyped-call]
    (tmp_path / "model.json").write_text(json.dumps({"preprocessing": PREPROCESSING}))
    worker, context = make_worker()
    picture = saved(lambda file, image: image.save(file, "PNG"), Image.new("RGB", (50, 40), (255, 0, 51)))
    expected = [(1 - 0.5) / 0.2, (0 - 0.4) / 0.3, (0.2 - 0.3) / 0.4]
    for content_type in ("image/png", "application/x-image", "application/octet-stream", ""):
        status, body, _ = ask(worker, context, picture, content_type)
        assert status == 200, body
        np.testing.assert_allclose(np.array(json.loads(body))[0, :, 0, 0], expected, rtol=1e-5)
    assert ask(worker, context, ENCODERS[NPY](np.zeros((2, 3, 32, 32), np.float32)), NPY)[0] == 200
    assert ask(worker, context, b"no picture", "image/png")[0] == 400


def newer(file: Path) -> None:
    """Save a network in a format that comes after this torch's."""
    present = io.BytesIO()
    torch.jit.save(torch.jit.script(network()), present)
    with zipfile.ZipFile(present) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"99\n" if name.endswith("version") else old.read(name))


BAD_MODELS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda folder: None, "no model.json, .* no TorchScript file .* and no code/inference.py"),
    "of Transformers": (lambda folder: (folder / "model.safetensors").touch(), "no code/inference.py with a model_fn"),
    "state dict": (
        lambda folder: torch.save(network().state_dict(), folder / "model.pth"),
        "model.pth is a state dict, .* add code/inference.py with a model_fn that builds the network",
    ),
    "checkpoint": (lambda folder: torch.save({"epoch": 3}, folder / "last.pt"), "last.pt is a state dict"),
    "tensor": (lambda folder: torch.save(torch.zeros(3), folder / "model.pth"), "model.pth is a Tensor"),
    "pickled module": (
        lambda folder: torch.save(network(), folder / "model.pth"),
        "model.pth is a pickled object, .*weights_only=False",
    ),
    "damaged": (lambda folder: (folder / "model.pt").write_bytes(b"PK\3\4 and so on"), "model.pt cannot be read"),
    "empty": (lambda folder: (folder / "model.pt").touch(), "model.pt cannot be read"),
    "of a newer torch": (
        lambda folder: newer(folder / "model.pt"),
        "model.pt cannot be read .*version 99.*; save the network with .* under torch 2",
    ),
    "several": (
        lambda folder: [torch.save({}, folder / name) for name in ("a.pt", "b.pth")],
        r"several networks \(a.pt, b.pth\)",
    ),
    "preprocessing": (
        lambda folder: (
            torch.jit.script(network()).save(folder / "a.pt"),
            (folder / "model.json").write_text(json.dumps({"preprocessing": {}})),
        ),
        "model.json cannot be used .*no resize_size",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_a_file_that_is_no_network_is_told_with_what_to_add(make_worker: MakeWorker, tmp_path: Path, case: str) -> None:
    make, words = BAD_MODELS[case]
    make(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        make_worker()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("inference.py", "inference.py lies beside the model's files, .* put it into code/"),
        ("code/predict.py", "code/ has predict.py: call it inference.py, or name it as SAGEMAKER_PROGRAM"),
        ("mine/code/inference.py", "in a folder mine, with inference.py: pack what is in the folder"),
    ],
)
def test_code_that_lies_elsewhere_is_named(make_worker: MakeWorker, tmp_path: Path, place: str, words: str) -> None:
    torch.save(network().state_dict(), tmp_path / "model.pth")
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("def model_fn(model_dir): pass")
    with pytest.raises(UserError, match=f"model.pth is a state dict, .*; .*{words}"):
        make_worker()


#: How a script has saved its network's weights, and what the endpoint that loads them says.
WEIGHTS_SAVED = {
    "module.": (lambda weights: {f"module.{name}": value for name, value in weights.items()}, "DataParallel has put"),
    "_orig_mod.": (
        lambda weights: {f"_orig_mod.{name}": value for name, value in weights.items()},
        "torch.compile has",
    ),
    "checkpoint": (lambda weights: {"epoch": 3, "model_state_dict": weights}, "weights under 'model_state_dict'"),
    "classes": (
        lambda weights: {"0.weight": torch.zeros(5, 6)},
        r"0.weight: \[5, 6\] in the file, \[3, 6\] in the network.*; build the network as .* as many classes",
    ),
    "names": (lambda weights: {"fc.weight": torch.zeros(3, 6)}, "its layers have other names"),
}


@pytest.mark.parametrize("case", WEIGHTS_SAVED)
def test_weights_that_do_not_fit_are_told_with_what_to_do(make_worker: MakeWorker, tmp_path: Path, case: str) -> None:
    make, words = WEIGHTS_SAVED[case]
    torch.save(make(network().state_dict()), tmp_path / "model.pth")
    with pytest.raises(UserError, match=f"the model's weights cannot be loaded .*{words}") as caught:
        make_worker(
            "import os, torch\n"
            "def model_fn(model_dir):\n"
            "    network = torch.nn.Sequential(torch.nn.Linear(6, 3, bias=False))\n"
            "    network.load_state_dict(torch.load(os.path.join(model_dir, 'model.pth')))\n"
        )
    assert "\n" not in str(caught.value)


def test_a_file_that_the_model_does_not_have_is_told_with_what_it_has(make_worker: MakeWorker, tmp_path: Path) -> None:
    (tmp_path / "best.pth").touch()
    with pytest.raises(UserError, match=r"looks for \S+/model.pth, and the model holds best.pth, code/inference.py; "):
        make_worker("def model_fn(model_dir):\n    open(model_dir + '/model.pth')")


def test_a_pickled_network_whose_class_is_lost_is_told(make_worker: MakeWorker, tmp_path: Path) -> None:
    module = types.ModuleType("inference")
    exec("import torch\nclass Net(torch.nn.ReLU): pass", vars(module))
    sys.modules["inference"] = module
    torch.save(module.Net(), tmp_path / "model.pth")
    del sys.modules["inference"]
    with pytest.raises(UserError, match=r"is of the class Net, .*; define it in inference.py, or import it"):
        make_worker(
            "import torch\n"
            "def model_fn(model_dir):\n"
            "    return torch.load(model_dir + '/model.pth', weights_only=False)"
        )


def test_an_error_that_says_nothing_is_told_as_it_is(make_worker: MakeWorker) -> None:
    with pytest.raises(KeyError):
        make_worker("raise KeyError")


def test_a_handler_with_context_gets_that_of_its_request(make_worker: MakeWorker) -> None:
    worker, _ = make_worker(
        """
import json

def model_fn(model_dir, context):
    return context.system_properties

def input_fn(data, content_type, context):
    return context.get_request_header(0, "X-Name")

def predict_fn(data, model, context):
    return [data, model["gpu_id"], context.system_properties["gpu_id"]]

def output_fn(prediction, accept, context):
    context.set_response_header(0, "X-Name", prediction[0])
    return json.dumps(prediction)
"""
    )
    from mms.context import RequestProcessor

    context = Context("model", "", {}, 2, 0, "1")
    context.request_processor = [RequestProcessor({"X-Name": name}) for name in "ab"]
    assert [json.loads(body) for body in worker.answer([{"body": b"x"}] * 2, context)] == [
        ["a", None, 0],
        ["b", None, 0],
    ]
    assert [each.get_response_header("X-Name") for each in context.request_processor] == ["a", "b"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_package", r"No module named 'no_such_package'\); name its package in code/requirements.txt"),
        (
            "import torch\nif not torch.cuda.is_available():\n    torch.zeros(1).cuda()\n"
            "raise RuntimeError('Attempting to deserialize object on a CUDA device but there is none')",
            r'takes a GPU, and the container has none .*; let it take "cuda" only where .* as map_location',
        ),
        ("from sagemaker_containers.beta.framework import worker", "import what it needs .* from sagemaker_inference"),
        ("import smdebug.pytorch as smd", "imports smdebug, which is for training; leave that import out of inference"),
        (
            "import subprocess, sys\nsubprocess.check_call([sys.executable, '-m', 'pip', 'install', 'x'])",
            "the model's own code runs pip, .* name the packages in code/requirements.txt",
        ),
        (
            "import subprocess\nsubprocess.run(['pip', 'install', 'x'])",
            "the model's own code runs pip, which this image",
        ),
        ("import subprocess\nsubprocess.run('pip install x', shell=True, check=True)", "the model's own code runs pip"),
        (
            "import torch.nn.modules.newest",
            r"needs torch.nn.modules.newest, which is not in this image's torch \d.*; name the version",
        ),
        (  # as all did before torch 2.6
            "import io, torch\nfile = io.BytesIO()\ntorch.save(torch.nn.ReLU(), file)\nfile.seek(0)\ntorch.load(file)",
            "loads more than weights, .* give its torch.load weights_only=False, if you trust the file",
        ),
        (
            "import os\nos.environ['SM_MODEL_DIR']",
            "asks for SM_MODEL_DIR, which only a training job has; put what training",
        ),
        (
            "import argparse\nargparse.ArgumentParser().parse_args(['--lr', '1'])",
            "reads arguments of a command, which an endpoint has not; put what training alone needs under if __name__",
        ),
        (
            "from urllib.error import URLError\nraise URLError('no such host')",
            r"fetches what cannot be had here \(URLError: .*build the network without pretrained weights",
        ),
        ("%%writefile a.py", r"line 1 of inference.py is a notebook's magic command \(%%writefile a.py\); remove it"),
        ("def predict_fn(data): pass", r"predict_fn\(data\); let it take data, model, and context"),
        ("output_fn = 3", "output_fn of the model's own code is no function"),
        ("async def predict_fn(data, model): pass", "predict_fn of the model's own code is async"),
        (
            "def transform_fn(m, b, c, a): pass\ndef output_fn(p, a): pass",
            "transform_fn, which does all that its output_fn",
        ),
    ],
)
def test_code_that_cannot_be_used_is_refused(make_worker: MakeWorker, source: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_worker(source)


def test_modules_beside_the_code_and_in_lib_are_found(
    make_worker: MakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = tmp_path / "submitted"
    (submitted / "lib" / "own_package").mkdir(parents=True)
    (submitted / "lib" / "own_package" / "__init__.py").write_text("NAME = 'lib'")
    (submitted / "own_helper.py").write_text("NAME = 'beside'")
    (submitted / "own_entry.py").write_text(
        "import own_helper, own_package\n"
        "def model_fn(model_dir): return None\n"
        "def transform_fn(model, body, content_type, accept): return own_helper.NAME + own_package.NAME\n"
    )
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "own_entry.py")
    monkeypatch.setenv("SAGEMAKER_SUBMIT_DIRECTORY", str(submitted))
    worker, context = make_worker()
    assert ask(worker, context, b"x", JSON)[1] == "besidelib"


def test_the_program_may_be_in_a_folder_of_the_code(
    make_worker: MakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "source/below.py")
    (tmp_path / "code" / "source").mkdir(parents=True)
    (tmp_path / "code" / "beside_it.py").write_text("NAME = 'code'")
    (tmp_path / "code" / "source" / "below_helper.py").write_text("NAME = 'source'")
    worker, context = make_worker(
        "import below_helper, beside_it\n"
        "def model_fn(model_dir): return None\n"
        "def transform_fn(model, body, content_type, accept): return beside_it.NAME + below_helper.NAME\n",
        "source/below.py",
    )
    assert ask(worker, context, b"x", JSON)[1] == "codesource"


def test_a_handler_of_no_known_function_is_told(
    make_worker: MakeWorker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.jit.script(network()).save(tmp_path / "model.pt")  # type: ignore[no-untyped-call]
    worker, context = make_worker("def handle(data, context): return [0]\n")
    assert "inference.py has none of the functions pre_model_fn, model_fn, " in caplog.text
    assert ask(worker, context, ENCODERS[JSON](ROWS), JSON)[0] == 200


def test_a_module_that_the_image_hides_is_named(make_worker: MakeWorker, tmp_path: Path) -> None:
    (tmp_path / "code" / "psutil").mkdir(parents=True)
    with pytest.raises(UserError, match="code/psutil cannot be imported, for this image has a module of that name"):
        make_worker("import psutil.net")


#: Names that this project's modules have, each as the user's own: a module, a package, and one that is not imported.
SHADOWS = {
    "classifier.py": "from torch import nn\nclass Net(nn.Linear): ...\n",
    "serve/__init__.py": "NAME = 'serve'",
    "serve/late.py": "NAME = 'late'",
    "lib/byoc_vision/contract.py": "NAME = 'contract'",
}

SHADOWING = """
import importlib, json, pickle
import classifier, serve, torch
from byoc_vision import contract

def model_fn(model_dir):
    return pickle.loads(pickle.dumps(classifier.Net(6, 3)))

def input_fn(body, content_type):
    import serve.late
    return torch.ones(6)

def output_fn(prediction, accept):
    late = importlib.import_module("serve.late")
    return json.dumps([len(prediction), serve.late is late, late.NAME, contract.NAME, serve.NAME])
"""


def answer_apart(make_worker: MakeWorker, source: str, name: str) -> Any:
    """Return what a worker answers, in a process of its own: what it imports would be in the way of other tests."""
    mine, its = multiprocessing.Pipe()

    def answer() -> None:
        its.send(ask(*make_worker(source, name), b"", JSON))

    process = multiprocessing.get_context("fork").Process(target=answer)
    process.start()
    its.close()
    try:
        return mine.recv()
    finally:
        process.join()


def test_the_users_modules_may_be_called_as_this_projects(make_worker: MakeWorker, tmp_path: Path) -> None:
    for name, source in SHADOWS.items():
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_text(source)
    status, body, _ = answer_apart(make_worker, SHADOWING, "inference.py")
    assert (status, json.loads(body)) == (200, [3, True, "late", "contract", "serve"])


def test_the_program_may_be_called_as_this_projects(make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "serve.py")
    source = (
        "def model_fn(model_dir): return None\ndef transform_fn(model, body, content_type, accept): return __name__"
    )
    assert answer_apart(make_worker, source, "serve.py")[:2] == (200, "serve")


def test_what_the_sdk_names_and_is_not_there_changes_nothing(
    make_worker: MakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.jit.script(network()).save(tmp_path / "model.pt")  # type: ignore[no-untyped-call]
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "inference.py")
    monkeypatch.setenv("SAGEMAKER_SUBMIT_DIRECTORY", "/opt/ml/model/code")
    worker, context = make_worker()
    assert ask(worker, context, ENCODERS[JSON](ROWS), JSON)[0] == 200


def test_the_examples_handler_answers_with_the_labels_of_the_examples_training(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    state = models.resnet18(num_classes=2).state_dict()
    torch.save({"labels": ["cat", "dog"], "image_size": 32, "state_dict": state}, tmp_path / "model.pth")
    source = Path(__file__).parents[3] / "examples" / "own_scripts" / "inference.py"
    worker, context = make_worker(source.read_text())
    picture = saved(lambda file, image: image.save(file, "JPEG"), Image.new("L", (50, 40), 200))
    status, body, content_type = ask(worker, context, picture, "image/jpeg")
    assert (status, content_type) == (200, JSON)
    assert list(json.loads(body)) == ["cat", "dog"] and sum(json.loads(body).values()) == pytest.approx(1)
    assert ask(worker, context, b"hello", "image/jpeg")[0] == 400
