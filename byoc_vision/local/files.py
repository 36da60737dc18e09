"""Files of this machine as requests name them."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from byoc_vision.contract.files import replacing
from byoc_vision.local.store import ServiceError


def path(uri: str) -> Path:
    """Return the path that a file:// URI names; any other URI is a `ValidationException`."""
    if not uri.startswith("file:///"):
        reason = f"{uri} is not on this machine; the local engine reads file:/// URIs only."
        raise ServiceError("ValidationException", reason)
    return Path(unquote(urlsplit(uri).path))


def link_or_copy(file: Path, name: Path) -> None:
    """Give the file a further name; where that is on another file system, make a copy, whole or not at all."""
    try:
        name.hardlink_to(file)
    except OSError:
        with replacing(name) as temporary:
            shutil.copy(file, temporary)
