"""Background processes: one sees one record through, and outlives the program that asked for it.

python -m byoc_vision.local.process ROOT KIND NAME
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from byoc_vision.local import containers
from byoc_vision.local.store import Lock, Record, ServiceError, Store
from byoc_vision.refusals import sentence

#: Kind -> the module whose `run` sees it through, and the status fields it reports with.
_RUNNERS = {
    "training-job": ("byoc_vision.local.run_training", "TrainingJob"),
    "hyper-parameter-tuning-job": ("byoc_vision.local.run_tuning", "HyperParameterTuningJob"),
    "transform-job": ("byoc_vision.local.transform", "TransformJob"),
    "processing-job": ("byoc_vision.local.processing", "ProcessingJob"),
    "endpoint": ("byoc_vision.local.fleets", "Endpoint"),
}

#: The kinds of records that a process sees through.
KINDS = tuple(_RUNNERS)

#: Why a job has failed whose process is gone.
KILLED = "InternalServerError: the process that ran the job was killed, or the machine was restarted"


def start(record: Record, lock: Lock) -> None:
    """Start the process that sees the record through, and hand it the lock."""
    command = [sys.executable, "-m", __name__, str(record.store.root), record.kind, record.name]
    with lock, (record.folder / "process.log").open("a") as log:
        containers.ready()
        subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # neither Ctrl-C nor the terminal's end reaches it
            pass_fds=[lock.descriptor],
        )


@contextlib.contextmanager
def woken_by_children() -> Iterator[Callable[[float], None]]:
    """Yield what waits for so many seconds, or until a process has ended that this one has started."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    handler = signal.signal(signal.SIGCHLD, lambda *_: None)  # Python's, for without one nothing is written
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def wait(seconds: float) -> None:
        select.select([reader], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(reader, 4096)

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGCHLD, handler)
        os.close(reader)
        os.close(writer)


def main() -> None:
    """See the record through that the command line names; whatever happens, its status says how it ended."""
    from importlib import import_module

    root, kind, name = sys.argv[1:]
    record = Record(Store(Path(root)), kind, name)
    module, field = _RUNNERS[kind]
    try:
        import_module(module).run(record)
    except BaseException as error:
        said = str(error) if isinstance(error, ServiceError) or not isinstance(error, Exception) else sentence(error)
        reason = said or f"InternalServerError: {type(error).__name__}: {error}"
        with contextlib.suppress(Exception):  # when the record itself is gone
            record.update(**{f"{field}Status": "Failed", "SecondaryStatus": "Failed", "FailureReason": reason[:1024]})
        raise
    finally:
        record.store.sweep(kind)


if __name__ == "__main__":
    os.umask(0o022)
    main()
