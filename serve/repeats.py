"""What libraries say about pictures, request after request, kept from filling the log."""

import logging
import re

from byoc_vision.contract.errors import one_line

#: Loggers whose lines depend on what strangers send. What a model's own code logs is never held back.
_LIBRARIES = re.compile(r"(PIL|py\.warnings)(\.|$)")

#: Kinds that are told apart; what comes after these counts as one.
MAX_KINDS = 1000

# What differs between two lines of a kind: numbers, and what is quoted from the data.
_VARYING = re.compile(r"\d+|b?'[^']*'|b?\"[^\"]*\"")


class Repeats(logging.Filter):
    """Let the first line of a kind pass, then the 10th, the 100th and so on, each with its count, on one line."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not _LIBRARIES.match(record.name):
            return True
        text = one_line(record.getMessage(), 300)
        kind = _VARYING.sub("#", text)
        if kind not in self._counts and len(self._counts) >= MAX_KINDS:
            kind = "others"
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        record.msg, record.args = (text if count == 1 else f"{text} ({count} times so far)"), None
        return str(count).rstrip("0") == "1"
