"""Where a worker's output goes."""

import io
from typing import Any, TextIO

#: Characters of a line that are passed on.
LONGEST = 8000


class Lines(io.TextIOBase):
    """A text stream that passes whole lines on to `stream`, and of long ones the beginning.

    multi-model-server reads line by line, and takes minutes for one of millions of characters, while the worker waits.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._line = ""
        self._cut = 0

    def write(self, text: str) -> int:
        """Take `text`; what is not yet a whole line waits for its end."""
        *whole, rest = text.split("\n")
        for part in whole:
            self._add(part)
            cut = f"… ({self._cut} more characters)" if self._cut else ""
            self._stream.write(f"{self._line}{cut}\n")
            self._line, self._cut = "", 0
        self._add(rest)
        return len(text)

    def _add(self, part: str) -> None:
        room = LONGEST - len(self._line)
        self._line += part[:room]
        self._cut += max(0, len(part) - room)

    def flush(self) -> None:
        """Pass on the whole lines."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the file descriptor of `stream`."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    @property
    def buffer(self) -> Any:
        """The bytes below the text, for code that writes these."""
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of `stream`."""
        return self._stream.encoding
