"""Where a side runs: in one of the project's images, or with this machine's own Python where that has torch."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.machine import ROOT, gpu
from bench.results import BenchError


class Place(Protocol):
    """Runs a Python module to its end."""

    def run(self, module: str, *arguments: object) -> str:
        """Return what `python -m module arguments…` printed; raises `BenchError` when it fails."""
        ...


@dataclass(frozen=True)
class Here:
    """This machine's own Python."""

    def run(self, module: str, *arguments: object, **environment: str) -> str:
        """Run the module with the checkout as the program."""
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        return _run([sys.executable, "-m", module, *map(str, arguments)], module, environment)


@dataclass(frozen=True)
class Image:
    """One of the project's images, with bench/ added; it sees `reads` and may write to `writes`, at the same paths."""

    name: str
    reads: Sequence[Path]
    writes: Path

    def run(self, module: str, *arguments: object) -> str:
        """Run the module as the caller's own user, so that all files are the caller's."""
        container = f"byoc-vision-bench-{uuid.uuid4().hex[:12]}"
        options = ["--rm", "--init", "--name", container, "--user", f"{os.getuid()}:{os.getgid()}"]
        # Without an entry in the container's list of users, libraries ask for these two.
        options += ["--env", "HOME=/tmp", "--env", "USER=bench", *mount(self.writes, writable=True)]
        # What is below the writable folder is there already, and no path may be mounted twice.
        options += [option for path in self.reads if not path.is_relative_to(self.writes) for option in mount(path)]
        if gpu():
            options += ["--gpus", "all", "--shm-size", "8g"]
        command = ["docker", "run", *options, *bench_mount(), self.name, "python", "-m", module, *map(str, arguments)]
        try:
            return _run(command, module)
        except KeyboardInterrupt:
            subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=False)
            raise


def mount(path: Path, writable: bool = False) -> list[str]:
    """Return the options that show `path` to a container at the same place."""
    return ["--volume", f"{path}:{path}" + ("" if writable else ":ro")]


def bench_mount() -> list[str]:
    """Return the options that add this package to an image's program."""
    return ["--volume", f"{ROOT / 'bench'}:/opt/program/bench:ro"]


def build(target: str) -> str:
    """Return the image `target` of this checkout, built if need be."""
    if subprocess.run([ROOT / "build.sh", target]).returncode != 0:
        raise BenchError(f"the image {target} was not built; the lines above say why")
    return f"byoc-vision-{target}:latest"


def has_docker() -> bool:
    """Return whether there is a Docker client here."""
    return shutil.which("docker") is not None


def has_torch() -> bool:
    """Return whether this Python could run the image's programs itself."""
    return importlib.util.find_spec("torch") is not None


def figures(printed: str) -> Any:
    """Return what a module of `bench.inside` has measured: its last line, as JSON."""
    return json.loads(printed.splitlines()[-1])


def _run(command: Sequence[str], module: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise BenchError(f"{module} failed, the lines above say where ({said[:300]})")
    return done.stdout
