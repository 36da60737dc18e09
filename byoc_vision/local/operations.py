"""Which function answers which operation of the service; each gets the store and the request."""

from collections.abc import Callable

from byoc_vision.local import endpoints, models, packages, processing, tags, training, transform, tuning
from byoc_vision.local.store import Request, ServiceError, Store

_ALL: dict[str, Callable[[Store, Request], Request]] = (
    training.OPERATIONS
    | tuning.OPERATIONS
    | models.OPERATIONS
    | packages.OPERATIONS
    | endpoints.OPERATIONS
    | transform.OPERATIONS
    | processing.OPERATIONS
    | tags.OPERATIONS
)

#: The operations that are answered.
NAMES = frozenset(_ALL)


def answer(store: Store, operation: str, request: Request) -> Request:
    """Return the answer of the operation; raise `ServiceError` where the service would."""
    if operation not in _ALL:
        raise ServiceError(
            "UnknownOperationException", f"The local engine has no {operation}; docs/service.md lists what it has."
        )
    if operation.startswith("Create"):
        tags.check(request.get("Tags", []))
    return _ALL[operation](store, request)
