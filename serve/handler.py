"""What multi-model-server imports in each worker process, to load a model and then to answer requests.

Only the standard library is imported here: whatever goes wrong beyond that is told to the supervisor, who tells the
user. multi-model-server would keep it to itself.
"""

import json
import logging
import os
import signal
import socket
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from classifier.errors import UserError
from serve.repeats import Repeats

if TYPE_CHECKING:
    from serve.worker import Worker

_worker: "Worker"
_alive: socket.socket


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any]:
    """Load the model (`data` is None) or answer the requests in `data`."""
    if data is None:
        _load(context)
        return []
    # A prediction that hangs, in whatever library, ends its worker; multi-model-server starts another.
    signal.alarm(int(os.environ["SERVE_INVOCATION_TIMEOUT"]))
    try:
        return _worker.answer(data, context)
    finally:
        signal.alarm(0)


def _load(context: Any) -> None:
    global _worker, _alive
    _log_to_stderr()
    try:
        from serve.worker import Worker

        _worker = Worker()
        _worker.load(context)
    except UserError as error:
        _report(context.model_name, error=str(error), trace="")
        raise
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        sentence = f"the model cannot be loaded ({reason}); the trace above says where"
        _report(context.model_name, error=sentence, trace=traceback.format_exc())
        raise
    _alive = _report(context.model_name, description=_worker.description)


def _log_to_stderr() -> None:
    """Let what a model's own code prints and logs be seen: only a worker's stderr reaches the container's log.

    Not what multi-model-server logs in here: a line and a metric for each request, a trace for each planned end.
    """

    def is_wanted(record: logging.LogRecord) -> bool:
        if record.name.startswith("mms"):
            return record.levelno >= logging.WARNING
        return record.module != "model_service_worker"

    stderr = logging.StreamHandler(sys.stderr)
    stderr.addFilter(is_wanted)
    stderr.addFilter(Repeats())
    logging.captureWarnings(True)
    # Else Python remembers the text of each warning, and strangers' pictures make ever new ones.
    warnings.simplefilter("always", UserWarning)
    logging.basicConfig(handlers=[stderr], format="%(levelname)s %(name)s: %(message)s", level=logging.INFO, force=True)
    sys.stdout = sys.stderr


def _report(model: str, **fields: str) -> socket.socket:
    """Tell the supervisor how this worker does. It counts the worker as alive while the connection stands."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["SERVE_WORKERS_SOCKET"])
    connection.sendall(json.dumps({"model": model, **fields}).encode() + b"\n")
    return connection
