"""InvokeEndpoint over HTTP."""

from urllib.parse import unquote

from byoc_vision.local.invocations import InvocationError, Invocations
from byoc_vision.local.store import ServiceError, Store
from byoc_vision.service.message import Call, Reply, json_reply

#: Headers of the container's answer that the caller gets.
_PASSED_ON = ("content-type", "x-amzn-sagemaker-custom-attributes")


class Runtime:
    """The endpoints of a store."""

    def __init__(self, store: Store) -> None:
        self._invocations = Invocations(store)

    def __call__(self, call: Call) -> Reply:
        """Answer a request."""
        parts = call.path.split("/")
        if call.method != "POST" or len(parts) != 4 or parts[1] != "endpoints" or parts[3] != "invocations":
            raise ServiceError("UnknownOperationException", "The local engine has InvokeEndpoint only.")
        try:
            answer = self._invocations.ask(unquote(parts[2]), call.headers, call.whole())
        except InvocationError as refusal:
            content = {"message": str(refusal), "Message": str(refusal)} | refusal.fields
            return json_reply(content, refusal.status, **{"x-amzn-ErrorType": refusal.code})
        headers = {name: value for name, value in answer.headers.items() if name.lower() in _PASSED_ON}
        headers["x-Amzn-Invoked-Production-Variant"] = "AllTraffic"
        return Reply(200, answer.data, headers)
