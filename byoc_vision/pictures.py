"""Pictures to predict: files, folders and URLs, read with limits."""

import http.client
import ipaddress
import logging
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from byoc_vision.contract import folders
from byoc_vision.contract.errors import UserError

_log = logging.getLogger(__name__)

#: The most that a real-time endpoint takes.
MAX_BYTES = 6 * 1024 * 1024

#: Endings whose type is sent; a container tells any other picture by its content.
SUFFIXES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}

_REDIRECTS = 5
_SECONDS = 30  # for one URL, all in all


@dataclass(frozen=True)
class Picture:
    """One picture as it is sent."""

    name: str
    content: bytes
    content_type: str


def names(sources: list[str]) -> Iterator[str]:
    """Yield the sources, with what may be pictures below a folder in the folder's place. Raises `UserError`.

    Which files these are is the same as in training.
    """
    for source in sources:
        path = Path(source)
        if source.startswith(("http://", "https://")) or path.is_file():
            yield source
        elif path.is_dir():
            folder = folders.read(path)
            pictures = [str(file) for file in folder.pictures()]
            parts = list(folder.walk())
            others = [name for part in parts for name in part.others]
            if said := folders.left_out(sum(len(part.litter) for part in parts), others):
                _log.info("%s: %s", source, said)
            if not pictures:
                raise UserError(f"{source} holds no pictures; give a folder that does")
            yield from pictures
        else:
            raise UserError(f"the picture {source} does not exist; give a file, a folder or a URL")


def read(name: str) -> Picture:
    """Return the picture in the file or at the URL `name`. Raises `UserError`, whose text leaves the name out."""
    if name.startswith(("http://", "https://")):
        return Picture(name, _fetch(name), "application/x-image")  # what a server calls it need not be true
    try:
        status = Path(name).stat()
    except OSError as error:
        raise UserError(f"it cannot be read ({error.strerror}); check the file or link") from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError("it is no file; give a picture")
    if status.st_size > MAX_BYTES:
        raise UserError(f"it has {status.st_size / 2**20:.1f} MB and endpoints take 6; send a smaller picture")
    return Picture(name, Path(name).read_bytes(), SUFFIXES.get(Path(name).suffix.lower(), "application/x-image"))


def _fetch(url: str) -> bytes:
    """Return what is at the public URL, following redirects; every address on the way must be public, too.

    Proxies are not used: they would look addresses up again, out of our sight.
    """
    deadline = time.monotonic() + _SECONDS
    at = url  # of this hop
    try:
        for _ in range(_REDIRECTS + 1):
            parts = urlsplit(at)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise UserError(f"it leads to {at!r}, which is no http or https address")
            tls = parts.scheme == "https"
            port = parts.port or (443 if tls else 80)  # else a host of many colons would be taken apart again
            connection = (_TLSConnection if tls else _Connection)(parts.hostname, port, timeout=10)
            try:
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "byoc-vision"})
                response = connection.getresponse()
                if response.status in (301, 302, 303, 307, 308) and response.getheader("Location"):
                    at = urljoin(at, response.getheader("Location", ""))
                    continue
                if response.status != 200:
                    raise UserError(f"the server answers {response.status} {response.reason}; check the URL")
                return _body(response, deadline)
            finally:
                connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(f"it cannot be fetched ({error or type(error).__name__}); check the URL") from None
    raise UserError(f"it redirects more than {_REDIRECTS} times; check the URL")


def _body(response: http.client.HTTPResponse, deadline: float) -> bytes:
    content = b""
    while piece := response.read1(65536):
        content += piece
        if len(content) > MAX_BYTES:
            raise UserError("it has more than the 6 MB that endpoints take; use a smaller picture")
        if time.monotonic() > deadline:
            raise UserError(f"it takes more than {_SECONDS} s; fetch it yourself and give the file")
    return content


def _connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """Return a socket to `host`: the very address that was looked at is the one connected to."""
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        ip = str(address[0])
        if not _is_public(ip):
            raise UserError(f"{host} is {ip}, which is no public address; fetch the picture yourself and give the file")
        return socket.create_connection((ip, port), timeout)
    raise OSError(f"{host} has no address")


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_global and not ip.is_multicast


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = _connect(self.host, self.port, self.timeout)


class _TLSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        plain = _connect(self.host, self.port, self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
