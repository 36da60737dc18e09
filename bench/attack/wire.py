"""What is no well-formed HTTP, and clients that do not wait."""

import random

from bench.attack import media
from bench.attack.request import HOST, PING, TYPE, Request, head, post, text


def request_line(generator: random.Random) -> Request:
    """A request line that is none."""
    lines = (
        "GET", "GET /", "GET  /ping  HTTP/1.1", "GET /ping HTTP/1.1 x", "GET /ping HTTP/9.9", "GET /ping HTTP/1.",
        "GET /ping XTTP/1.1", "GET /ping HTTP/0.9", "GET ping HTTP/1.1", " GET /ping HTTP/1.1", "get /ping HTTP/1.1",
        "post /invocations HTTP/1.1", "G\0T /ping HTTP/1.1", "GET /\x01 HTTP/1.1", "GET /ping\tHTTP/1.1", "/ping",
        "HTTP/1.1 200 OK", "\x7f", "ü /ping HTTP/1.1", "GET http:// HTTP/1.1", "GET http://other/ping HTTP/1.1",
        "GET * HTTP/1.1", "OPTIONS * HTTP/1.1", "GET /ping HTTP/2.0", "GET /ping HTTP/1.1\rX: y",
        "X" * 200 + " / HTTP/1.1", "GET /ping HTTP/1.10", "GET /ping HTTP/11.1", "GET /ping http/1.1",
    )  # fmt: skip
    # Some can be read as the beginning of a request.
    return Request(head(generator.choice(lines), HOST), "alone", answers=0, more=1)


def method(generator: random.Random) -> Request:
    """Another method, on a path that is there or not."""
    name = generator.choice(
        ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "MKCOL", "BREW", "X", "GETX", "HEAD")
    )
    target = generator.choice(("/invocations", "/ping", "/", "/models/model"))
    return Request(head(f"{name} {target} HTTP/1.1", HOST, "Content-Length: 0"), "alone", method=name)


def connect(generator: random.Random) -> Request:
    """A client that takes the endpoint for a proxy."""
    return Request(head(f"CONNECT {generator.choice(('a:443', '127.0.0.1:8080', '/', '*'))} HTTP/1.1", HOST), "alone")


def other_protocol(generator: random.Random) -> Request:
    """The first bytes of HTTP/2, TLS, SSH and others, or any bytes."""
    hellos = (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"\x16\x03\x01\x00\xf1\x01\x00\x00\xed\x03\x03" + generator.randbytes(230) + b"\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + PING,
        b"\r\n" * 100,
        b"\0" * 100 + b"\r\n\r\n",
        generator.randbytes(generator.choice((1, 10, 100, 1000))).replace(b"\n", b"x") + b"\r\n\r\n",
        b"EHLO x\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n\r\n",
    )
    # A server may skip empty lines, and wait.
    return Request(generator.choice(hellos), "alone", answers=0, more=1)


def header_line(generator: random.Random) -> Request:
    """A header line that is none, or a Host that may not be."""
    lines = (
        b"X", b": x", b"X : y", b" X: y", b"X\0: y", b"X: \0", b"X: y\rZ: w", b"\xff: x", b"X Y: z", b"Host: other",
        b"Host:", b"Host: a b", b"Host: a\xff", b"Host: [::1", b"X: y\r\n folded", b"X_Y: z",
        b"Content-Type: a\r\nContent-Type: b", b"Content-Length: x", b"Content-Length: -1", b"Content-Length: 1e3",
        b"Content-Length: +1", b"Content-Length: 1, 1", b"Content-Length: 99999999999999999999999",
        b"Content-Length: 0x1", b"Content-Length: ", b"Content-Length: 1 1",
    )  # fmt: skip
    return Request(
        head("POST /invocations HTTP/1.1", HOST, TYPE, generator.choice(lines), "Content-Length: 0"), "alone"
    )


def without_host(generator: random.Random) -> Request:
    """Requests of HTTP 1.1 without a host, and of HTTP 1.0."""
    version = generator.choice(("1.0", "1.1"))
    return Request(head(f"POST /invocations HTTP/{version}", TYPE, "Content-Length: 1") + b"x", "alone")


def left(generator: random.Random) -> Request:
    """A client that goes before its answer, or before its request is whole."""
    data = post(media.good(generator)).data
    return Request(
        data[: generator.choice((len(data), generator.randrange(len(data))))],
        generator.choice(("left", "reset")),
        answers=0,
    )


def held(generator: random.Random) -> Request:
    """A head or a body that does not go on."""
    data = post(media.good(generator)).data
    return Request(data[: generator.randrange(1, len(data))], "held", answers=0)


USUAL = {
    "request line": request_line,
    "method": method,
    "CONNECT": connect,
    "other protocol": other_protocol,
    "header line": header_line,
    "without host": without_host,
    "client that leaves": left,
    "client that stops": held,
}


def long_url(generator: random.Random) -> Request:
    """An address of a megabyte."""
    address = generator.choice(("/invocations?", "/", "/invocations/../")) + text(generator, 100, "ab%/.?&=") * 10_000
    return Request(head(f"GET {address} HTTP/1.1", HOST), "alone")


LARGE = {"URL of 1 MB": long_url}
