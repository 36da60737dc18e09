"""What multi-model-server imports in each worker process, to load a model and then to answer requests.

Only the standard library is imported here: whatever goes wrong beyond that is told to the supervisor, who tells the
user. multi-model-server would keep it to itself.
"""

import gc
import json
import logging
import os
import signal
import socket
import stat
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byoc_vision.contract.errors import UserError, described
from serve import packages
from serve.clock import Clock
from serve.lines import Lines
from serve.memory import LOADING, SERVING, may_be_killed
from serve.repeats import Repeats

if TYPE_CHECKING:
    from serve.worker import Worker

_worker: "Worker"
_supervisor: socket.socket
_clock: Clock
_telling = threading.Lock()

_REPORT_SECONDS = 0.25

#: So long a worker has only requests to do: the first one often waits already.
_SETTLE_SECONDS = 0.25


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any]:
    """Load the model (`data` is None) or answer the requests in `data`."""
    if data is None:
        _load(context)
        return []
    # The supervisor ends a worker that takes too long, in whatever library it hangs; multi-model-server starts another.
    _clock.begin()
    try:
        return _worker.answer(data, context)
    finally:
        # An exception can be in a circle with the functions it has passed, and so keep all pictures decoded by then.
        gc.collect(1)
        _clock.end()


def _load(context: Any) -> None:
    global _worker
    packages.use(packages.site(Path(os.environ["SERVE_PACKAGES"], context.model_name)))
    _log_to_stderr()
    lines = sys.stderr
    _connect()
    _tell(model=context.model_name)
    may_be_killed(LOADING)
    try:
        from serve.worker import Worker

        _worker = Worker()
        _worker.load(context)
        if "SERVE_WORKER_BYTES" in os.environ:
            _worker.take_at_most(int(os.environ["SERVE_WORKER_BYTES"]))
    except UserError as error:
        _tell(model=context.model_name, error=str(error), trace="")
        raise
    except BaseException as error:
        sentence = f"the model cannot be loaded ({described(error, 300)}); the trace above says where"
        _tell(model=context.model_name, error=sentence, trace=traceback.format_exc())
        raise
    # multi-model-server leads both to its log by their numbers; what the user's code has put there may have none.
    sys.stdout = sys.stderr = lines
    gc.freeze()  # what is there now stays, and need not be looked at after each request
    may_be_killed(SERVING)
    _tell(model=context.model_name, starter=os.getppid(), description=_worker.description, info=_worker.info)
    threading.Thread(target=_report, daemon=True).start()
    threading.Thread(target=_settle, daemon=True).start()


def _settle() -> None:
    """Go on in the numeric form that is the fastest, once it is known; end where the model proves to be of no use."""
    time.sleep(_SETTLE_SECONDS)
    try:
        _worker.settle()
    except UserError as error:
        _tell(error=str(error))
        os._exit(1)
    _tell(description=_worker.description, info=_worker.info)


def _report() -> None:
    """Tell what was measured, not with each request but some times a second: to be told of each costs more than 1 %.

    When requests have stopped, the memory they took is given back: other models may need it.
    """
    had_requests = False
    while True:
        time.sleep(_REPORT_SECONDS)
        measured = _worker.measured()
        if measured:
            _tell(measured=measured)
            had_requests = True
        elif had_requests and not _clock.seconds:
            _worker.tidy()
            had_requests = False


def _log_to_stderr() -> None:
    """Let what a model's own code prints and logs be seen: only a worker's stderr reaches the container's log.

    Not what multi-model-server logs in here: a line and a metric for each request, a trace for each planned end.
    """

    def is_wanted(record: logging.LogRecord) -> bool:
        if record.name.startswith("mms"):
            return record.levelno >= logging.WARNING
        return record.module not in ("model_service_worker", "otf_message_handler")

    sys.stderr = sys.stdout = Lines(sys.stderr)
    stderr = logging.StreamHandler(sys.stderr)
    stderr.addFilter(is_wanted)
    stderr.addFilter(Repeats())
    logging.captureWarnings(True)
    # Else Python remembers the text of each warning, and strangers' pictures make ever new ones.
    warnings.simplefilter("always", UserWarning)
    logging.basicConfig(handlers=[stderr], format="%(levelname)s %(name)s: %(message)s", level=logging.INFO, force=True)


def _connect() -> None:
    """Connect to the supervisor. It counts the worker as alive while the connection stands."""
    global _supervisor, _clock
    _supervisor = socket.socket(socket.AF_UNIX)
    _supervisor.connect(os.environ["SERVE_WORKERS_SOCKET"])
    _, (file,), _, _ = socket.recv_fds(_supervisor, 1, 1)
    _clock = Clock(file)
    os.close(file)
    # A process that the model's own code forks would keep the connections alive, this one and multi-model-server's.
    connections = [int(fd.name) for fd in Path("/proc/self/fd").iterdir() if _is_socket(int(fd.name))]
    leave_forks_to_user(connections)


def leave_forks_to_user(sockets: list[int]) -> None:
    """Make processes that are forked the user's own: without the worker's `sockets`, and such as SIGTERM ends.

    It ends the worker, too. multi-model-server's handler goes on, so that a pool of processes would wait for ever, and
    removes the socket by which the next worker is asked for.
    """

    def leave() -> None:
        for fd in filter(_is_socket, sockets):
            os.close(fd)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.register_at_fork(after_in_child=leave)


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:  # it was closed, or was the folder's own while it was listed
        return False


def _tell(**fields: Any) -> None:
    """Send the supervisor one of the lines that `serve.workers` names."""
    with _telling:
        _supervisor.sendall(json.dumps(fields).encode() + b"\n")
