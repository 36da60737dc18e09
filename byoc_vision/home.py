"""Where this project keeps what it remembers on this machine: the images that were pushed, the local engine's jobs."""

import os
from pathlib import Path

from byoc_vision.contract.errors import UserError


def find() -> Path:
    """Return the folder: BYOC_HOME's, else the nearest `.byoc` from the current folder upward, else `~/.byoc`."""
    if chosen := os.environ.get("BYOC_HOME"):
        return Path(chosen).absolute()
    here = Path.cwd()
    for at in (here, *here.parents):
        if (at / ".byoc").is_dir():
            return at / ".byoc"
    try:
        return Path.home() / ".byoc"
    except RuntimeError:
        raise UserError("this user has no home folder; set BYOC_HOME to a folder of your own") from None


def local() -> Path:
    """Return the folder of the local engine's jobs: BYOC_LOCAL's, else `local` in the folder of all."""
    return Path(os.environ.get("BYOC_LOCAL") or find() / "local").absolute()


def make(folder: Path) -> None:
    """Make the folder, unknown to git. Raises `UserError` where the place is read-only."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ".gitignore").exists():
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        reason, variable = error.strerror or error, "BYOC_LOCAL" if os.environ.get("BYOC_LOCAL") else "BYOC_HOME"
        raise UserError(f"{folder} cannot be written ({reason}); set {variable} to a folder of your own") from None
