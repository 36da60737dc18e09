"""Pictures to predict: files, folders and URLs, read with limits."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from byoc_vision.contract.errors import UserError, one_line

#: The most that a real-time endpoint takes.
MAX_BYTES = 6 * 1024 * 1024

SUFFIXES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}

_SECONDS = 30  # for one URL, all in all


@dataclass(frozen=True)
class Picture:
    """One picture as it is sent."""

    name: str
    content: bytes
    content_type: str


def names(sources: list[str]) -> Iterator[str]:
    """Yield the sources, with the picture files below a folder in the folder's place. Raises `UserError`."""
    for source in sources:
        path = Path(source)
        if source.startswith(("http://", "https://")) or path.is_file():
            yield source
        elif path.is_dir():
            files = [str(file) for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES]
            if not files:
                raise UserError(f"{source} holds no pictures ({', '.join(SUFFIXES)})")
            yield from files
        else:
            raise UserError(f"the picture {source} does not exist; give a file, a folder or a URL")


def read(name: str) -> Picture:
    """Return the picture in the file or at the URL `name`. Raises `UserError`, whose text leaves the name out."""
    if name.startswith(("http://", "https://")):
        return Picture(name, _fetch(name), "application/x-image")  # what a server calls it need not be true
    size = Path(name).stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"it has {size / 2**20:.1f} MB and endpoints take 6; send a smaller picture")
    return Picture(name, Path(name).read_bytes(), SUFFIXES.get(Path(name).suffix.lower(), "application/x-image"))


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
