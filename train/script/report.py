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


def write(output: Path, configuration: Path, begun: float) -> None:
    """Write the report, in a process of its own: what goes wrong there is said and costs the job nothing.

    What the script itself has left under the report's names since `begun`, in seconds since 1970, stays as it is.
    """
    try:
        tensors = Path(json.loads(configuration.read_text(encoding="utf-8"))["LocalPath"])
    except (OSError, ValueError, KeyError):
        tensors = Path(TENSORS)
    if not tensors.is_dir():  # a hook that the script made itself
        tensors = Path(TENSORS)
    options = ["--tensors", str(tensors)] if tensors.is_dir() else []
    own = [name for name in (REPORT, FACTS) if (file := output / name).exists() and file.stat().st_mtime >= begun]
    if own:
        aside = output / ASIDE
        aside.mkdir(exist_ok=True)
        log.warning("the script has left %s itself; the job's report is in %s", " and ".join(own), aside)
        options += ["--to", str(aside)]
    subprocess.run([sys.executable, "-m", "byoc_vision.debugger", str(output), *options], check=False)
