"""What multi-model-server starts for each model: imports what its workers need, once, and then forks them.

They share the memory of what is imported. A model with code or packages of its own imports by itself, in each worker,
for those may have modules of the same names. The file is where multi-model-server has its own, below a home of ours.
"""

import contextlib
import gc
import os
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

# Not the modules beside this file.
sys.path.pop(0)

from serve import packages, user_code
from serve.memory import MB, visible_memory

#: Containers with less have no room for torch (270 MB) beside multi-model-server: a worker fails at it, and says so.
_TORCH = 400 * MB


def _import(name: str, folder: Path) -> None:
    """Import what the workers of the model `name` in `folder` do, unless that may be other modules."""
    own = user_code.folder(folder) / user_code.program()
    if own.is_file() or packages.site(Path(os.environ["SERVE_PACKAGES"], name)).is_dir():
        return
    torch = find_spec("torch") is not None
    if torch and visible_memory() < _TORCH:
        return
    # What fails here fails in the worker again, which tells the supervisor.
    with contextlib.suppress(Exception):
        __import__("serve.worker")
        __import__("serve.torch_backend" if torch else "serve.openvino_backend")
    gc.freeze()  # whose marks would else be written beside each object, in each worker


if __name__ == "__main__":
    args = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    _import(args["--model-name"], Path(args["--model-path"]))
    runpy.run_module("mms.model_service_worker", run_name="__main__")
