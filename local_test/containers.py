"""What the trial needs of the docker client: look at containers, and leave nothing of them behind."""

import os
import subprocess
from datetime import datetime
from pathlib import Path


def docker(*arguments: str) -> str:
    """Run the docker client; return what it printed, which is nothing where it failed."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def image_bytes(image: str) -> int:
    """Return the size of an image in bytes."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def of_project(name: str) -> list[str]:
    """Return the ids of a compose project's containers, running or not."""
    return docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={name}").split()


def started(container: str) -> datetime:
    """Return when the engine last started the container."""
    return datetime.fromisoformat(docker("inspect", "--format", "{{.State.StartedAt}}", container))


def ended(container: str) -> bool:
    """Return whether the container has run and runs no more."""
    return docker("inspect", "--format", "{{.State.Status}}", container) in ("exited", "dead")


def give_to_caller(folder: Path, image: str) -> None:
    """Make what containers, running as root, left under `folder` the caller's own."""
    user = os.getuid()
    if any(path.lstat().st_uid != user for path in folder.rglob("*")):
        owner, volume = f"{user}:{os.getgid()}", f"{folder}:/folder"
        docker("run", "--rm", "--network", "none", "--volume", volume, image, "chown", "-R", owner, "/folder")
