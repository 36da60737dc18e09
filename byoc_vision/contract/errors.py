"""The kinds of error whose text is meant for the user."""


class UserError(Exception):
    """Something the user can put right; the message is one sentence saying what was wrong and what to do."""


class DataError(UserError):
    """The pictures given cannot be trained on."""
