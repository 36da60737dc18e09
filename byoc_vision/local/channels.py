"""Channels of training jobs: what of S3's kinds of input there is here, and the folder that one becomes."""

import json
from pathlib import Path

from byoc_vision.local.files import link_or_copy, locate
from byoc_vision.local.store import InvalidError, Request, Store, refuse


def check(store: Store, channel: Request, mode: str, instances: int) -> None:
    """Raise `ServiceError` where a job on so many instances cannot have the channel; `mode` is the job's."""
    name = channel["ChannelName"]
    if channel.get("InputMode", mode) == "Pipe":
        raise InvalidError("The local engine has no Pipe mode; take File or FastFile.")
    refuse(channel, "CompressionType", "RecordWrapperType", "ShuffleConfig")
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise InvalidError(f"The channel {name} needs an S3DataSource; there is no other here.")
    if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        reason = f"The channel {name} is of {source['S3DataType']}; the local engine has S3Prefix and ManifestFile."
        raise InvalidError(reason)
    if source.get("S3DataDistributionType", "FullyReplicated") != "FullyReplicated" and instances > 1:
        raise InvalidError("The local engine replicates data fully; it does not shard it.")
    if not locate(store, source["S3Uri"]).exists():
        raise InvalidError(f"There is nothing at {source['S3Uri']}.")
    if source["S3DataType"] == "ManifestFile":
        _listed(store, source["S3Uri"])


def folder(store: Store, source: Request, fresh: Path) -> Path:
    """Return the file or folder of an S3DataSource; of a manifest, the folder `fresh` with links to what it lists."""
    if source.get("S3DataType") != "ManifestFile":
        return locate(store, source["S3Uri"])
    for name, file in _listed(store, source["S3Uri"]):
        link = fresh / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file.resolve(), link)
    return fresh


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
