"""The worker processes, as they report to the supervisor themselves.

A worker connects to a unix socket and keeps the connection as long as it lives, so that the kernel tells of its death
at once, however it came. It is given the file of its `serve.clock`, and sends lines of JSON:

    {"model": NAME}                                                          it begins to load its model
    {"model": NAME, "starter": PID, "description": SENTENCE, "info": {…}}    it has loaded and warmed up its model; or
    {"model": NAME, "error": SENTENCE, "trace": TEXT}                        it could not
    {"measured": {…}}                                                        now and then, see `serve.worker_metrics`
    {"description": SENTENCE, "info": {…}}                                   when it has gone on in another way
    {"error": SENTENCE}                                                      its model proved to be of no use: it ends
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socketserver import StreamRequestHandler
from typing import Any

from byoc_vision.contract.cgroup import kernel_kills
from serve import child, control
from serve.clock import Clock, shared_file

#: multi-model-server says that a model has loaded, or has not, at about the time its workers say so themselves.
_REPORT_SECONDS = 5

#: How long a model may be without a worker before it is given up, besides the time that loading it took; within a
#: minute multi-model-server tries about eight times.
LOST_SECONDS = 60


@dataclass(frozen=True)
class Failure:
    """Why a model could not be loaded: a sentence, and the trace where the sentence alone is not enough."""

    sentence: str
    trace: str = ""
    status: int = 400


class Workers:
    """The workers that are alive and have loaded and warmed up their model.

    `report(model, measured)` is called with what a worker has measured, `refuse(model, failure)` when one has found,
    after it was ready, that its model is of no use.
    """

    def __init__(
        self,
        path: Path,
        timeout: float,
        report: Callable[[str, dict[str, Any]], None],
        refuse: Callable[[str, Failure], None],
    ) -> None:
        self._lock = threading.Condition()
        self._timeout = timeout
        self._report = report
        self._refuse = refuse
        self._alive: Counter[str] = Counter()
        self._clocks: defaultdict[str, dict[Clock, int]] = defaultdict(dict)  # with the worker's process id
        self._overdue: set[Clock] = set()
        self._starters: defaultdict[str, set[int]] = defaultdict(set)
        self._failures: dict[str, Failure] = {}
        self._reports: dict[str, dict[str, Any]] = {}
        self._loading: set[str] = set()
        self._leaving: set[str] = set()
        self._kernel_kills = self._kills_before = kernel_kills()
        self._begun: dict[str, float] = {}
        self._last_alive: dict[str, float] = {}
        self._patience: dict[str, float] = {}
        #: How many have died while their model was to stay.
        self.deaths = 0
        control.serve(path, self._handler())

    def alive(self, model: str | None = None) -> int:
        """Return how many workers can answer, of `model` or of all models."""
        with self._lock:
            return self._alive.total() if model is None else self._alive[model]

    def busy(self, model: str | None = None) -> int:
        """Return how many workers are working on requests, of `model` or of all models."""
        with self._lock:
            models = [*self._clocks] if model is None else [model]
            return sum(clock.seconds > 0 for name in models for clock in self._clocks.get(name, ()))

    def models(self) -> dict[str, dict[str, str]]:
        """Return the names of the models that are loaded, with what is known of each: arch, form, device."""
        with self._lock:
            return {model: report["info"] for model, report in self._reports.items()}

    def processes(self, model: str | None = None) -> set[int]:
        """Return the ids of the workers, and of the processes that start them, of `model` or of all models."""
        with self._lock:
            models = [model] if model else {*self._starters, *self._clocks}
            held = [(self._starters.get(name, set()), self._clocks.get(name, {}).values()) for name in models]
            return {pid for starters, workers in held for pid in (*starters, *workers)}

    def lost_starter(self) -> str | None:
        """Return the name of a model whose process that starts workers is gone: it will never have another one."""
        with self._lock:
            for model, starters in self._starters.items():
                if not all(Path(f"/proc/{pid}").exists() for pid in starters):
                    return model
        return None

    def lost_model(self) -> tuple[str, str] | None:
        """Return the name of a model that is without a worker for too long, and the words for it; to be asked often.

        Where the kernel ends workers for want of memory, which would be short after a restart, too, none is lost.
        """
        now = time.monotonic()
        with self._lock:
            kills, self._kills_before = self._kills_before, kernel_kills()
            for model, since in self._last_alive.items():
                if self._alive[model] or self._kills_before > kills:
                    self._last_alive[model] = now
                elif now - since > self._patience[model]:
                    return model, f"no worker has been alive for {self._patience[model]:.0f} seconds"
        return None

    def end_overdue(self) -> None:
        """Kill each worker that works on a request for longer than the timeout; multi-model-server starts another."""
        with self._lock:
            overdue = [
                (clock, pid, model)
                for model, clocks in self._clocks.items()
                for clock, pid in clocks.items()
                if clock.seconds > self._timeout and clock not in self._overdue
            ]
            self._overdue.update(clock for clock, _, _ in overdue)
        for _, pid, model in overdue:
            print(f"worker {pid} of model {model} is ended: a request took over {self._timeout:g} s", file=sys.stderr)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def leave(self, model: str | None = None) -> None:
        """Expect the workers of `model`, or all, to end: nothing is said of it."""
        with self._lock:
            self._leaving |= {model} if model else set(self._reports)
            self._loading -= self._leaving
            for name in self._leaving:
                self._starters.pop(name, None)
                self._reports.pop(name, None)
                self._begun.pop(name, None)  # of one that could not be loaded
                self._last_alive.pop(name, None)
                self._patience.pop(name, None)

    def expect(self, model: str) -> None:
        """Expect workers of `model` to come, and to stay; forget how loading it failed before."""
        with self._lock:
            self._loading.add(model)
            self._begun[model] = time.monotonic()
            self._leaving.discard(model)
            self._failures.pop(model, None)

    def wait_for_description(self, model: str) -> str:
        """Return what the workers of `model`, which has been loaded, say of it, once one of them is alive."""
        with self._lock:
            self._loading.discard(model)
            now = self._last_alive[model] = time.monotonic()
            self._patience[model] = LOST_SECONDS + now - self._begun.pop(model, now)
            self._lock.wait_for(lambda: self._alive[model], timeout=_REPORT_SECONDS)
            return str(self._reports[model]["description"]) if model in self._reports else ""

    def wait_for_failure(self, model: str) -> Failure | None:
        """Return why loading `model` failed, if one of its workers says so within a few seconds."""
        with self._lock:
            self._lock.wait_for(lambda: model in self._failures, timeout=_REPORT_SECONDS)
            return self._failures.pop(model, None)

    def _handler(self) -> type[StreamRequestHandler]:
        workers = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                file = shared_file()
                try:
                    socket.send_fds(self.connection, [b"\0"], [file])
                    clock = Clock(file)
                finally:
                    os.close(file)
                report: dict[str, Any] = {}
                for line in self.rfile:
                    report = json.loads(line)
                    if "error" in report:
                        workers._fail(report["model"], Failure(report["error"], report["trace"]))
                        return
                    if "info" in report:
                        workers._follow(report, clock, self)
                        return
                if report:
                    workers._fail(report["model"], _ended_early(_peer(self.connection)))

        return Handler

    def _fail(self, model: str, failure: Failure) -> None:
        with self._lock:
            replaces = model in self._reports and model not in self._loading
            if not replaces:
                # multi-model-server ends the others when one has failed.
                self._failures.setdefault(model, failure)
                self._lock.notify_all()
        if replaces:  # nobody waits for what becomes of a worker that replaces another
            print(f"{failure.trace}a new worker of model {model} is of no use: {failure.sentence}", file=sys.stderr)

    def _follow(self, report: dict[str, Any], clock: Clock, stream: StreamRequestHandler) -> None:
        """Watch a worker until it ends."""
        model, pid = report["model"], _peer(stream.connection)
        with self._lock:
            # One that replaces another may come when its model has been told to leave.
            if model not in self._leaving:
                self._reports[model] = report
                self._starters[model].add(report["starter"])
            self._clocks[model][clock] = pid
            self._alive[model] += 1
            self._lock.notify_all()
        try:
            # Its last line may be cut off by its death.
            with contextlib.suppress(ConnectionError, ValueError):
                for line in stream.rfile:
                    note = json.loads(line)
                    if "measured" in note:
                        self._report(model, note["measured"])
                    elif "error" in note:
                        self._give_up(model, Failure(note["error"]))
                    else:
                        self._describe(model, note)
        finally:
            if clock not in self._overdue:
                self._tell(model, pid, clock.seconds > 0)
            with self._lock:
                self._overdue.discard(clock)
                self._alive[model] -= 1
                del self._clocks[model][clock]
                if not self._clocks[model]:  # there may be a thousand models in a container's life
                    del self._clocks[model], self._alive[model]
                self.deaths += model not in self._leaving

    def _give_up(self, model: str, failure: Failure) -> None:
        """Take the word of the first worker that says why its model is of no use: all of them will end."""
        with self._lock:
            known = model in self._leaving
            self.leave(model)
        if not known:
            self._refuse(model, failure)

    def _describe(self, model: str, note: dict[str, Any]) -> None:
        """Take what a worker says of its model from now on; it is told once for all workers."""
        with self._lock:
            if model not in self._reports or self._reports[model]["description"] == note["description"]:
                return
            self._reports[model] |= note
        print(f"model {model}: {note['description']}", file=sys.stderr)

    def _tell(self, model: str, pid: int, busy: bool) -> None:
        """Say that a worker has died, and why where the kernel counts it."""
        with self._lock:
            if model in self._leaving:
                return
            kills, self._kernel_kills = self._kernel_kills, kernel_kills()
            out_of_memory = self._kernel_kills > kills
        while_at = " while it worked on a request" if busy else ""
        why = ": the kernel killed it, for the container's memory was used up" if out_of_memory else child.ending(pid)
        print(f"worker {pid} of model {model} has died{while_at}{why}; another one is started", file=sys.stderr)


def _ended_early(pid: int) -> Failure:
    return Failure(
        f"the process that loads the model has ended{child.ending(pid)}; look in the model's own code, and in what it "
        "imports, for what ends it"
    )


def _peer(connection: socket.socket) -> int:
    """Return the id of the process at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid
