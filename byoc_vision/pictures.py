"""Pictures to predict: files, folders and URLs, read with limits."""

import logging
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from byoc_vision.contract import folders
from byoc_vision.contract.errors import UserError, one_line

_log = logging.getLogger(__name__)

#: The most that a real-time endpoint takes.
MAX_BYTES = 6 * 1024 * 1024

#: Endings whose type is sent; a container tells any other picture by its content.
SUFFIXES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}

_SECONDS = 30  # for one URL, all in all


@dataclass(frozen=True)
class Picture:
    """One picture as it is sent."""

    name: str
    content: bytes
    content_type: str


def names(sources: list[str]) -> Iterator[str]:
    """Yield the sources, with what may be pictures below a folder in the folder's place. Raises `UserError`.

    Which files these are is the same as in training.
    """
    for source in sources:
        path = Path(source)
        if source.startswith(("http://", "https://")) or path.is_file():
            yield source
        elif path.is_dir():
            yield from map(str, below(path))
        else:
            raise UserError(f"the picture {source} does not exist, or is no file; give a file, a folder or a URL")


def below(folder: Path) -> list[Path]:
    """Return what may be pictures below the folder, and say what else is there; raise `UserError` where nothing is."""
    content = folders.read(folder)
    pictures, parts = list(content.pictures()), list(content.walk())
    others = [name for part in parts for name in part.others]
    if said := folders.left_out(sum(len(part.litter) for part in parts), others):
        _log.info("%s: %s", folder, said)
    if not pictures:
        raise UserError(f"{folder} holds no pictures; give a folder that does")
    return pictures


def read(name: str) -> Picture:
    """Return the picture in the file or at the URL `name`. Raises `UserError`, whose text leaves the name out."""
    if name.startswith(("http://", "https://")):
        return Picture(name, _fetch(name), "application/x-image")  # what a server calls it need not be true
    try:
        status = Path(name).stat()
    except OSError as error:
        raise UserError(f"it cannot be read ({error.strerror}); check the file or link") from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError("it is no file; give a picture")
    if status.st_size > MAX_BYTES:
        raise UserError(f"it has {status.st_size / 2**20:.1f} MB and endpoints take 6; send a smaller picture")
    return Picture(name, Path(name).read_bytes(), content_type([Path(name)]))


def content_type(files: Iterable[Path]) -> str:
    """Return the type that the files are sent as: what their endings say, where they all say the same."""
    types = {SUFFIXES.get(file.suffix.lower(), "application/x-image") for file in files}
    return types.pop() if len(types) == 1 else "application/x-image"


def _fetch(url: str) -> bytes:
    """Return what is at the URL, following redirects."""
    deadline = time.monotonic() + _SECONDS
    content = b""
    try:
        request = Request(url, headers={"Accept": "image/*", "User-Agent": "byoc-vision"})
        with urlopen(request, timeout=10) as response:
            while piece := response.read1(65536):
                content += piece
                if len(content) > MAX_BYTES:
                    raise UserError("it has more than the 6 MB that endpoints take; use a smaller picture")
                if time.monotonic() > deadline:
                    raise UserError(f"it takes more than {_SECONDS} s; fetch it yourself and give the file")
    except HTTPError as error:
        raise UserError(f"the server answers {error.code} ({one_line(error.reason)}); check the URL") from None
    except (OSError, ValueError, HTTPException) as error:
        reason = one_line(getattr(error, "reason", error)) or type(error).__name__
        raise UserError(f"it cannot be fetched ({reason}); check the URL") from None
    return content
