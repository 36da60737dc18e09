"""What can be wrong with a picture."""

from byoc_vision.contract.errors import UserError


class PictureError(UserError):
    """The bytes are not a picture that can be read."""


class PictureTooLargeError(PictureError):
    """The picture would take more pixels, memory or time to decode than a picture may."""


class OutOfMemoryError(UserError):
    """There was no memory left to decode a picture that may be decoded."""
