"""What the user's code needs: the code itself where it is a package, and its requirements.txt, installed with pip."""

import logging
import os
import re
import sys
from pathlib import Path

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.source import NO_GIT
from train.script import command, process
from train.script.reason import pip_reason
from train.stopping import Stopped, StopSignal

FILE = "requirements.txt"

#: A requirement that is the code's own folder: `.`, `-e .`, `--editable=./`, `file:.`, `.[extra]`.
_ITSELF = re.compile(
    r"^[ \t]*(?:(?:-e|--editable)[ \t=]*)?(?:file:)?\./?(?:\[[^]]*\])?[ \t\r]*(?:[#;].*)?$", re.MULTILINE
)

#: What pip says where a package could not be built; and where that is for want of what it is built with.
_NOT_BUILT = re.compile("Failed to build|metadata-generation-failed")
_NO_TOOLS = re.compile("installing build dependencies did not run successfully|backend-unavailable")

#: Without it, pip fetches what a package is built with; with it, takes the image's setuptools, as without a network.
_TOOLS_OF_IMAGE = "--no-build-isolation"

#: With -P, modules of the code that are called as Python's own are not taken for these.
_PIP = (sys.executable, "-P", "-m", "pip", "install", "--disable-pip-version-check", "--root-user-action=ignore")

log = logging.getLogger(__name__)


def install(code: Path, stop: StopSignal) -> None:
    """Install what is needed, in the code's folder, where relative paths in requirements.txt begin.

    Raises `UserError` where that fails, and `Stopped` where a stop was asked for.
    """
    file = code / FILE
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    wanted = ["."] if command.is_package(code) and not _ITSELF.search(text) else []  # pip takes it only once
    if file.exists():
        wanted += ["-r", FILE]
    if not wanted:
        return
    wanted += _code_artifact()
    ended = _installed(wanted, code, stop)
    if ended.code:
        said = pip_reason(ended.errors)
        remedy = NO_GIT if "'git'" in said else f"check {FILE}, and that the job has a network or a package index in it"
        raise UserError(f"the code's requirements could not be installed: {said}; {remedy}")


def _installed(wanted: list[str], code: Path, stop: StopSignal) -> process.Ended:
    """Return how pip ended: with the tools of the image first where the code is a package, which setuptools builds."""
    ways = [[], [_TOOLS_OF_IMAGE]]
    first, second = reversed(ways) if command.is_package(code) else ways
    ended = _pip([*first, *wanted], code, stop)
    if ended.code == 0 or not (_NOT_BUILT if first else _NO_TOOLS).search(ended.errors):
        return ended
    log.warning("a package could not be built with %s tools", "the image's" if first else "fetched")
    again = _pip([*second, *wanted], code, stop)
    telling = [attempt for attempt in (again, ended) if attempt.code == 0 or not _NO_TOOLS.search(attempt.errors)]
    return telling[0] if telling else ended


def _pip(wanted: list[str], code: Path, stop: StopSignal) -> process.Ended:
    log.info("installing %s", " ".join(wanted))
    ended = process.run([*_PIP, *wanted], code, os.environ | {"PYTHONPATH": ""}, stop)
    if stop.requested:
        raise Stopped
    return ended


def _code_artifact() -> list[str]:
    """Return pip's option for the CodeArtifact repository that the job names, if it does."""
    from sagemaker_training import modules

    return ["-i", modules._get_codeartifact_index()] if os.getenv(modules.CA_REPOSITORY_ARN_ENV) else []
