"""Why a model's own code cannot be used here, where that is known, and what to do about it."""

import importlib.metadata
import importlib.util
import pickle
import re
import traceback
from pathlib import Path
from urllib.error import URLError

from byoc_vision.contract.errors import UserError, described, one_line
from byoc_vision.contract.folders import text
from byoc_vision.contract.job import CODE
from byoc_vision.contract.program import magic
from classifier import state_dicts
from serve import user_code

#: Names in a folder that a sentence tells.
_NAMED = 6

#: What torch says where there is no GPU: of code that takes one, and of what was saved on one.
_NO_GPU = re.compile("Found no NVIDIA driver|No CUDA GPUs are available|not compiled with CUDA|on a CUDA device but")


def advice(error: BaseException, model_dir: Path) -> str | None:
    """Return a sentence on an error that came while the model in the folder was loaded; None where nothing is known."""
    if isinstance(error, UserError):
        where = user_code.misplaced(model_dir)
        return f"{error}; {where}" if where else None
    if isinstance(error, ModuleNotFoundError):
        return _needs(error)
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error):
        return (
            "the model's own code loads more than weights, as a pickled network is; give its torch.load "
            "weights_only=False, if you trust the file"
        )
    if _runs_pip(error):
        return (
            "the model's own code runs pip, which this image does not have; name the packages in "
            f"{CODE}/requirements.txt"
        )
    if isinstance(error, RuntimeError | AssertionError) and _NO_GPU.search(str(error)):
        return (
            f"the model's own code takes a GPU, and the container has none ({described(error, 100)}); let it take "
            '"cuda" only where torch.cuda.is_available(), and give torch.load that device as map_location'
        )
    return _of_training(error) or _of_files(error, model_dir)


def _of_files(error: BaseException, model_dir: Path) -> str | None:
    """Return what to do where the model's code does not find, or cannot use, what is in the model's files."""
    if isinstance(error, FileNotFoundError) and str(error.filename).startswith(f"{model_dir}/"):
        names = sorted(
            path.relative_to(model_dir).as_posix()
            for path in model_dir.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        )
        held = ", ".join(map(text, names[:_NAMED])) + (", …" if len(names) > _NAMED else "") or "nothing"
        return (
            f"the model's own code looks for {text(error.filename)}, and the model holds {held}; let it load what is "
            "there, or save the file under that name"
        )
    if isinstance(error, AttributeError) and (
        lost := re.match(r"Can't get attribute '([^']+)' on <module '", str(error))
    ):
        return (
            f"a pickled network is of the class {lost[1]}, which the model's own code does not have; define it in "
            f"{user_code.program()}, or import it there from a module of {CODE}/"
        )
    if isinstance(error, RuntimeError) and (remedy := state_dicts.advice(str(error))):
        return f"the model's weights cannot be loaded ({one_line(state_dicts.short(str(error)), 400)}); {remedy}"
    return None


def _runs_pip(error: BaseException) -> bool:
    """Tell whether an error is that of a command which installs packages."""
    command = getattr(error, "cmd", None) or getattr(error, "filename", None) or ""  # it failed; it was not found
    words = command.split() if isinstance(command, str) else map(str, command) if isinstance(command, list) else ()
    return not {"pip", "pip3"}.isdisjoint(words)


def _of_training(error: BaseException) -> str | None:
    """Return what to do where code fails at its import that was written for a training job, or a notebook, alone."""
    remedy = "put what training alone needs under if __name__ == '__main__'"
    if isinstance(error, KeyError) and str(error).startswith("'SM_"):
        return f"the model's own code asks for {error.args[0]}, which only a training job has; {remedy}"
    modules = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SystemExit) and "argparse" in modules:
        return f"the model's own code reads arguments of a command, which an endpoint has not; {remedy}"
    if isinstance(error, URLError):
        return (
            f"the model's own code fetches what cannot be had here ({described(error)}); put it into the model, and "
            "build the network without pretrained weights (weights=None), for the model's own replace them"
        )
    if isinstance(error, SyntaxError) and (line := magic(error)):
        file = Path(error.filename or "").name
        return f"line {error.lineno} of {file} is a notebook's magic command ({line[:80]}); remove it"
    return None


def _version(package: str) -> str | None:
    """Return the version of a package that is installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _needs(error: ModuleNotFoundError) -> str:
    package = str(error.name).partition(".")[0]
    if package in ("torch", "torchvision") and importlib.util.find_spec(package) is None:
        return f"the model needs {package}, which this image does not have; deploy it with --image serve"
    if package == "smdebug":
        return (
            "the model's own code imports smdebug, which is for training; leave that import out of "
            f"{user_code.program()}, or deploy a script without it"
        )
    if package == "sagemaker_containers":
        return (
            "the model's own code imports sagemaker_containers, which is for images of old; import what it needs "
            "(content_types, decoder, encoder, errors) from sagemaker_inference"
        )
    if package != error.name and (there := _version(package)):  # as a pickle of another version does
        return (
            f"the model's own code, or what it loads, needs {error.name}, which is not in this image's {package} "
            f"{there}; name the version that it was saved with in {CODE}/requirements.txt, or save it with this one"
        )
    return (
        f"the model's own code needs a module that is not there ({error}); name its package in "
        f"{CODE}/requirements.txt, or put it beside {user_code.program()}"
    )
