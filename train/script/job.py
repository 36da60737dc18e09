"""A job that names a program: fetch its code, install what it needs, run it, and leave a report whatever came of it."""

import logging
import os
import re
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
from byoc_vision.contract.folders import text
from byoc_vision.contract.program import check
from train.record.utilisation import Profiler, gpu_names
from train.script import command, process, report, request, requirements, source
from train.script.curves import Curves
from train.script.process import Ended
from train.script.reason import lacks_shared_memory, reason
from train.stopping import Stopped, StopSignal

#: Names in a folder that a message tells.
_NAMED = 6

#: Seconds that the other hosts have until their names are known.
_PATIENCE = 300

#: What to do about what comes of how a program is run, by a pattern of what is said.
_ADVICE = {
    r"ModuleNotFoundError: No module named '(smdistributed|torch_xla)\b": "it is only in AWS's own images: use "
    "torch.distributed, with the estimator's "
    'distribution={"torch_distributed": {"enabled": True}}',
    r"ModuleNotFoundError: No module named '\w+\.|AttributeError: module '[\w.]+' has no attribute": "what it is part "
    "of is there, perhaps in another version: requirements.txt can name the one that the program was written for",
    r"ModuleNotFoundError|.*No module named": "name its package in requirements.txt, or put the module beside the "
    "program",
    r"KeyError: 'SM_CHANNEL_": "the job has no channel of that name: give its data one, --data NAME=FOLDER",
    r"TypeError: expected str, bytes or os\.PathLike object, not NoneType": "a path is None, as a channel's is "
    "that the job does not have: give its data that name, --data NAME=FOLDER",
    r"NameError: name 'get_ipython'": "the program was a notebook: remove its magic commands (%…, !…)",
    r"ImportError: attempted relative import": "the program is run as a file: import by full names, or name the "
    "package's folder with __main__.py",
    r"terminate called without an active exception": "a thread still ran at its end, as gloo's may: let the program "
    "call torch.distributed.destroy_process_group() last",
    r".*(Found no NVIDIA driver|No CUDA GPUs are available|no GPUs found!)": "the machine has no GPU: take an instance "
    'type that has one, or let the program take "cuda" only where torch.cuda.is_available()',
    r"_pickle\.UnpicklingError: Weights only load failed": "give torch.load weights_only=False, if you trust the file",
    r"smdebug\.exceptions\.SMDebugRuntimeError: The path:.* already exists": "a hook has recorded there and ended: "
    "make one hook in a job, or give the second an out_dir of its own",
    r"(urllib\.error\.URLError|requests\.exceptions\.ConnectionError)": "in an isolated network what the program "
    "fetches is given as a channel",
    r"\S+: (line )?\d+: .+: (command )?not found$": "the image has no such command: name its package in "
    "requirements.txt, or do it in Python",
    r".*error: unrecognized arguments:( ([Tt]rue|[Ff]alse)?)+$": "hyperparameters are passed on as --name value, so "
    "let the option take a value, in place of action='store_true'",
    r".*error: unrecognized arguments: --": "hyperparameters are passed on by their names: name them as the program's "
    "options are spelled (--batch-size is not --batch_size)",
}

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
        said += _missing(said, self.root / "input" / "data")
        said += next((f"; {advice}" for pattern, advice in _ADVICE.items() if re.match(pattern, said)), "")
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


def _missing(said: str, data: Path) -> str:
    """Return what there is in place of the file or folder below the channels that an exception did not find, if any."""
    named = re.match(rf"(?:FileNotFoundError|NotADirectoryError): .*'{re.escape(str(data))}/+([^']+)'", said)
    if named is None:
        return ""
    place = data / named[1]
    there = next(folder for folder in place.parents if folder.is_dir() or folder == data)
    names = [name for name in sorted(os.listdir(there)) if not name.startswith(".")] if there.is_dir() else []
    held = ", ".join(map(text, names[:_NAMED])) + (", …" if len(names) > _NAMED else "") or "nothing"
    if there == data:
        channel = place.relative_to(data).parts[0]
        return f"; the job has no channel {channel}, but {held}: give its data that name, --data {channel}=FOLDER"
    return f"; {text(there)} holds {held}: let the program read that, or give another folder as the channel"


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
