"""What a request is refused with."""

from sagemaker_inference.errors import GenericInferenceToolkitError


class RequestError(GenericInferenceToolkitError):  # type: ignore[misc]
    """The request cannot be answered: an HTTP status and one sentence for the client."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
