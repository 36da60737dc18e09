"""Files of this machine as requests name them."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from byoc_vision.contract.files import replacing
from byoc_vision.local.objects import Objects
from byoc_vision.local.store import ServiceError, Store


def path(uri: str) -> Path:
    """Return the path that a file:// URI names; any other URI is a `ValidationException`."""
    if not uri.startswith("file:///"):
        reason = f"{uri} is not on this machine; the local engine reads file:/// and s3:// URIs only."
        raise ServiceError("ValidationException", reason)
    return Path(unquote(urlsplit(uri).path))


def locate(store: Store, uri: str) -> Path:
    """Return the path of what a request names: a file:// URI, or an s3:// URI in a bucket of this machine."""
    if not uri.startswith("s3://"):
        return path(uri)
    objects = Objects(store)
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        key = key.rstrip("/")
        return objects.path(bucket, key) if key else objects.bucket(bucket)
    except ServiceError as error:
        raise ServiceError("ValidationException", f"{uri} is not on this machine: {error}") from None


def link_or_copy(file: Path, name: Path) -> None:
    """Give the file a further name; where that is on another file system, make a copy, whole or not at all."""
    try:
        name.hardlink_to(file)
    except OSError:
        with replacing(name) as temporary:
            shutil.copy(file, temporary)
