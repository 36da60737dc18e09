"""Install what the requirements.txt beside the user's code names, before the workers of its model start.

Each model has an environment of its own on top of the image's: what the image has is not fetched again, and another
version hides it from that model only.
"""

import os
import re
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.source import NO_GIT
from serve import child

REQUIREMENTS = "requirements.txt"

_SITE = "SERVE_SITE"

#: Where Debian keeps the pip that makes virtual environments.
_WHEELS = Path("/usr/share/python-wheels")

#: pip asks an index that is not there six times, for a minute and a half in all; the user may set another number.
_RETRIES = {"PIP_RETRIES": "1"}


def use(site: Path) -> None:
    """Let what was installed for the model in `site`, if anything was, come before what the image has.

    It does so in the Python processes of ours that this one starts, too, once they `inherit` it.
    """
    if site.is_dir():
        sys.path.insert(sys.path.index(sysconfig.get_path("purelib")), str(site))
        os.environ[_SITE] = str(site)


def inherit() -> None:
    """Use what the process that started this one does."""
    if _SITE in os.environ:
        use(Path(os.environ[_SITE]))


def site(environment: Path) -> Path:
    """Return the folder of an environment from which Python imports."""
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def install(requirements: Path, environment: Path, seconds: float) -> str:
    """Install what is named in `requirements` into the new folder `environment`; return what that was.

    Raises `UserError`, with the package that is missing, where it cannot be done, or not within so many seconds.
    """
    shutil.rmtree(environment, ignore_errors=True)
    venv.EnvBuilder(symlinks=True).create(environment)
    (site(environment) / "image.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    (wheel,) = _WHEELS.glob("pip-*.whl")
    pip = (str(environment / "bin" / "python"), str(wheel / "pip"), "--no-input", "--disable-pip-version-check")
    command = [*pip, "install", "--no-cache-dir", "-r", str(requirements)]
    try:
        lines, status = child.run(command, seconds, requirements.parent, {**_RETRIES, **os.environ})
    except TimeoutError as error:
        raise _failed(requirements, str(error)) from None
    if status != 0:
        # At an exception of its own, pip's last line is the exception.
        told = "ERROR: (?!ResolutionImpossible|Exception:$)"
        reasons = [line.removeprefix("ERROR: ") for line in lines if re.match(told, line)]
        reason = reasons[-1] if reasons else " ".join(lines[-1:])
        if any(re.search("connection broken|ConnectionError|Network is unreachable", line) for line in lines):
            reason += " at a package index that cannot be reached from here"
        raise _failed(requirements, reason)
    installed = [line for line in lines if line.startswith("Successfully installed ")]
    return installed[-1].removeprefix("Successfully installed ") if installed else "nothing, for the image has it"


def _failed(requirements: Path, reason: str) -> UserError:
    code = requirements.parent.name
    remedy = f"correct it, put the package into {code}/lib, or build an image that has it"
    remedy = NO_GIT if "'git'" in reason else remedy
    return UserError(f"{code}/{REQUIREMENTS} cannot be installed: {reason[:300]}; {remedy}")
