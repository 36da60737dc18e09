"""Channels of training jobs: what of S3's kinds of input there is here, and the folder that one becomes."""

import json
from pathlib import Path

from byoc_vision.engine import visible
from byoc_vision.local.files import link_or_copy, locate
from byoc_vision.local.store import InvalidError, Request, Store, refuse

#: The channel of the SDK's remote functions.
_REMOTE = "sagemaker_remote_function_bootstrap"


def check(store: Store, channel: Request, mode: str) -> None:
    """Raise `ServiceError` where a job cannot have the channel; `mode` is the job's.

    A folder has no order, so that there is nothing to do for a ShuffleConfig.
    """
    name = channel["ChannelName"]
    if channel.get("InputMode", mode) == "Pipe":
        raise InvalidError("The local engine has no Pipe mode; take File or FastFile.")
    refuse(channel, "CompressionType", "RecordWrapperType")
    if name == _REMOTE:
        reason = "A remote function fetches itself from S3, which containers on this machine cannot reach"
        raise InvalidError(f"{reason}; train with a script instead.")
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise InvalidError(f"The channel {name} needs an S3DataSource; there is no other here.")
    check_source(store, source, f"channel {name}")


def check_source(store: Store, source: Request, what: str) -> None:
    """Raise `ServiceError` where a job cannot have an S3DataSource, which the sentence calls `what`."""
    if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        reason = f"The {what} is of {source['S3DataType']}; the local engine has S3Prefix and ManifestFile."
        raise InvalidError(reason)
    if not locate(store, source["S3Uri"]).exists():
        raise InvalidError(f"There is nothing at {source['S3Uri']}.")
    if source["S3DataType"] == "ManifestFile":
        _listed(store, source["S3Uri"])


def folder(store: Store, source: Request, fresh: Path, host: int = 0, hosts: int = 1) -> Path:
    """Return the file or folder of an S3DataSource that a host of several has.

    Of a manifest, or where each host has a part, that is the folder `fresh` with links to the objects.
    """
    parts = hosts if source.get("S3DataDistributionType") == "ShardedByS3Key" else 1
    place, listed = locate(store, source["S3Uri"]), source.get("S3DataType") == "ManifestFile"
    if parts == 1 and not listed:
        return place
    files = _listed(store, source["S3Uri"]) if listed else _found(place)
    fresh.mkdir(parents=True)
    for name, file in files[host % parts :: parts]:
        link = fresh / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file.resolve(), link)
    return fresh


def _found(place: Path) -> list[tuple[str, Path]]:
    """Return the files of a folder, or the one, with their names, in the order of keys."""
    if place.is_file():
        return [(place.name, place)]
    return sorted((file.relative_to(place).as_posix(), file) for file in visible(place) if file.is_file())


def _listed(store: Store, manifest: str) -> list[tuple[str, Path]]:
    """Return the files that a manifest lists, `[{"prefix": "s3://…/"}, "a.jpg", …]`, with their names below it."""
    try:
        first, *names = json.loads(locate(store, manifest).read_text(encoding="utf-8"))
        prefix = first["prefix"]
        if not isinstance(prefix, str) or not all(isinstance(name, str) for name in names):
            raise TypeError
    except (OSError, ValueError, TypeError, KeyError):
        reason = f'{manifest} is no manifest of the form [{{"prefix": "s3://bucket/folder/"}}, "a.jpg", "b.jpg"].'
        raise InvalidError(reason) from None
    files = []
    for name in names:
        file = locate(store, f"{prefix.rstrip('/')}/{name}")
        if ".." in name.split("/") or not file.is_file():
            raise InvalidError(f"{manifest} lists {name[:200]!r}, and there is no such object.")
        files.append((name, file))
    return files
