"""The functions that a user's own model has by default. They do what those of AWS's PyTorch images do.

    from serve.own_model import input_fn, model_fn, predict_fn

How an answer is written, which takes no torch, is `serve.encoding.output_fn`.
"""

import pickle
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from byoc_vision.contract.errors import UserError, described, one_line
from byoc_vision.contract.job import CODE, SCRIPT
from classifier import artifact
from classifier.preprocessing import Preprocessing
from serve import decoding
from serve.errors import RequestError
from serve.torch_backend import ending_with_the_gpu

#: What the network's errors say that another array would not change.
_OF_THE_MACHINE = re.compile("allocate|out of memory|cuda|cudnn|cublas|device", re.IGNORECASE)

_SAVED = "save the network with torch.jit.script(network).save(…)"


def model_fn(model_dir: str, context: Any) -> nn.Module:
    """Return the network in model.pt, or in the only .pt or .pth file of the folder: TorchScript, on the device.

    Raises `UserError` where it holds anything else, with what to add.
    """
    files = artifact.networks(Path(model_dir))
    file = next((file for file in files if file.name == "model.pt"), files[0])
    if len(files) > 1 and file.name != "model.pt":
        names = ", ".join(file.name for file in files)
        raise UserError(f"the model has several networks ({names}); keep one, or add {CODE}/{SCRIPT} with a model_fn")
    try:
        network: nn.Module = torch.jit.load(file, map_location=_device(context))  # type: ignore[no-untyped-call]
    # Of files that are none of its own it says so in many ways.
    except Exception as error:
        raise UserError(f"{file.name} {_not_torchscript(file)}") from error
    return network.eval()


def input_fn(body: bytes | str, content_type: str, context: Any) -> Tensor:
    """Return the numbers of JSON, CSV, NPY or NPZ on the device: those of text as float32, others of their own type.

    Pictures become float32 [N, 3, height, width] as the model's description asks. Raises `RequestError`, 415 for
    pictures where there is no description.
    """
    values = decoding.numbers(body, content_type)
    if values is None:
        preprocessing = description(context.system_properties["model_dir"])
        if preprocessing is None:
            raise RequestError(
                415,
                "this model reads arrays: a JSON list, text/csv, application/x-npy or application/x-npz; it reads "
                f"pictures when its {artifact.DESCRIPTION} has their preprocessing, or its code an input_fn",
            )
        batch = decoding.decode(body, content_type, preprocessing.enough)
        assert not isinstance(batch, np.ndarray)
        decoding.check_room(batch, preprocessing.input_bytes)
        values = preprocessing.inputs(batch)
    return torch.from_numpy(values).to(_device(context))


def predict_fn(data: Any, model: Any, context: Any) -> Any:
    """Return what the model makes of `data`, in evaluation mode, without gradients, on the device.

    Raises `RequestError` 400 for an array that TorchScript, which has no code that could see to it, cannot take.
    """
    device = _device(context)
    kind = None
    if isinstance(model, nn.Module):
        model.to(device)
        with suppress(NotImplementedError):  # what torch.export has made has one mode
            model.eval()
        kind = next((values.dtype for values in model.parameters() if values.is_floating_point()), None)
    if isinstance(data, Tensor) and data.is_floating_point():
        data = data.to(kind)  # NumPy's arrays are float64 unless they are told otherwise
    with torch.no_grad(), ending_with_the_gpu():
        try:
            return model(data.to(device) if hasattr(data, "to") else data)
        except RuntimeError as error:
            scripted = isinstance(model, torch.jit.ScriptModule) and isinstance(data, Tensor)
            if not scripted or _OF_THE_MACHINE.search(str(error)):
                raise
            array = f"{str(data.dtype).removeprefix('torch.')} {list(data.shape)}"
            reason = one_line(str(error).strip().rpartition("\n")[2].removeprefix("RuntimeError: "), 200)
            raise RequestError(
                400, f"the network cannot take {array} ({reason}); send the type and shape that it was made for"
            ) from error


@cache
def description(model_dir: str) -> Preprocessing | None:
    """Return how the model's archive says that pictures become its input, if it does."""
    return artifact.preprocessing(Path(model_dir))


def _device(context: Any) -> torch.device:
    gpu = context.system_properties["gpu_id"]
    return torch.device("cpu" if gpu is None else f"cuda:{gpu}")


def _not_torchscript(file: Path) -> str:
    """Return what a file holds instead of a network that can be run as it is, and what to do."""
    try:
        content = torch.load(file, "cpu", weights_only=True)
    except pickle.UnpicklingError:
        return (
            f"is a pickled object, for which its own code is needed; add {CODE}/{SCRIPT} with a model_fn that loads it "
            f"with torch.load(…, weights_only=False), and the modules of its classes beside that, or {_SAVED}"
        )
    # Damaged files come as any other exception.
    except Exception as error:
        return f"cannot be read ({described(error)}); {_SAVED} under torch {torch.__version__}, and send the whole file"
    kind = "a state dict" if isinstance(content, dict) else f"a {type(content).__name__}"
    return (
        f"is {kind}, which holds weights and no network; add {CODE}/{SCRIPT} with a model_fn that builds the network "
        f"and loads it, or {_SAVED}"
    )
