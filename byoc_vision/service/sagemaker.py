"""SageMaker's operations: checked against the service's model, answered by the engine, written as the service does."""

from datetime import datetime
from typing import Any

from byoc_vision.contract.errors import UserError
from byoc_vision.local import operations
from byoc_vision.local.containers import NoDockerError
from byoc_vision.local.store import ServiceError, Store
from byoc_vision.requests import validation
from byoc_vision.service.message import Call, Reply, checked, json_reply


class SageMaker:
    """The operations of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._model = validation.service()

    def __call__(self, call: Call) -> Reply:
        """Answer a request."""
        operation = call.headers["x-amz-target"].partition(".")[2]
        if operation not in self._model.operation_names:
            raise ServiceError("UnknownOperationException", f"SageMaker has no operation {operation!r}.")
        answered = operation in operations.NAMES
        request = checked("sagemaker", operation, call, "ValidationException") if answered else call.json()
        try:
            answer = operations.answer(self._store, operation, request)
        except NoDockerError:
            raise
        except UserError as error:
            raise ServiceError("ValidationException", f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        shape = self._model.operation_model(operation).output_shape
        return json_reply(_written(answer, shape) if shape else {})


def _written(value: Any, shape: Any) -> Any:
    """Return what the shape has of the value, with times as the service writes them."""
    if shape.type_name == "structure":
        members = shape.members
        return {name: _written(value[name], members[name]) for name in members if value.get(name) is not None}
    if shape.type_name == "list":
        return [_written(member, shape.member) for member in value]
    if shape.type_name == "map":
        return {name: _written(member, shape.value) for name, member in value.items()}
    if shape.type_name == "timestamp" and isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    return value
