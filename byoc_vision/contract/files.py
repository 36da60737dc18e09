"""Files that are whole at any moment, whatever interrupts who writes them, and the paths in file:// URIs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from urllib.parse import unquote


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`; once the block has written it, it is on the disk as `path`.

    Where the block raises, `path` is what it was before, and the temporary file is gone.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(3)}")  # of its own: others may write the same file now
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def expanded(path: str | Path) -> Path:
    """Return the path with the home folder for `~`; where there is no such home, as it is, like a shell."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def path_in(uri: str) -> Path:
    """Return the path that a file:// URI names, whatever bytes it has (as `Path.as_uri` writes them)."""
    return Path(unquote(uri.removeprefix("file://"), errors="surrogateescape"))
