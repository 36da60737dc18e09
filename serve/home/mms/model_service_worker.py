"""What multi-model-server starts for each model: imports what its workers need, once, and then forks them.

They share the memory of what is imported. A model with code or packages of its own imports by itself, in each worker,
for those may have modules of the same names. The file is where multi-model-server has its own, below a home of ours.

The model of a plain endpoint is known before multi-model-server runs, so the supervisor starts this file, too: that
process imports while Java starts. The one that multi-model-server starts then hands over to it all it was given, and
only lives, and dies, with it; where nobody waits for that, it does everything by itself.
"""

import contextlib
import json
import os
import runpy
import socket
import sys

# Not the modules beside this file.
sys.path.pop(0)

#: Environment: where the process that the supervisor has started waits. It has no --sock-name.
SOCKET_VARIABLE = "SERVE_STARTER_SOCKET"

#: Bytes of what is handed over, at most: more than the kernel passes on at once.
_LONGEST = 1024 * 1024


def _import(name: str, folder: str) -> None:
    """Import what the workers of the model `name` in `folder` do, unless that may be other modules."""
    import gc
    from importlib.util import find_spec
    from pathlib import Path

    from serve import packages, user_code
    from serve.memory import MB, visible_memory

    own = user_code.folder(Path(folder)) / user_code.program()
    if own.is_file() or packages.site(Path(os.environ["SERVE_PACKAGES"], name)).is_dir():
        return
    torch = find_spec("torch") is not None
    # Containers with less have no room for torch (270 MB) beside multi-model-server: a worker fails at it, and says so.
    if torch and visible_memory() < 400 * MB:
        return
    # What fails here fails in the worker again, which tells the supervisor.
    with contextlib.suppress(Exception):
        __import__("serve.worker")
        __import__("serve.torch_backend" if torch else "serve.openvino_backend")
        if torch:
            __import__("classifier.network")  # and torchvision, with which a model is built
    gc.freeze()  # whose marks would else be written beside each object, in each worker


def _hand_over(path: str) -> None:
    """Let the process that waits at the socket `path` do this one's work; return where there is none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.connect(path)
        given = {"arguments": sys.argv, "environment": dict(os.environ), "folder": os.getcwd()}
        socket.send_fds(other, [json.dumps(given).encode()], [0, 1, 2])
        if other.recv(1):
            os.dup2(other.fileno(), 0)
            os.execvp("cat", ["cat"])  # which takes less memory to wait for the other's end


def _take_over(waiting: socket.socket) -> None:
    """Wait until this process can be the one that multi-model-server has started, and become it."""
    other, _ = waiting.accept()
    os.unlink(waiting.getsockname())
    waiting.close()
    message, streams, _, _ = socket.recv_fds(other, _LONGEST, 3)
    given = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(given["folder"])
    os.environ.clear()
    os.environ.update(given["environment"])
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[:] = [*places, *(place for place in sys.path if place not in places)]
    sys.argv[:] = given["arguments"]
    other.send(b"\0")
    _die_with(other)


def _die_with(other: socket.socket) -> None:
    """End when the process at the other end does, as one that was killed."""
    import threading

    def watch() -> None:
        other.recv(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Be what starts the workers, at the supervisor's word or at multi-model-server's."""
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    path = os.environ.get(SOCKET_VARIABLE)
    if path and "--sock-name" in options:
        _hand_over(path)
    if path and "--sock-name" not in options:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as waiting:
            waiting.bind(path)
            waiting.listen()
            _import(options["--model-name"], options["--model-path"])
            _take_over(waiting)
    else:
        _import(options["--model-name"], options["--model-path"])
    runpy.run_module("mms.model_service_worker", run_name="__main__")


if __name__ == "__main__":
    main()
