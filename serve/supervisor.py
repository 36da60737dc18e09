"""PID 1 of the serving container: starts nginx and multi-model-server, loads the model, answers for their health."""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from byoc_vision.contract.cgroup import kernel_kills
from byoc_vision.contract.errors import UserError, one_line
from serve import (
    child,
    config,
    control,
    model_server,
    multi_model,
    packages,
    privileges,
    records,
    scratch,
    submitted,
    user_code,
)
from serve.config import MODEL_NAME
from serve.control import Answer
from serve.memory import MB
from serve.metrics import Metrics
from serve.settings import Settings
from serve.workers import Failure, Workers

#: SageMaker kills a container 30 s after SIGTERM; requests under way get most of that.
DRAIN_SECONDS = 20
STOP_SECONDS = 5

#: glibc's allocator: few pools, for each keeps what was freed in it; and pictures, but not a network's smaller arrays,
#: go back to the kernel at once (left to itself it learns from their sizes to keep them, and clears each anew).
_ALLOCATOR = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(16 * MB),
    "MALLOC_TRIM_THRESHOLD_": str(64 * MB),
}


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Exited:
    """A child process, ours or adopted, is gone."""

    pid: int
    status: int


class Stop:
    """SIGTERM or SIGINT."""


class Supervisor:
    """Runs one container's life: `run` returns its exit status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runtime = scratch.folder()
        # nginx, started as root, works as nobody: it may reach its two sockets in here, and see nothing else.
        self._runtime.chmod(0o711)
        self._events: queue.SimpleQueue[Exited | Stop | Failure] = queue.SimpleQueue()
        self._metrics = Metrics()
        self._workers = Workers(
            self._runtime / "workers.sock", settings.invocation_timeout, self._metrics.observe_work, self._refuse
        )
        self._client = model_server.Client(self._runtime / "mms.sock")
        self._models = multi_model.Models(settings, self._client, self._workers, self._runtime, self._metrics.forget)
        self._running: dict[int, str] = {}
        self._starter = 0
        os.environ[submitted.FOLDER_VARIABLE] = str(self._runtime / "code")
        self._state = State.STARTING
        self._started = time.monotonic()

    def run(self) -> int:
        """Serve until SIGTERM, then finish what is under way and return 0.

        Raises `UserError` with the reason when the model cannot be loaded, its workers do not come back, or one of the
        two programs ends.
        """
        log, log_written = os.pipe()
        threading.Thread(target=self._metrics.read_requests, args=(log,), daemon=True).start()
        # The file is the pipe's, by the number that nginx inherits.
        try:
            config.write(self._settings, self._runtime, f"/dev/fd/{log_written}", privileges.nginx_user())
        except OSError as error:
            raise UserError(f"temporary files cannot be written ({error}); give /tmp at least 1 MB") from error
        control.serve_http(self._runtime / "control.sock", self._answer)
        (self._runtime / "control.sock").chmod(0o666)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._events.put(Stop()))
        # What is set for a container of multi-model-server alone; one names another file than that with our settings.
        for name in [name for name in os.environ if name.startswith("MMS_")]:
            del os.environ[name]
        environment = self._environment()
        # First what takes longest. It is none of `_running`: what multi-model-server starts does without it.
        if self._imports_early():
            environment[model_server.STARTER_VARIABLE] = str(self._runtime / "starter.sock")
            self._starter = _start(model_server.starter(MODEL_NAME, self._settings.model_dir), [], **environment)
        mms = _start(model_server.command(self._settings, self._runtime), [], **environment)
        os.environ.pop("NGINX", None)  # in which it looks for files that it is to take for sockets
        nginx = _start(
            ["nginx", "-e", "stderr", "-p", str(self._runtime), "-c", str(self._runtime / "nginx.conf")], [log_written]
        )
        self._running = {nginx: "nginx", mms: "multi-model-server"}
        threading.Thread(target=self._reap, daemon=True).start()
        threading.Thread(target=self._load, daemon=True).start()
        try:
            self._watch()
            self._stop(nginx, signal.SIGQUIT, DRAIN_SECONDS)
            self._workers.leave()
            self._stop(mms, signal.SIGTERM, STOP_SECONDS)
            self._end_workers()
            return 0
        except UserError:
            self._state = State.FAILED
            self._workers.leave()
            # Both are silenced before the reason is told, which is then the log's last line.
            self._stop(nginx, signal.SIGKILL, STOP_SECONDS)
            self._stop(mms, signal.SIGKILL, STOP_SECONDS)
            self._end_workers()
            raise
        finally:
            shutil.rmtree(self._runtime, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        """Return the variables of multi-model-server and its workers that are not this process' own."""
        return {
            # torch asks for the user's name, and fails for a user id that has none.
            "USER": os.environ.get("USER", "serve"),
            # The workers are this program's, whatever the user adds.
            "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))),
            # Where libraries keep what they have fetched; root's own home is closed to the user that this has become.
            "HOME": _home(self._runtime / "home"),
            **_ALLOCATOR,
            "PYTHONIOENCODING": "utf-8",  # which multi-model-server reads
            "OMP_NUM_THREADS": str(self._settings.threads),
            "SERVE_WORKERS_SOCKET": str(self._runtime / "workers.sock"),
            records.SHARED_VARIABLE: str(self._runtime / "forms"),
            "SERVE_WORKERS": str(self._settings.workers),
            "SERVE_PACKAGES": str(self._runtime / "packages"),
            "BYOC_PRECISION": self._settings.precision,
            "BYOC_MIN_PROBABILITY": str(self._settings.min_probability),
            "BYOC_HEAT_MAPS": str(self._settings.heat_map_cells),
            **self._memory(),
            "SERVE_PATIENCE": str(self._settings.patience),
            "SERVE_MAX_ANSWER_BYTES": str(self._settings.max_request_bytes),
        }

    def _imports_early(self) -> bool:
        """Tell whether what the workers will import is known: there is one model, without code or packages of its own.

        Code that has yet to be fetched, or installed, may hide the image's modules.
        """
        try:
            if self._settings.multi_model or submitted.place(os.environ):
                return False
            code = user_code.folder(self._settings.model_dir)
            return not ((code / user_code.program()).exists() or (code / packages.REQUIREMENTS).exists())
        except OSError:  # loading the model fails at it, too, and says what to do
            return False

    def _memory(self) -> dict[str, str]:
        """What a worker may take, for the workers' environment: with its model or, of many models, for a request."""
        if self._settings.multi_model:
            return {"SERVE_DECODING_BYTES": str(self._settings.request_bytes)}
        return {"SERVE_WORKER_BYTES": str(self._settings.worker_bytes)}

    def _watch(self) -> None:
        """Return at SIGTERM; raise `UserError` when there is nothing left to serve with."""
        while True:
            try:
                event = self._events.get(timeout=1)
            except queue.Empty:
                event = None
            self._check_workers()
            self._wake()
            if event is None:
                continue
            if isinstance(event, Stop):
                return
            if isinstance(event, Failure):
                print(event.trace, end="", file=sys.stderr)
                raise UserError(event.sentence)
            program = self._running.pop(event.pid, None)
            if program:
                if event.status == signal.SIGKILL and kernel_kills():
                    advice = "the container's memory is used up, give it more"
                elif self._state is State.STARTING:
                    advice = "the lines above may say why"
                else:
                    advice = "restart the container"
                raise UserError(f"{program} ended unexpectedly ({child.meaning(event.status)}); {advice}")

    def _check_workers(self) -> None:
        self._workers.end_overdue()
        lost = self._workers.lost_starter()
        if lost and self._settings.multi_model:
            self._models.lose(lost, "the process that starts its workers has died")
        elif lost:
            raise UserError(f"the process that starts the workers of model {lost} has died; restart the container")
        name, why = self._workers.lost_model() or (None, "")
        if name and self._settings.multi_model:
            self._models.lose(name, why)
        elif name:
            raise UserError(f"{why}; restart the container")

    def _wake(self) -> None:
        """Let programs and workers go on that somebody has stopped; to all others the signal is nothing.

        They would keep the requests they are given, and nobody would hear of it.
        """
        for group in filter(None, (*self._running, self._starter)):
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGCONT)

    def _refuse(self, model: str, failure: Failure) -> None:
        """Serve no more with a model that has proved to be of no use."""
        if self._settings.multi_model:
            self._models.lose(model, failure.sentence)
        else:
            self._events.put(failure)

    def _load(self) -> None:
        """Make the container ready, or put into the queue why it cannot be."""
        try:
            failure = self._make_ready()
        except UserError as error:
            failure = Failure(str(error))
        except OSError as error:  # of what the environment or the model names and this user may not look at, say
            reason = one_line(error, 300)
            failure = Failure(f"the model cannot be loaded ({reason}); let every user read its files and its code")
        if failure:
            self._events.put(failure)

    def _make_ready(self) -> Failure | None:
        while not self._client.is_up():
            time.sleep(0.005)
        (self._runtime / "mms.sock").chmod(0o666)
        if archive := submitted.place(os.environ):
            submitted.fetch(archive, self._runtime / "code", self._settings.startup_timeout)
            print(f"the code of the model is that at {archive}", file=sys.stderr)
        if not self._settings.multi_model:
            failure = self._models.load(MODEL_NAME, self._settings.model_dir)
            if failure:
                return failure
        self._state = State.READY
        settings, seconds = self._settings, time.monotonic() - self._started
        print(
            f"ready after {seconds:.1f} s: port {settings.port}, "
            f"{'multi-model, ' if settings.multi_model else ''}workers {settings.workers}, "
            f"threads per worker {settings.threads}, requests at once {settings.batch_size}, "
            f"request limit {settings.max_request_bytes // MB} MB, queue {settings.memory.requests}, "
            f"timeout {settings.invocation_timeout} s, heap {settings.memory.heap_bytes // MB} MB",
            file=sys.stderr,
        )
        return None

    def _answer(self, method: str, path: str, body: bytes) -> Answer:
        route = path.partition("?")[0]
        if route == "/metrics":
            return 200, self._metrics.text(self._workers, self._runtime / "status.sock")
        if route == "/ping":
            alive = self._workers.alive()
            state = self._state
            if state is State.READY and not alive and not self._settings.multi_model:
                state = State.STARTING
            return (200 if state is State.READY else 503), {"state": state, "workers": alive}
        return self._models.answer(method, path, body)

    def _reap(self) -> None:
        """Wait for every child, also those that dead processes leave to PID 1."""
        while True:
            try:
                self._events.put(Exited(*os.waitpid(-1, 0)))
            except ChildProcessError:
                return

    def _stop(self, pid: int, number: signal.Signals, seconds: float) -> None:
        """Send a program a signal and wait until it is gone; after `seconds` it is killed with all it has started."""
        with contextlib.suppress(ProcessLookupError):
            if number is not signal.SIGKILL:
                os.kill(pid, number)
                self._wait(pid, seconds)
            # Also when it has ended: nginx's and multi-model-server's own children may outlive them.
            os.killpg(pid, signal.SIGKILL)
        self._wait(pid, STOP_SECONDS)

    def _end_workers(self) -> None:
        """Kill what the early starter has started, which is not of multi-model-server's group of processes."""
        if self._starter:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._starter, signal.SIGKILL)

    def _wait(self, pid: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while pid in self._running and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
                if isinstance(event, Exited):
                    self._running.pop(event.pid, None)


def _home(other: Path) -> str:
    """Return the folder that is HOME already, or `other` where nothing can be written to that."""
    home = os.environ.get("HOME", "")
    return home if os.access(home, os.W_OK | os.X_OK) else str(other)


def _start(command: list[str], inherited: list[int], **environment: str) -> int:
    """Start a program in a session of its own, out of reach of the terminal's Ctrl-C; return its process id.

    It inherits the file descriptors `inherited`.
    """
    program = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=inherited,
    )
    # It is the supervisor that waits for it: what is left to itself, the next `Popen` waits for, and tells nobody.
    program.returncode = 0
    return program.pid
