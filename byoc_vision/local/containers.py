"""The docker client: run it, look at containers, and leave nothing of them behind."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from byoc_vision.contract.errors import UserError, one_line

#: The label by which a serving container is found again; its value is the folder of the record it belongs to.
OWNER = "byoc-vision.owner"

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class NoDockerError(UserError):
    """Docker does not answer, whatever it is asked."""


def docker(*arguments: str) -> str:
    """Run the docker client; return what it printed, which is nothing where it failed."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NoDockerError(
            "there is no docker client on this machine; ./build.sh sees to one, or says what to install"
        ) from None
    return done.stdout.strip()


def answered(*arguments: str) -> str:
    """Run the docker client and return what it printed; a command that fails only without an engine.

    Raises `NoDockerError` then.
    """
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoDockerError(f"Docker does not answer ({one_line(done.stderr, None)}); start it and try again")
    return done.stdout.strip()


def checked(*arguments: str) -> None:
    """Run the docker client; raise `UserError` with what it said where it failed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"docker {arguments[0]} failed: {one_line(done.stderr, None)}")


@cache
def ready() -> None:
    """See to it that an engine and a client are there, as build.sh does; the client is first on PATH from then on.

    What that says on its way is printed; its last line, where it has failed, is the error's.
    """
    last = ""
    command = ["bash", str(Path(__file__).with_name("engine.sh"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as setup:
        assert setup.stdout is not None and setup.stderr is not None
        for line in setup.stderr:
            print(last, end="", file=sys.stderr, flush=True)
            last = line
        client = setup.stdout.read().strip()
    if setup.returncode != 0:
        raise NoDockerError(last.strip().removeprefix("engine.sh: ").rstrip(".") or "there is no Docker engine")
    print(last, end="", file=sys.stderr)
    os.environ["PATH"] = f"{Path(client).parent}:{os.environ['PATH']}"


def require(image: str) -> None:
    """Raise `UserError` where the machine does not have the image."""
    ready()
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=False)
    if done.returncode != 0 and "no such image" not in done.stderr.lower():
        raise NoDockerError(f"Docker does not answer ({' '.join(done.stderr.split())}); start it and try again")
    if done.returncode != 0:
        raise UserError(f"this machine has no image {image}; build it (this project's: ./build.sh) or pull it")


def labelled(label: str, value: str) -> list[str]:
    """Return the ids of all containers, running or not, with the label."""
    return docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}={value}").split()


def owned(folder: Path) -> list[str]:
    """Return the ids of the containers that belong to a record's folder.

    So do those of a folder of the same kind and name that is gone: it was moved here, or deleted.
    """
    return [container for container, owner in _owners() if owner == folder or _is_orphan(owner, folder)]


def orphans(kind: str) -> list[str]:
    """Return the names of the records of a kind that have containers and whose folders are gone."""
    return sorted({owner.name for _, owner in _owners() if _is_orphan(owner, owner) and owner.parent.name == kind})


def _owners() -> list[tuple[str, Path]]:
    """Return the containers that belong to a record, each with that record's folder."""
    wanted = f'{{{{.ID}}}} {{{{.Label "{OWNER}"}}}}'
    lines = docker("ps", "--all", "--no-trunc", "--filter", f"label={OWNER}", "--format", wanted).splitlines()
    return [(container, Path(owner)) for container, _, owner in (line.partition(" ") for line in lines)]


def _is_orphan(owner: Path, folder: Path) -> bool:
    return owner.parts[-2:] == folder.parts[-2:] and not owner.exists()


def running(container: str) -> bool:
    """Return whether the container runs."""
    return docker("inspect", "--format", "{{.State.Running}}", container) == "true"


def published_port(container: str) -> int:
    """Return the port of this machine that leads to the container's 8080."""
    wanted = '{{(index (index .HostConfig.PortBindings "8080/tcp") 0).HostPort}}'
    return int(docker("inspect", "--format", wanted, container))


def stop(*running: str, seconds: int) -> None:
    """Send SIGTERM to all at once and, `seconds` later, SIGKILL; return when they have ended."""
    docker("stop", "--time", str(seconds), *running)


def remove(container: str) -> None:
    """Remove the container with its volumes, running or not."""
    docker("rm", "--force", "--volumes", container)


def readable(line: str) -> str:
    """Return a printed line as a log has it: a progress bar is one line written over and over, the last counts."""
    return _ESCAPES.sub("", line).rstrip().rsplit("\r", 1)[-1]


def mount(source: Path, target: str, *, readonly: bool = False) -> list[str]:
    """Return the option of `docker run` by which a container has `source`, whatever its name, as `target`."""
    fields = ["type=bind", f"source={source}", f"target={target}", *(["readonly"] if readonly else [])]
    return ["--mount", ",".join('"{}"'.format(field.replace('"', '""')) for field in fields)]


def give_to_caller(image: str, *folders: Path) -> None:
    """Make what containers, running as root, left under the `folders` the caller's own."""
    user = os.getuid()
    strange = [folder for folder in folders if user and any(path.lstat().st_uid != user for path in folder.rglob("*"))]
    if strange:
        places = {f"/{i}": folder for i, folder in enumerate(strange)}
        mounts = [part for place, folder in places.items() for part in mount(folder, place)]
        docker("run", "--rm", "--entrypoint", "chown", *mounts, image, "-R", "-h", f"{user}:{os.getgid()}", *places)


def printed(container: str, since: str = "") -> list[tuple[str, str]]:
    """Return time and text of the lines the container has printed since the time (all: an empty text)."""
    command = ["docker", "logs", "--timestamps", *(["--since", since] if since else []), container]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    lines = (line.partition(" ") for line in done.stdout.decode(errors="replace").splitlines())
    # Sorted, because docker gives what went to stdout and to stderr one after the other.
    return sorted((when, readable(text)) for when, _, text in lines if when[:1].isdigit())
