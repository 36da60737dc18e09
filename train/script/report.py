"""The report on a job that ran a script: the rules over what smdebug's hook and the profile have recorded."""

import json
import logging
import subprocess
import sys
from pathlib import Path

from byoc_vision.contract.job import ASIDE, FACTS, REPORT, TENSORS

#: smdebug's configuration where the service gives none.
HOOK = Path(__file__).with_name("debughookconfig.json")

log = logging.getLogger(__name__)


def hook(root: Path) -> Path:
    """Return smdebug's configuration for the job below `root`: the service's, else the image's."""
    service = root / "input" / "config" / "debughookconfig.json"
    return service if service.exists() else HOOK


def tensors(configuration: Path, noted: Path) -> Path | None:
    """Return the folder of what smdebug's hook has recorded: the last that one `noted`, else the configured one."""
    places = noted.read_text(encoding="utf-8").splitlines()[::-1] if noted.exists() else []
    try:
        places.append(json.loads(configuration.read_text(encoding="utf-8"))["LocalPath"])
    except (OSError, ValueError, KeyError):
        log.warning("%s does not say where tensors are", configuration)
    return next((place for place in map(Path, [*places, TENSORS]) if place.is_dir()), None)


def write(output: Path, recorded: Path | None, begun: float) -> None:
    """Write the report, in a process of its own: what goes wrong there is said and costs the job nothing.

    `recorded` is the folder of tensors, if there is one. What the script itself has left under the report's names since
    `begun`, in seconds since 1970, stays as it is.
    """
    options = ["--tensors", str(recorded)] if recorded else []
    own = [name for name in (REPORT, FACTS) if (file := output / name).exists() and file.stat().st_mtime >= begun]
    if own:
        aside = output / ASIDE
        aside.mkdir(exist_ok=True)
        log.warning("the script has left %s itself; the job's report is in %s", " and ".join(own), aside)
        options += ["--to", str(aside)]
    subprocess.run([sys.executable, "-m", "byoc_vision.debugger", str(output), *options], check=False)
