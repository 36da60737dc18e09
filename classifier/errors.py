"""The kinds of error whose text is meant for the user."""


class UserError(Exception):
    """Something the user can put right; the message is one sentence saying what was wrong and what to do."""


class PictureError(UserError):
    """The bytes are not a picture that can be read."""


class PictureTooLargeError(PictureError):
    """The picture would take more pixels, memory or time to decode than a picture may."""


class OutOfMemoryError(UserError):
    """There was no memory left to decode a picture that may be decoded."""
