"""The folder of the container's temporary files."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path

from byoc_vision.contract.errors import UserError

_PREFIX = "byoc-serve-"

#: What the temporary folder may be called: nginx and Java read its name in files that have rules of their own, and the
#: kernel takes 107 bytes for a socket's, which is two folders below.
_PLACE = re.compile(r"[\w./+-]{1,64}", re.ASCII)


def folder() -> Path:
    """Return a new folder, which is this process' as long as it lives; those of processes that were killed are removed.

    A container that is started again still has what it had in /tmp. Raises `UserError` where nothing can be written.
    """
    try:
        place = Path(tempfile.gettempdir())
        if not _PLACE.fullmatch(str(place)):
            raise UserError(
                "TMPDIR is too long, or has odd characters; set up to 64 letters, digits and /._+- as its path"
            )
        for left in place.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):  # another user's, or that of a process that lives, in another container
                lock = _locked(left)
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
        while True:
            made = Path(tempfile.mkdtemp(prefix=_PREFIX))
            with contextlib.suppress(BlockingIOError, FileNotFoundError):  # another removes it as one that is left
                _locked(made)
                if made.exists():
                    return made
    except OSError as error:
        raise UserError(
            f"there is no folder to write to ({error}); start the container with a writable /tmp, --tmpfs /tmp will do"
        ) from error


def _locked(folder: Path) -> int:
    """Return the descriptor that holds the kernel's lock on a folder; raises `OSError` where another process has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
