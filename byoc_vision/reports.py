"""What a job has left: found, wherever it is, and judged by the rules, here. A tuning job's page shows its trials."""

import html
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byoc_vision import archives, searches
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import DEBUGGER, METRICS, MODEL, PREDICTIONS, PROFILE, REPORT, RUN, report_folder
from byoc_vision.engine import Engine
from byoc_vision.refusals import unless_missing

if TYPE_CHECKING:
    from byoc_vision.debugger.trials import Search

#: How far below the folder that the user names a job's parts are looked for, and by which files they are known.
_LEVELS = ("", "*/", "*/*/")
_OUTPUT = (METRICS, PREDICTIONS, f"{PROFILE}/{RUN}", f"{DEBUGGER}/collections/*/*.json")
_TENSORS = "collections/*/*_collections.json"


@dataclass(frozen=True)
class Parts:
    """The folders of this machine that a job's parts are in: its output, its model, and what smdebug recorded."""

    output: Path | None
    model: Path | None
    tensors: Path | None


class Report:
    """The report of a training or tuning job. A notebook shows the page itself.

    >>> report = Session(local=True).report("my-training-job")
    >>> [rule["RuleConfigurationName"] for rule in report.issues]
    ['Overfit']
    """

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        #: The page, and all that the report says as plain data.
        self.page, self.content = folder / REPORT, content

    @property
    def issues(self) -> list[dict[str, Any]]:
        """The rules that found something, each with its StatusDetails."""
        return [rule for rule in self.content["rules"] if rule["RuleEvaluationStatus"] == "IssuesFound"]

    def __repr__(self) -> str:
        return f"Report({str(self.page)!r})"

    def _repr_html_(self) -> str:
        # A frame of its own, since the page's style is for a whole page.
        page = html.escape(self.page.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="800" style="border: 0"></iframe>'


def make(
    engine: Callable[[], Engine],
    job: str,
    rules: str | Path | None,
    data: Path | None,
    out: Path | None,
    price: float | None = None,
) -> Report:
    """Make the report of a job, of which `job` is the name, a folder or a URI. See `Session.report`."""
    from byoc_vision.debugger import report  # a tenth of a second

    if price is not None and not 0 <= price < math.inf:
        raise UserError(f"the price of an hour is {price:g}; give a number from 0 on")
    if data and not data.is_dir():
        raise UserError(f"{data} is no folder; name the folder of the pictures that the job was given")
    with tempfile.TemporaryDirectory(prefix="byoc-vision-") as scratch:
        folder = Path(job)
        if folder.is_file():
            raise UserError(f"{job} is a file; name the folder that it is in, which holds what a job has left")
        fetched = "://" in job or not folder.is_dir()
        if fetched:
            folder = Path(scratch) / "fetched"
            if search := fetch(engine(), job, folder):
                out = out or Path("report")
                return Report(out, searches.make(search, out, price))
        parts = find(folder, Path(scratch))
        left = parts.output or parts.tensors
        if left is None:
            raise UserError(f"there is nothing of a training job in {job}; name the folder that has its output")
        stays = not fetched and left.is_relative_to(folder)
        out = out or (report_folder(left) if stays else Path("report"))
        out.mkdir(parents=True, exist_ok=True)
        output = parts.output or Path(scratch) / "nothing"
        content = report.make(
            output, model=parts.model, tensors=parts.tensors, pictures=data, rules=rules, to=out, price=price
        )
    return Report(out, content)


def compare(engine: Callable[[], Engine], jobs: Sequence[str], out: Path | None) -> Report:
    """Make the page of several training jobs side by side. See `Session.compare`."""
    from byoc_vision.debugger import comparison, report

    if twice := [job for job in jobs if jobs.count(job) > 1]:
        raise UserError(f"{twice[0]} is named twice; name several jobs")
    out, contents = out or Path("report"), {}
    with tempfile.TemporaryDirectory(prefix="byoc-vision-") as scratch:
        for number, job in enumerate(jobs):
            content = make(engine, job, None, None, Path(scratch) / str(number)).content
            if "trials" in content:
                raise UserError(f"{job} is a tuning job, whose trials have a page of their own; name training jobs")
            name = str(content["identity"].get("job") or job)
            contents[name if name not in contents else f"{name} ({job})"] = content
    out.mkdir(parents=True, exist_ok=True)
    content = comparison.facts(contents)
    report.write(out, content, comparison.page(contents))
    return Report(out, content)


def fetch(engine: Engine, job: str, folder: Path) -> "Search | None":
    """Copy what the job has left, of which `job` is the name or a URI, into `folder`; nothing is a `UserError`.

    A tuning job leaves nothing of its own: it is returned.
    """
    if "://" in job:
        uris = [job if job.endswith((".tar.gz", "/")) else f"{job}/"]
    elif "/" in job:
        raise UserError(f"{job} is no folder; name a training job, the folder that one has left, or an S3 URI")
    elif described := unless_missing(engine.sagemaker.describe_training_job, TrainingJobName=job):
        uris = _uris(described, job)
    elif search := searches.read(engine, job):
        return search
    else:
        raise UserError(f"{job!r} is neither a training job or tuning job {engine.where} nor a folder; check the name")
    if not [file for number, uri in enumerate(uris) for file in engine.fetch(uri, folder / str(number))]:
        raise UserError(f"there is nothing at {uris[0]}; a job's output is there once it has ended, if it left any")
    return None


def _uris(described: dict[str, Any], job: str) -> list[str]:
    """Return where the job's results are and, if the service's hook was configured, what that has recorded."""
    uris = [f"{described['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job}/output/"]
    if "S3OutputPath" in described.get("DebugHookConfig", {}):
        uris.append(f"{described['DebugHookConfig']['S3OutputPath'].rstrip('/')}/{job}/debug-output/")
    return uris


def find(folder: Path, scratch: Path) -> Parts:
    """Return where in `folder` the parts of a job are; those in archives there are unpacked into `scratch`.

    Raises `UserError` where there are those of several jobs.
    """
    places = [folder]
    if None in (_first(places, *_OUTPUT), _first(places, MODEL)):
        archives = [archive for level in _LEVELS for archive in sorted(folder.glob(f"{level}*.tar.gz"))]
        places += [_unpacked(archive, scratch / str(number)) for number, archive in enumerate(archives)]
    output = _first(places, *_OUTPUT)
    inside = output is not None and (output / DEBUGGER).is_dir()
    return Parts(output, _first(places, MODEL), None if inside else _first(places, _TENSORS))


def _first(places: list[Path], *marks: str) -> Path | None:
    # What is further down is a part of what is above it, as files of a script's own in its job's output are.
    for place, level in product(places, _LEVELS):
        files = [(file, mark) for mark in marks for file in place.glob(level + mark)]
        folders = {file.parents[mark.count("/")] for file, mark in files}
        if len(folders) > 1:
            names = ", ".join(sorted(str(folder.relative_to(place)) for folder in folders))
            raise UserError(f"{place} holds what several jobs have left ({names}); name one of these")
        if folders:
            return folders.pop()
    return None


def _unpacked(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    archives.unpack(archive, folder)
    return folder
