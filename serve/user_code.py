"""The user's own code: where it is, and which of the handler's functions it has.

It is the file that SAGEMAKER_PROGRAM names (inference.py), in the folder that SAGEMAKER_SUBMIT_DIRECTORY names or in
the model's code/. The SDK sets both also where there is no such file. Where the variable names an archive, it is in
what was unpacked of that, and nowhere else.
"""

import importlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.folders import text
from byoc_vision.contract.job import CODE, SCRIPT
from serve import shadowed, submitted

logger = logging.getLogger(__name__)

Function = Callable[..., Any]

#: The functions that a module may have, with what each is called with; and with the context, if it takes one more.
ARGUMENTS = {
    "pre_model_fn": ("model_dir",),
    "model_fn": ("model_dir",),
    "model_warmup_fn": ("model_dir", "model"),
    "input_fn": ("body", "content_type"),
    "predict_fn": ("data", "model"),
    "output_fn": ("prediction", "accept"),
    "transform_fn": ("model", "body", "content_type", "accept"),
}


def program() -> str:
    """Return the name of the user's file, as the environment has it."""
    name = os.environ.get("SAGEMAKER_PROGRAM") or SCRIPT
    return name if name.endswith(".py") else f"{name}.py"


def folder(model_dir: Path) -> Path:
    """Return the folder of the user's code, which need not exist."""
    if submitted.place(os.environ):
        return Path(os.environ[submitted.FOLDER_VARIABLE])
    named = Path(os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "").removeprefix("file://") or model_dir / CODE)
    return named if (named / program()).is_file() else model_dir / CODE


def has(file: Path) -> bool:
    """Tell whether the user's code has `file`; raises `UserError` where that is something else, or may not be read."""
    if file.is_file():
        if not os.access(file, os.R_OK):
            raise UserError(f"{CODE}/{file.name} cannot be read here; let every user read it, as chmod -R a+rX does")
        return True
    if os.path.lexists(file):
        raise UserError(f"{CODE}/{file.name} is no file, or a link that leads to none; put the file itself there")
    return False


def misplaced(model_dir: Path) -> str:
    """Return where code lies that was perhaps meant as the model's, and what to do; nothing where it is, or is not."""
    if program() != SCRIPT or (folder(model_dir) / SCRIPT).exists():
        return ""
    if (model_dir / SCRIPT).is_file():
        return f"{SCRIPT} lies beside the model's files, where it is not read: put it into {CODE}/"
    if below := [*model_dir.glob(f"*/{CODE}/{SCRIPT}"), *model_dir.glob(f"*/{SCRIPT}")]:
        name = below[0].relative_to(model_dir).parts[0]
        return f"the archive has all in a folder {text(name)}, with {SCRIPT}: pack what is in the folder, without it"
    if others := sorted((model_dir / CODE).glob("*.py")):
        return f"{CODE}/ has {text(others[0].name)}: call it {SCRIPT}, or name it as SAGEMAKER_PROGRAM"
    return ""


def load(model_dir: Path) -> dict[str, Function]:
    """Import the user's module and return those of its functions that are the handler's, by name; none without it.

    Each takes the context as its last argument. Modules beside it, and those in lib/, can be imported from then on.
    Raises `UserError` where the file is missing, or its functions do not go together; else whatever the import raises.
    """
    code, file = folder(model_dir), program()
    places = dict.fromkeys([(code / file).parent, code, code / "lib"])  # the program may be in a folder below
    sys.path[:0] = [str(place) for place in places if place.is_dir()]
    shadowed.give_way()
    if not has(code / file):
        if archive := submitted.place(os.environ):
            raise UserError(f"the code at {archive[:200]} has no {file}; add it, or name its file as SAGEMAKER_PROGRAM")
        if file != SCRIPT:
            raise UserError(f"SAGEMAKER_PROGRAM names {file}, but the model has no {CODE}/{file}; add it")
        if said := misplaced(model_dir):
            logger.warning("%s", said)
        return {}
    name = Path(file).stem
    known = importlib.util.find_spec(name)
    origin = Path(known.origin).parent if known and known.origin else None
    if origin != (code / file).parent:
        raise UserError(f"{CODE}/{file} cannot be used: {origin} holds a module of that name; call it {SCRIPT}")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if hidden := _hidden(error, code):
            raise UserError(
                f"{CODE}/{hidden} cannot be imported, for this image has a module of that name; call it by another"
            ) from error
        raise
    # The pickle of a whole network names its class as __main__'s where that was defined in the program that was run.
    vars(sys.modules["__main__"])["__getattr__"] = partial(getattr, module)
    functions = {name: with_context(name, getattr(module, name)) for name in ARGUMENTS if hasattr(module, name)}
    if not functions:
        logger.warning("%s has none of the functions %s, so that nothing of it is used", file, ", ".join(ARGUMENTS))
    both = [name for name in ("input_fn", "predict_fn", "output_fn") if name in functions]
    if "transform_fn" in functions and both:
        raise UserError(
            f"{CODE}/{file} has transform_fn, which does all that its {both[0]} does; remove one of the two"
        )
    return functions


def with_context(name: str, function: Function) -> Function:
    """Return the handler's function `name` as one that takes the context last, whether it makes use of it or not.

    Its signature decides, as in AWS's toolkit. Raises `UserError` where it takes another number of
    arguments, or is async.
    """
    arguments = ARGUMENTS[name]
    if not callable(function):
        raise UserError(f"{name} of the model's own code is no function; define it with def")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UserError(f"{name} of the model's own code is async, and nothing awaits it; define it with def alone")
    signature = inspect.signature(function)
    if _takes(signature, len(arguments) + 1):
        return function
    if not _takes(signature, len(arguments)):
        raise UserError(
            f"{name} of the model's own code is {name}{signature}; let it take {', '.join(arguments)}, and context "
            "last if it needs that"
        )

    @wraps(function)
    def without_context(*arguments: Any) -> Any:
        return function(*arguments[:-1])

    return without_context


def _hidden(error: ImportError, code: Path) -> str | None:
    """Return what in the folder `code` an import was meant for that has failed because the image's module was taken."""
    name = (error.name or "").partition(".")[0]
    taken = getattr(sys.modules.get(name), "__file__", None)
    if taken is None or Path(taken).is_relative_to(code):
        return None
    return next((own for own in (f"{name}.py", name) if (code / own).exists()), None)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
