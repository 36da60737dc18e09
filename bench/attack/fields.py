"""Requests whose header fields are wrong, odd, long or many: error sentences of all lengths follow each other."""

import random

from bench.attack import media
from bench.attack.request import JPEG, JSON, NPY, Request, post, text

TYPES = (
    JPEG, JSON, NPY, "image/png", "image/webp", "image/gif", "image/avif", "image/heic", "image/svg+xml", "image/*",
    "application/x-image", "application/octet-stream", "binary/octet-stream", "application/jsonlines", "text/csv",
    "application/pdf", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=x",
    "text/plain", "text/html; charset=utf-8", "IMAGE/JPEG;q=1", "image/jpeg, image/png", "image", "/", ";", "", "*/*",
)  # fmt: skip
BODIES = (
    b"", b"\0", b"hello", b"{}", b"[]", b"null", b'{"instances": []}', b"1,2,3\n", b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html></html>", b"\x93NUMPY",
    b"\xef\xbb\xbf{}", b"--x\r\n\r\n\r\n--x--\r\n", b"a=b", b"\x1f\x8b\x08\0\0\0\0\0", b"PK\x03\x04", b"\0" * 1000,
    b"\xff" * 1000,
)  # fmt: skip
#: What browsers and tools say that they accept, and what nobody would.
ACCEPTS = (
    "*/*", JSON, "application/jsonlines", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif;q=0.8",
    "text/html", "image/*", "application/json;q=0", "application/json;q=x", "nonsense", ";;;", ",", "", "*", "*/json",
)  # fmt: skip
ALPHABETS = ("x", "ab/;,=. ", "äöüß", "日本語", "😀", "\x80\xff", '"\\', "\t ")
LENGTHS = (0, 1, 2, 10, 100, 300, 500, 900, 1000, 1500, 2000, 4000, 8000)


def type_and_body(generator: random.Random) -> Request:
    """Any content type over any body."""
    return post(generator.choice(BODIES), generator.choice((*TYPES, None)))


def type_and_picture(generator: random.Random) -> Request:
    """Any content type over a good picture."""
    return post(media.good(generator), generator.choice((*TYPES, None)))


def long_type(generator: random.Random) -> Request:
    """A content type of 0 to 8,000 characters, ASCII or not."""
    length = generator.choice((*LENGTHS, generator.randrange(8001)))
    said = text(generator, length, generator.choice(ALPHABETS))
    return post(generator.choice((b"", b"x")), said.encode()[:8000])


def accept(generator: random.Random) -> Request:
    """Something else to accept than we have."""
    return post(media.good(generator), headers={"Accept": generator.choice(ACCEPTS)})


def long_accept(generator: random.Random) -> Request:
    """An Accept of 0 to 8,000 characters, ASCII or not."""
    length = generator.choice((*LENGTHS, generator.randrange(2001)))
    said = text(generator, length, generator.choice(ALPHABETS))
    return post(b"x", headers={"Accept": said.encode()[:8000].decode(errors="ignore")})


def short_error(_: random.Random) -> Request:
    """The shortest refusal there is: a front end that sizes its buffers by recent answers makes them small."""
    return post(b"")


def many_headers(generator: random.Random) -> Request:
    """Up to 2,000 header fields."""
    count = generator.choice((10, 100, 500, 2000))
    return post(b"", headers={f"X-{i}": "x" * generator.choice((0, 1, 20)) for i in range(count)})


def long_header(generator: random.Random) -> Request:
    """One header field of up to 64 KB, or a long name of one."""
    length = generator.choice((1000, 7000, 9000, 16_000, 33_000, 65_536))
    name, value = generator.choice((("X-Long", "x" * length), ("X" * length, "x"), ("Cookie", "a=b; " * (length // 5))))
    return post(b"", headers={name: value})


def odd_header(generator: random.Random) -> Request:
    """A header field that means something to some server or proxy."""
    headers = (
        {"Expect": "100-continue"},
        {"Expect": "200-maybe"},
        {"Content-Encoding": "gzip"},
        {"Range": "bytes=0-0"},
        {"If-None-Match": "*"},
        {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__"},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
        {"X-Error": "false", "X-Client-Content-Type": JSON},
        {"X-Accel-Redirect": "/ping"},
        {"X-Amzn-SageMaker-Custom-Attributes": "ü" * 1000},
        {"X-Amzn-SageMaker-Target-Model": "../../etc"},
        {"Host": "other"},
        {"X-Forwarded-Host": "other", "X-Original-URL": "/models"},
        {"Trailer": "Content-Length"},
        {"Proxy": "http://127.0.0.1:1"},
    )
    return post(b"hello", headers=generator.choice(headers))


def path(generator: random.Random) -> Request:
    """Another path, or the right one with something behind it."""
    paths = (
        "/", "/invocations/", "/invocations?x=1", "/invocations%00", "/invocations/../ping", "//invocations",
        "/%2e%2e/", "/models", "/models/model", "/models?url=/opt/ml/model", "/predictions/model", "/metrics",
        "/ping?x=%ff", "/models/../invocations", "/models/a/invoke", "/favicon.ico", "/%", "/%zz", "/.git/config",
        "/\\..\\x", "/?" + "x" * 4000,
    )  # fmt: skip
    return post(b"{}", JSON, path=generator.choice(paths))


USUAL = {
    "content type × body": type_and_body,
    "content type × good picture": type_and_picture,
    "content type of 0 to 8,000": long_type,
    "accept": accept,
    "accept of 0 to 8,000": long_accept,
    "shortest error": short_error,
    "many headers": many_headers,
    "long header": long_header,
    "odd header": odd_header,
    "path": path,
}


def header_bomb(generator: random.Random) -> Request:
    """A megabyte of header fields."""
    return post(b"", headers={f"X-{i}": "x" * 1000 for i in range(generator.choice((300, 1000)))})


LARGE = {"header bomb": header_bomb}
