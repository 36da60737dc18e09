"""Make a training job's report (again): the rules run here, over what the job has left.

    python -m launch.report JOB
    python -m launch.report out/ --rules VanishingGradient,Overfit
    python -m launch.report s3://bucket/byoc-vision/JOB/output/ --data DIR

JOB is a training job, or what one has left: a folder that holds its output, or an S3 URI of a folder or an archive. A
folder that smdebug wrote, in whatever job, is enough. Other rules, or other parameters, come from a JSON file of rule
configurations as CreateTrainingJob takes them.
"""

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from byoc_vision.contract.errors import UserError
from launch.engine import Engine
from launch.launcher import parser

#: How far below the folder that the user names a job's parts are looked for, and by which files they are known.
_LEVELS = ("", "*/", "*/*/")
_OUTPUT = ("metrics.json", "predictions.csv", "profile/run.json", "debugger/collections/*/*.json")
_MODEL = "model.json"
_TENSORS = "collections/*/*_collections.json"


@dataclass(frozen=True)
class Parts:
    """The folders of this machine that a job's parts are in: its output, its model, and what smdebug recorded."""

    output: Path | None
    model: Path | None
    tensors: Path | None


def options() -> argparse.ArgumentParser:
    """Return the launcher's options."""
    new = parser("report", __doc__, sends=False)
    new.add_argument("job", metavar="JOB|DIR|URI", help="a training job, or what one has left: a folder or an S3 URI")
    new.add_argument("--rules", metavar="NAMES|FILE", help="names with commas, or a JSON file (default: all)")
    new.add_argument("--data", type=Path, metavar="DIR", help="the pictures, of which the report then shows some")
    new.add_argument("--out", type=Path, metavar="DIR", help="for the report (default: DIR's output, else ./report)")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    given = options().parse_args(arguments)

    from debugger import report  # a tenth of a second

    if given.data and not given.data.is_dir():
        raise UserError(f"{given.data} is no folder; --data wants the folder of pictures that the job was given")
    with tempfile.TemporaryDirectory(prefix="byoc-vision-") as scratch:
        folder = Path(given.job)
        fetched = "://" in given.job or not folder.is_dir()
        if fetched:
            from launch import engine

            folder = Path(scratch) / "fetched"
            fetch(engine.pick(given.local), given.job, folder)
        parts = find(folder, Path(scratch))
        found = parts.output or parts.tensors
        if found is None:
            raise UserError(f"there is nothing of a training job in {given.job}; name the folder that has its output")
        stays = not fetched and found.is_relative_to(folder)
        out = given.out or (found if stays else Path("report"))
        out.mkdir(parents=True, exist_ok=True)
        content = report.make(
            parts.output or Path(scratch) / "nothing",
            model=parts.model,
            tensors=parts.tensors,
            pictures=given.data,
            rules=given.rules,
            to=out,
        )
    for rule in content["rules"]:
        if rule["RuleEvaluationStatus"] == "IssuesFound":
            print(f"{rule['RuleConfigurationName']}: {rule['StatusDetails']}")
    print(f"wrote {out / 'report.html'}")
    return 0


def fetch(engine: Engine, job: str, folder: Path) -> None:
    """Copy what the job has left, of which `job` is the name or a URI, into `folder`; nothing is a `UserError`."""
    if "://" in job:
        uris = [job if job.endswith((".tar.gz", "/")) else f"{job}/"]
    elif "/" in job:
        raise UserError(f"{job} is no folder; name a training job, the folder that one has left, or an S3 URI")
    else:
        uris = _uris(engine, job)
    if not [file for number, uri in enumerate(uris) for file in engine.fetch(uri, folder / str(number))]:
        raise UserError(f"there is nothing at {uris[0]}; a job's output is there once it has ended, if it left any")


def _uris(engine: Engine, job: str) -> list[str]:
    """Return where the job's results are and, if the service's hook was configured, what that has recorded."""
    from launch.errors import not_found

    try:
        described = engine.sagemaker.describe_training_job(TrainingJobName=job)
    except Exception as error:
        if not not_found(error):
            raise
        where = engine.region
        raise UserError(f"{job!r} is neither a training job in {where} nor a folder; check the name") from None
    uris = [f"{described['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job}/output/"]
    if "S3OutputPath" in described.get("DebugHookConfig", {}):
        uris.append(f"{described['DebugHookConfig']['S3OutputPath'].rstrip('/')}/{job}/debug-output/")
    return uris


def find(folder: Path, scratch: Path) -> Parts:
    """Return where in `folder` the parts of a job are; those in archives there are unpacked into `scratch`.

    Raises `UserError` where there are those of several jobs.
    """
    places = [folder]
    if None in (_first(places, *_OUTPUT), _first(places, _MODEL)):
        archives = [archive for level in _LEVELS for archive in sorted(folder.glob(f"{level}*.tar.gz"))]
        places += [_unpacked(archive, scratch / str(number)) for number, archive in enumerate(archives)]
    output = _first(places, *_OUTPUT)
    inside = output is not None and (output / "debugger").is_dir()
    return Parts(output, _first(places, _MODEL), None if inside else _first(places, _TENSORS))


def _first(places: list[Path], *marks: str) -> Path | None:
    for place in places:
        files = [(file, mark) for level in _LEVELS for mark in marks for file in place.glob(level + mark)]
        found = {file.parents[mark.count("/")] for file, mark in files}
        if len(found) > 1:
            names = ", ".join(sorted(str(folder.relative_to(place)) for folder in found))
            raise UserError(f"{place} holds what several jobs have left ({names}); name one of these")
        if found:
            return found.pop()
    return None


def _unpacked(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    done = subprocess.run(["tar", "-xzf", archive, "-C", folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"{archive} cannot be unpacked ({done.stderr.partition(chr(10))[0]}); fetch it again")
    return folder


if __name__ == "__main__":
    from launch.errors import guarded

    guarded("launch.report", main)
