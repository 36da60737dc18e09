"""What this machine can see of a training job before anything is sent: mistakes that a paid job would end with."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from byoc_vision import archives
from byoc_vision.contract import weights
from byoc_vision.contract.dataset import read_channels
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import expanded, path_in
from byoc_vision.contract.hyperparameters import Settings
from byoc_vision.contract.job import CODE, PICTURES, SCRIPT

_log = logging.getLogger(__name__)


def pictures(sources: Mapping[str, str | Path]) -> None:
    """Raise `UserError` where `sources` (channel -> folder, file or URI) have no pictures to train on.

    What is on this machine is read as the job will read it; what is known of unused folders is told.
    """
    for channel, source in sources.items():
        if not str(source).strip():
            raise UserError(f"the channel {channel} is given nothing; give it a folder, a file or an S3 URI")
    folders = {channel: local(str(source)) for channel, source in sources.items() if channel in PICTURES}
    here = {channel: path for channel, path in folders.items() if path is not None and path.exists()}
    if len(here) == len(folders):
        for line in read_channels(here).lines():
            _log.info("%s", line)


def hyperparameters(
    sources: Mapping[str, str | Path], values: Mapping[str, str], searched: Collection[str] = ()
) -> dict[str, str]:
    """Return the hyperparameters `values` of a job on `sources` (as in `pictures`), with the weights' arch.

    `searched` are those that a tuning job sets. Raises `UserError` where the job would.
    """
    if "weights" not in sources or not ("pretrained" in searched or values.get("pretrained") != "false"):
        return dict(values)
    file, fitting = _fitting(str(sources["weights"]))
    if fitting is None:
        return dict(values)
    held = " or ".join(fitting) or "none of torchvision's architectures"
    if "arch" in searched:
        raise UserError(f"arch is searched, and {file} has the weights of {held} alone; leave one of the two out")
    if "arch" not in values and len(fitting) == 1:
        _log.info("arch is %s, as the weights are", held)
        return {**values, "arch": held}
    if (arch := values.get("arch", Settings.arch)) not in fitting:
        remedy = f", or set arch to {fitting[0]}" if fitting else ""
        raise UserError(f"{file} does not fit {arch}: it has the weights of {held}; give those of {arch}{remedy}")
    return dict(values)


def _fitting(source: str) -> tuple[str, list[str] | None]:
    """Return the weights' file, and the architectures that it fits; None where that cannot be seen from here."""
    path = local(source)
    if path is None or not path.exists():
        named = weights.published_as(source.rpartition("/")[2])
        return source, [named] if named else None
    file = weights.only_file(path)
    shapes = weights.shapes(file)
    if shapes is not None:
        return str(file), weights.architectures(shapes)
    named = weights.published_as(file.name)
    return str(file), [named] if named else None


def model(file: Path) -> None:
    """Raise `UserError` for a file that is no model, or an archive whose handler script would not be used."""
    if not file.is_file():
        return
    if file.suffix in weights.SUFFIXES:
        weights.refuse_others(file)
        return
    with archives.opened(file) as tar:
        names = {PurePosixPath(member.name) for member in archives.members(tar, file)}
    if PurePosixPath(SCRIPT) in names and PurePosixPath(CODE, SCRIPT) not in names:
        raise UserError(f"{file} holds {SCRIPT} at its root, where it is not run; pack it as {CODE}/{SCRIPT}")


def local(source: str) -> Path | None:
    """Return the path of what lies on this machine; None of an S3 URI."""
    if source.startswith("file://"):
        return path_in(source)
    return None if "://" in source or source.startswith("s3:") else expanded(source)
