"""The command that runs a program: as sagemaker-training would, but without a shell in between, which keeps signals."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from byoc_vision.contract.errors import UserError

#: Where this project's own modules are.
_PROGRAM = Path(__file__).resolve().parents[2]

#: Where the processes of several hosts meet.
_PORT = 7777


@dataclass(frozen=True)
class Hosts:
    """The hosts that share a program: their names, this one's place among them, its GPUs and its network interface."""

    names: Sequence[str]
    place: int
    gpus: int
    interface: str


def is_package(code: Path) -> bool:
    """Return whether the code is a package, which is installed, and its program a module of it."""
    return (code / "setup.py").exists()


def command(program: Path, code: Path, arguments: Sequence[str]) -> list[str]:
    """Return the command of a program on one host."""
    if program.suffix == ".sh" or not (is_package(code) or program.suffix == ".py" or program.is_dir()):
        program.chmod(program.stat().st_mode | 0o100)
        # The shell starts a script without a first line for it, too, and gives way to it.
        return ["/bin/sh", "-c", 'exec "$0" "$@"', str(program), *arguments]
    return [sys.executable, *_target(program, code), *arguments]


def torchrun(program: Path, code: Path, arguments: Sequence[str], hosts: Hosts) -> list[str]:
    """Return the command that starts a process of the program for each GPU of this host, or one on its CPU."""
    if program.suffix != ".py":
        raise UserError(f"torchrun starts Python files and {program.name} is none; name one as entry point")
    options = [f"--nnodes={len(hosts.names)}", f"--nproc-per-node={max(1, hosts.gpus)}"]
    if len(hosts.names) > 1:
        options += [f"--node-rank={hosts.place}", f"--master-addr={hosts.names[0]}", f"--master-port={_PORT}"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *_target(program, code), *arguments]


def network(hosts: Hosts) -> dict[str, str]:
    """Return the variables by which a program's processes find each other: where they meet, and over which network.

    They are set whoever starts the processes, for programs call `init_process_group` with no more than their rank.
    """
    if len(hosts.names) == 1:
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_PORT)}
    variables = {"MASTER_ADDR": hosts.names[0], "MASTER_PORT": str(_PORT)}
    if Path("/sys/class/net", hosts.interface).exists():
        variables |= {"GLOO_SOCKET_IFNAME": hosts.interface, "NCCL_SOCKET_IFNAME": hosts.interface}
    return variables


def environment(variables: Mapping[str, str], code: Path) -> dict[str, str]:
    """Return the program's environment: the container's, SageMaker's `variables`, and its own modules to import.

    Those of the job's own PYTHONPATH are among them, this project's are not: they have names that users' modules have.
    """
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [str(code), *(place for place in places if place and Path(place).resolve() != _PROGRAM)]
    return os.environ | dict(variables) | {"PYTHONPATH": os.pathsep.join(path)}


def _target(program: Path, code: Path) -> list[str]:
    """Return Python's arguments for the program: its file, or its module where it belongs to a package."""
    name = program.relative_to(code)
    is_module = is_package(code) or (program / "__init__.py").exists()
    return ["-m", ".".join(name.with_suffix("").parts)] if is_module else [str(name)]
