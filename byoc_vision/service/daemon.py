"""The service's process: start, stop, and what is known of it. Its lock is the sign of its life.

ROOT/service/lock           held by the process that serves
ROOT/service/service.json   where it listens: host, port, token, pid
ROOT/service/service.log    what went wrong in it
ROOT/service/sagemaker.yaml the SageMaker SDK's configuration, and aws.ini that of AWS's clients (`env`)
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from byoc_vision import home
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import write_text
from byoc_vision.local.store import Lock, Store

#: The port where none is asked for and none was used before.
PORT = 4545

_LOOPBACK = ("127.0.0.1", "localhost")

#: Seconds that a start or an end may take.
_PATIENCE = 120


@dataclass(frozen=True)
class Address:
    """Where a service listens. `token` is the access key's id that it wants; on loopback any will do."""

    host: str
    port: int
    token: str | None
    pid: int

    @property
    def url(self) -> str:
        """The URL for clients on this machine."""
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', *_LOOPBACK) else self.host}:{self.port}"


class Service:
    """The service of the local engine's folder `root`."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or home.local()).absolute()
        self.folder = self.root / "service"

    @property
    def address(self) -> Address | None:
        """Where the service listens, or None where it does not run."""
        try:
            with Lock(self.folder / "lock"):
                return None
        except FileNotFoundError:
            return None
        except BlockingIOError:
            try:
                return self._last()
            except (ValueError, TypeError):
                reason = f"{self.folder}/service.json is damaged, or another version's; end the process of the service"
                raise UserError(f"{reason}, and start it again") from None

    def start(self, host: str | None, port: int | None) -> Address:
        """Start the service in the background; return where it listens. One that runs already is left alone."""
        if address := self.address:
            return address
        home.make(self.root)
        self.folder.mkdir(mode=0o700, exist_ok=True)  # the token is in it
        options = [*(["--host", host] if host else []), *(["--port", str(port)] if port is not None else [])]
        with (self.folder / "service.log").open("ab") as log:
            begin = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "byoc_vision", "service", "foreground", *options],
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "BYOC_LOCAL": str(self.root)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _PATIENCE
        while (address := self.address) is None or address.pid != process.pid:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                said = (self.folder / "service.log").read_bytes()[begin:].decode(errors="replace").strip()
                reason = said.rpartition("\n")[2].removeprefix("byoc service: ")
                raise UserError(reason or f"the service did not start in {_PATIENCE} s; its log is {log.name}")
            time.sleep(0.05)
        return address

    def stop(self) -> bool:
        """End the service; return whether there was one. Jobs go on; clients try again what they were asking."""
        address = self.address
        if address is None:
            return False
        os.kill(address.pid, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while self.address == address:
            if time.monotonic() > deadline:
                raise UserError(f"the service, process {address.pid}, has not ended in {_PATIENCE} s")
            time.sleep(0.05)
        return True

    def serve(self, host: str | None, port: int | None) -> None:
        """Be the service, until SIGTERM or SIGINT."""
        from byoc_vision.service import env
        from byoc_vision.service.resumption import resume
        from byoc_vision.service.server import Server

        home.make(self.root)
        self.folder.mkdir(mode=0o700, exist_ok=True)  # the token is in it
        with self._taken():
            last = None
            with suppress(ValueError, TypeError):  # damaged, or another version's
                last = self._last()
            host = host or "127.0.0.1"
            token = None if host in _LOOPBACK else (last and last.token) or secrets.token_hex(16)
            port = port if port is not None else last.port if last else PORT
            store = Store(self.root)
            try:
                server = Server(store, host, port, token)
            except OSError as error:
                reason = f"{host}:{port} cannot be listened on ({error.strerror}); give others with --host and --port"
                raise UserError(reason) from None
            with server:
                address = Address(host, server.server_port, token, os.getpid())
                env.prepare(store)
                write_text(self.folder / "service.json", json.dumps(asdict(address)) + "\n")
                print(f"SageMaker on this machine: {address.url}", flush=True)
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
                resume(store)
                server.runtime.resume()
                server.serve_forever(0.1)

    def _taken(self) -> Lock:
        """Return the lock; who only looks whether it is free has it for a moment, too."""
        for _ in range(20):
            try:
                return Lock(self.folder / "lock")
            except BlockingIOError:
                time.sleep(0.05)
        raise UserError(f"a service of {self.root} runs already; byoc service stop ends it")

    def _last(self) -> Address | None:
        try:
            return Address(**json.loads((self.folder / "service.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
