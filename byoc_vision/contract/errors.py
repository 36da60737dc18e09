"""The kinds of error whose text is meant for the user, and how any error is told on one line."""

import re


class UserError(Exception):
    """Something the user can put right; the message is one sentence saying what was wrong and what to do."""


class DataError(UserError):
    """The pictures given cannot be trained on."""


#: What colours a terminal's text, moves in it and clears it.
_COLOUR = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def plain(text: str) -> str:
    """Return a text without its colours."""
    return _COLOUR.sub("", text)


def one_line(words: object, longest: int | None = 200) -> str:
    """Return a text, or what an error says, on one line and without colours, cut to `longest` characters."""
    return " ".join(plain(str(words)).split())[:longest]


def described(error: BaseException, longest: int | None = 200) -> str:
    """Return the kind and the words of any error on one line, cut to `longest` characters."""
    try:
        words = f"{type(error).__name__}: {error}"
    except BaseException:  # of somebody's own class, whose code writes them
        words = type(error).__name__
    return one_line(words, longest).removesuffix(":")  # of one without words
