"""Checks requests, before they are sent, against the service's own model (botocore's)."""

import difflib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.structure import listed
from byoc_vision.engine import PLACEHOLDERS
from byoc_vision.requests.operations import Request

#: How the patterns of names begin.
_NAME = "[a-zA-Z0-9]("

#: What a pattern's classes of characters are within ASCII: Python has no \\p{…}. Beyond ASCII all are letters.
_CLASSES = {
    **{"L": r"a-zA-Z\x80-\U0010ffff", "M": "", "N": "0-9", "Z": " ", "Alnum": "a-zA-Z0-9"},
    **{"P": r"!-#%-*,-/:;?@\[-\]_{}", "S": "$+<=>^`|~"},
}

#: Values that one sentence lists.
_LISTED = 20


def check(operation: str, request: Request, name: str = "sagemaker") -> None:
    """Raise `UserError` with the first thing in `request` that the operation of the service would not take."""
    from botocore.validate import ParamValidator

    shape = service(name).operation_model(operation).input_shape
    try:
        report = ParamValidator().validate(request, shape).generate_report()
    except RuntimeError as error:  # botocore's, of a time that is out of all range
        raise UserError(f"{operation}: {str(error)[:1].lower()}{str(error)[1:]}") from None
    for line in report.splitlines():
        raise UserError(f"{operation}: {line[0].lower()}{line[1:].rstrip('.')}")
    for problem in _problems(request, shape, ""):
        raise UserError(f"{operation}: {problem}")


@cache
def service(name: str = "sagemaker") -> Any:
    """Return botocore's model of a service."""
    # Not from a session, which the user's AWS profile may spoil: the local engine's requests are checked, too.
    from botocore.loaders import create_loader
    from botocore.model import ServiceModel

    return ServiceModel(create_loader().load_service_model(name, "service-2"), name)


def _problems(value: Any, shape: Any, where: str) -> Iterator[str]:
    """Yield what botocore leaves to the service: greatest lengths and sizes, patterns, and values from a list."""
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from _problems(member, shape.members[name], f"{where}.{name}" if where else name)
    elif shape.type_name == "list":
        for number, member in enumerate(value):
            yield from _problems(member, shape.member, f"{where}[{number}]")
    elif shape.type_name == "map":
        for name, member in value.items():
            yield from _problems(name, shape.key, f"a key of {where}")
            yield from _problems(member, shape.value, f"{where}.{name}")
    if "max" in shape.metadata:
        size = value if shape.type_name in ("integer", "long", "float", "double") else len(value)
        if size > shape.metadata["max"]:
            yield f"{where} is {size} and may be {shape.metadata['max']} at most"
    # "local" and file:// are the local engine's. Of instance types the service knows more than an installed botocore.
    if shape.type_name != "string" or value.startswith(("file://", "local")) or _has_placeholder(value):
        return
    if shape.enum and value not in shape.enum and not re.fullmatch(r"ml\.\w+(-\w+)*\.(\d*x?large|medium|\d+xl)", value):
        near = [one for one in shape.enum if one.endswith(f".{value}")] or difflib.get_close_matches(
            value, shape.enum, n=1
        )
        near = near or [one for one in shape.enum if one.startswith(value)]
        hint = f"did you mean {near[0]!r}?" if near else f"give one of {listed(shape.enum, _LISTED)}"
        yield f"{where} is {value!r}; {hint}"
    if "pattern" in shape.metadata and not _matches(shape.metadata["pattern"], value):
        words = ": letters and digits, with hyphens between" if shape.metadata["pattern"].startswith(_NAME) else ""
        yield f"{where} is {value!r}, which does not have the form {shape.metadata['pattern']}{words}"


def _has_placeholder(value: str) -> bool:
    return any(placeholder in value for placeholder in PLACEHOLDERS)


def _matches(pattern: str, value: str) -> bool:
    pattern = re.sub(r"\\p\{(\w+)\}", lambda named: _CLASSES.get(named[1], named[0]), pattern)
    try:
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    except re.error:  # written in another dialect of expressions; the service will say
        return True
