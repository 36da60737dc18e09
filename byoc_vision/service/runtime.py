"""InvokeEndpoint and InvokeEndpointAsync over HTTP."""

from urllib.parse import unquote

from byoc_vision.local.invocations import VARIANT_HEADER, InvocationError, Invocations, named
from byoc_vision.local.store import Store
from byoc_vision.service.asynchronous import Queues
from byoc_vision.service.message import Call, Reply, json_reply

#: Headers of the container's answer that the caller gets.
_PASSED_ON = ("content-type", "x-amzn-sagemaker-custom-attributes", VARIANT_HEADER.lower())


class Runtime:
    """The endpoints of a store."""

    def __init__(self, store: Store) -> None:
        self._invocations = Invocations(store)
        self._queues = Queues(store, self._invocations)

    def __call__(self, call: Call) -> Reply:
        """Answer a request."""
        try:
            parts = call.path.split("/")
            if call.method == "POST" and len(parts) == 4 and parts[3] == "async-invocations":
                return self._queues.add(unquote(parts[2]), call)
            answer = self._invocations.ask(named(call.path), call.headers, call.whole())
        except InvocationError as refusal:
            content = {"message": str(refusal), "Message": str(refusal)} | refusal.fields
            return json_reply(content, refusal.status, **{"x-amzn-ErrorType": refusal.code})
        headers = {name: value for name, value in answer.headers.items() if name.lower() in _PASSED_ON}
        return Reply(200, answer.body, headers)

    def resume(self) -> None:
        """Go on with what was queued before the service's last end."""
        self._queues.resume()
