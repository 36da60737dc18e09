"""What can be wrong with a picture, and how any error is told on one line."""

from byoc_vision.contract.errors import UserError


class PictureError(UserError):
    """The bytes are not a picture that can be read."""


class PictureTooLargeError(PictureError):
    """The picture would take more pixels, memory or time to decode than a picture may."""


class OutOfMemoryError(UserError):
    """There was no memory left to decode a picture that may be decoded."""


def described(error: BaseException, longest: int = 200) -> str:
    """Return the kind and the words of any error on one line, cut to `longest` characters."""
    try:
        words = f"{type(error).__name__}: {error}"
    except BaseException:  # of somebody's own class, whose code writes them
        words = type(error).__name__
    return " ".join(words.split())[:longest]
