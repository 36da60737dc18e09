"""A job that names a program: fetch its code, install what it needs, run it, and leave a report whatever came of it."""

import logging
import os
import shlex
import shutil
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sagemaker_training.environment import Environment

from byoc_vision.contract import job as contract
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.program import check
from train.record.utilisation import Profiler, gpu_names
from train.script import command, process, report, request, requirements, source
from train.script.advice import advice
from train.script.curves import Curves
from train.script.process import Ended
from train.script.reason import lacks_shared_memory, reason
from train.stopping import Stopped, StopSignal

#: Seconds that the other hosts have until their names are known.
_PATIENCE = 300

log = logging.getLogger(__name__)


class ScriptError(UserError):
    """The user's program has failed."""


@dataclass(frozen=True)
class Script:
    """The job's program below `root`, which is laid out like /opt/ml; calling it runs it.

    Raises `UserError` where it cannot be run, `ScriptError` where it fails, and `Stopped` where it was asked to stop.
    """

    root: Path
    program: str
    asked: Mapping[str, Any]
    stop: StopSignal

    def __call__(self) -> None:
        host = Environment()
        output, curves, begun = Path(host.output_data_dir), Curves(), time.time()
        with TemporaryDirectory() as scratch:
            noted, uncaught = Path(scratch) / "tensors", Path(scratch) / "uncaught"
            if host.current_host != host.hosts[0]:
                self._run(host, curves, uncaught, {})
                return
            try:
                with Profiler(output / contract.PROFILE, gpu_names(), resumes=False) as profiler:
                    profiler.note(program=self.program, **contract.named(os.environ))
                    self._run(host, curves, uncaught, {contract.NOTED: str(noted)})
            finally:
                curves.write(output / contract.PROFILE / contract.CURVES)
                report.write(output, report.tensors(report.hook(self.root), noted), begun)
        model = self.root / "model"
        if not (model.is_dir() and any(model.iterdir())):  # `python train.py | tee log` ends well in any case
            log.warning("%s left nothing in %s, so the job's model is empty", self.program, model)

    def _run(self, host: Environment, curves: Curves, uncaught: Path, more: Mapping[str, str]) -> None:
        together = request.torchrun(self.asked) and host.current_host in host.distribution_hosts
        code, place = self.root / "code", request.place(self.asked, self.root)
        source.fetch(place, code)
        where = str(code) if Path(place) == code else f"{place}, copied to {code}"
        program = code / check(self.program, code, where)
        requirements.install(code, self.stop)
        # Of several groups of hosts, only some may be torchrun's.
        names = host.distribution_hosts if together else host.hosts
        hosts = command.Hosts(names, names.index(host.current_host), int(host.num_gpus), host.network_interface_name)
        start = partial(command.torchrun, hosts=hosts) if together else command.command
        line = start(program, code, host.to_cmd_args())
        variables = host.to_env_vars() | {
            "SM_MODULE_DIR": place,
            "SMDEBUG_CONFIG_FILE_PATH": str(report.hook(self.root)),
            contract.UNCAUGHT: str(uncaught),
            **command.network(hosts),
            **more,
        }
        _await_names([name for name in host.hosts if name != host.current_host], self.stop)
        log.info("running in %s: %s", code, shlex.join(line))
        environment = command.environment(variables, code)
        shell = line[0] == "/bin/sh"
        ended = process.run(line, code, environment, self.stop, curves.read, whole_group=shell)
        # Where the image's own Python has run nothing, nothing can have been noted.
        self._judge(ended, code, not uncaught.exists() or uncaught.stat().st_size > 0)

    def _judge(self, ended: Ended, code: Path, uncaught: bool) -> None:
        if self.stop.requested:
            log.info("%s was asked to stop and ended with %s", self.program, _code(ended.code))
            raise Stopped
        if ended.code == 0:
            return
        said = reason(ended.errors, str(code), uncaught)
        if not said and ended.code > 0:  # much is logged to stdout
            said = reason(ended.output, str(code), uncaught)
        said += advice(said, self.root / "input" / "data")
        if ended.out_of_memory or ended.code == -signal.SIGKILL:
            said = "the kernel killed it for memory; take smaller batches, fewer loader workers or a larger instance"
            said = said if ended.out_of_memory else f"most likely {said}"
        elif ended.code == -signal.SIGBUS or lacks_shared_memory(said):
            room = shutil.disk_usage("/dev/shm").total >> 20
            said = f"{said}; " if said else ""
            said += (
                f"its processes share tensors in /dev/shm, which has {room} MB here; take fewer loader workers or "
                "smaller batches, or give docker run --shm-size=8g"
            )
        raise ScriptError(f"{self.program} ended with {_code(ended.code)}{f': {said}' if said else ''}")


def _await_names(names: list[str], stop: StopSignal, patience: float = _PATIENCE) -> None:
    """Wait until the other hosts can be reached by their names, which takes a while in a cluster that begins."""
    until = time.monotonic() + patience
    for name in names:
        while True:
            if stop.requested:
                raise Stopped
            try:
                socket.gethostbyname(name)
                break
            except OSError as error:
                if time.monotonic() >= until:
                    raise UserError(
                        f"the host {name} has had no address for {patience:.0f} s ({error.strerror}); see to it that "
                        "the job's hosts can reach one another"
                    ) from None
            time.sleep(1)


def _code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.strsignal(-code)})"
