"""A server on this machine: what the service and the page of `byoc try` have in common."""

import http.server
import sys
from typing import Any


class Server(http.server.ThreadingHTTPServer):
    """Answers each connection in a thread, which does not outlive the program."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind the socket. The class before asks the network for the host's name, which may take seconds."""
        super(http.server.HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that clients have left."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)
