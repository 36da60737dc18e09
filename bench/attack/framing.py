"""Where one request ends and the next begins, said wrongly or twice."""

import random

from bench.attack import media
from bench.attack.request import HOST, PING, TYPE, Request, head, post


def encoding(generator: random.Random) -> Request:
    """A transfer encoding that nobody knows."""
    said = generator.choice(
        ("gzip", "chunked, gzip", "gzip, chunked", "identity", "xchunked", "chunked;x", "", "CHUNKED", "x" * 500)
    )
    return Request(
        head("POST /invocations HTTP/1.1", HOST, TYPE, f"Transfer-Encoding: {said}") + b"1\r\nx\r\n0\r\n\r\n", "alone"
    )


def chunks(generator: random.Random) -> Request:
    """A body in chunks that are wrong."""
    bodies = (
        b"x\r\n", b"-1\r\nx\r\n0\r\n\r\n", b"fffffffffffffffff\r\nx\r\n", b"1\r\nxx\r\n0\r\n\r\n",
        b"1;" + b"x" * 9000 + b"\r\nx\r\n0\r\n\r\n", b"0x1\r\nx\r\n0\r\n\r\n", b"7fffffffffffffff\r\nx", b"1\nx\n0\n\n",
        b" 1\r\nx\r\n0\r\n\r\n", b"1\r\nx\r\n0\r\nX: y\r\n\r\n", b"0\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n", b"0\r\n\r\n", b"1\r\nx\r\n00000000000\r\n\r\n", b"\r\n",
        b"700000\r\n" + b"x" * 1000, b"1 \r\nx\r\n0\r\n\r\n",
    )  # fmt: skip
    data = head("POST /invocations HTTP/1.1", HOST, TYPE, "Transfer-Encoding: chunked") + generator.choice(bodies)
    # Some are only the beginning of a body; a server may wait for the rest of them.
    return Request(data, "alone", answers=0, more=1)


def good_chunks(generator: random.Random) -> Request:
    """A good picture in many small chunks."""
    body, step = media.good(generator), generator.choice((1, 7, 100))
    cuts = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in (body[i : i + step] for i in range(0, len(body), step))
    )
    return Request(
        head("POST /invocations HTTP/1.1", HOST, TYPE, "Transfer-Encoding: chunked") + cuts + b"0\r\n\r\n", "alone"
    )


def smuggling(generator: random.Random) -> Request:
    """Two lengths of one body; what lies beyond one of them would be a request of its own."""
    inner, end = head("GET /models HTTP/1.1", HOST), b"0\r\n\r\n"
    both = f"Content-Length: {len(inner) + 5}", "Transfer-Encoding: chunked"
    start = "POST /invocations HTTP/1.1", HOST, TYPE
    forms = (
        head(*start, *both) + end + inner,
        head(*start, *reversed(both)) + end + inner,
        head(*start, "Content-Length: 1", f"Content-Length: {len(inner)}") + inner,
        head(*start, "Content-Length: 4", "Transfer-Encoding: chunked") + b"5c\r\n" + inner + end,
        head(*start, "Transfer-Encoding : chunked", "Content-Length: 5") + end + inner,
        head(*start, "Transfer-Encoding: chunked", "Transfer-Encoding: x") + end + inner,
        head("POST /invocations HTTP/1.0", HOST, TYPE, "Transfer-Encoding: chunked") + end + inner,
        head(*start, b"Transfer-Encoding:\x0bchunked", "Content-Length: 5") + end + inner,
        head("GET /ping HTTP/1.1", HOST, f"Content-Length: {len(inner)}") + inner,
    )
    return Request(generator.choice(forms) + PING, "alone", more=2)


def pipeline(generator: random.Random) -> Request:
    """Several requests at once, good and bad ones."""
    parts = [
        generator.choice((PING, post(b"").data, post(media.good(generator)).data, head("GET / HTTP/1.1", HOST)))
        for _ in range(generator.choice((2, 5, 20)))
    ]
    return Request(b"".join(parts), "alone", answers=len(parts))


USUAL = {
    "transfer encoding": encoding,
    "bad chunks": chunks,
    "good picture in chunks": good_chunks,
    "smuggling": smuggling,
    "pipeline": pipeline,
}
