"""Plain data that came from a file, held against what each of its fields must be."""

from collections.abc import Callable, Mapping
from typing import Any

#: For each field a test, which takes whatever JSON can hold, and words for what passes it.
Fields = Mapping[str, tuple[Callable[[Any], bool], str]]


def check(what: str, value: object, fields: Fields) -> None:
    """Raise `ValueError` naming the first of the `fields` that `value`, an object of JSON, lacks or has otherwise."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")
    for name, (passes, words) in fields.items():
        if name not in value:
            raise ValueError(f"{what} has no {name}")
        if not passes(value[name]):
            raise ValueError(f"{name} in {what} is not {words}")


def is_text(value: Any, longest: int) -> bool:
    """Tell whether `value` is text of 1 to `longest` characters, all of which can be written as UTF-8."""
    return (
        isinstance(value, str) and 0 < len(value) <= longest and not any("\ud800" <= one <= "\udfff" for one in value)
    )
