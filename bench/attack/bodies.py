"""JSON and forms that are wrong in every way they can be, and bodies of the longest size."""

import base64
import json
import random

from bench.attack import media
from bench.attack.request import JPEG, JSON, LIMIT, NPY, Request, post


def _b64(generator: random.Random) -> str:
    return base64.b64encode(media.good(generator)).decode()


def json_value(generator: random.Random) -> Request:
    """JSON of a wrong form, or with a value of a wrong kind where a picture is due."""
    good = _b64(generator)
    values = (
        "null", "true", "0", "-0", "1e999", "NaN", "-Infinity", '""', '"\\ud800"', "[]", "{}", '"\\u0000"', "[[]]",
        '{"b64": null}', '{"b64": ""}', '{"b64": "%%%"}', '{"b64": "\\ud83d"}', '{"b64": {"b64": "x"}}', '{"b64": [1]}',
        '{"url": "http://169.254.169.254/"}', '{"b64": "eA=="}', '{"b64": "eA"}', '{"b64": " e A = = "}', f'"{good}"',
        f'{{"b64": "data:image/jpeg;base64,{good}"}}', f'{{"b64": "{good}", "b64": 1}}', f'{{"b64": "{good[:-9]}"}}',
        f'{{"b64": "{base64.b64encode(good.encode()).decode()}"}}', f'{{"B64": "{good}"}}',
        '{"b64": "' + "=" * 999 + '"}',
    )  # fmt: skip
    value = generator.choice(values)
    forms = (
        "%s", '{"instances": %s}', '{"instances": [%s]}', '{"instances": [%s, %s]}',
        '{"instances": [], "instances": [%s]}', '{"inputs": [%s]}', '{"instances": {"0": %s}}', '[{"instances": [%s]}]',
        '{"instances": [%s]}}', '{"instances": [%s',
    )  # fmt: skip
    form = generator.choice(forms)
    return post(form.replace("%s", value).encode("utf-8", "surrogatepass"), JSON)


def json_text(generator: random.Random) -> Request:
    """Text that is hard on a parser: deep, huge, cut, in another encoding."""
    depth = generator.choice((100, 1000, 100_000))
    texts = (
        b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth, b'{"instances": ' + b"9" * depth + b"}",
        b'{"instances": [1' + b"0" * 5000 + b"]}", b'{"instances": 1e' + b"9" * 1000 + b"}", b"-", b"\xff\xfe{\0}\0",
        '{"ä": 1}'.encode("latin-1"), '{"instances": []}'.encode("utf-16"), '{"instances": []}'.encode("utf-32"),
        b"\xef\xbb\xbf" + b'{"instances": []}', b"\xed\xa0\x80", b'"\xc0\x80"', b"{'instances': []}", b"{}{}",
        b'{"instances"', b'{"instances": [' + b"," * 1000 + b"]}", b"{" + b'"a": 1, ' * 1000 + b'"a": 1}',
        b" " * 10_000, b"nul", b"\0",
    )  # fmt: skip
    return post(generator.choice(texts), generator.choice((JSON, JSON + "; charset=utf-16", JSON + "; charset=x")))


def many_instances(generator: random.Random) -> Request:
    """More instances than there may be, or as many as there may be and one that is bad."""
    count = generator.choice((65, 66, 1000))
    instances = (
        [{"b64": "eA=="}] * count if generator.random() < 0.5 else [*([{"b64": _b64(generator)}] * 3), {"b64": 1}]
    )
    return post(json.dumps({"instances": instances}).encode(), JSON)


def multipart(generator: random.Random) -> Request:
    """A form with a file, broken at its boundary, its headers, its names or its end."""
    picture = media.good(generator)
    boundary = generator.choice(
        (
            *("x", "----WebKitFormBoundaryAb", "x" * 70, "x" * 5000, "", " ", '"x"', "ü", "x;y", "--"),
            *("x; boundary*=idna''x", "x; boundary*" + "9" * 5000 + "=x"),
        )
    )
    dispositions = (
        'form-data; name="file"; filename="dog.jpg"', "form-data", "attachment", 'form-data; name="', "", "x" * 5000,
        'form-data; name="file"; filename="../../x"', 'form-data; name="\0"', "form-data; name*=utf-8''%ff", ";" * 1000,
    )  # fmt: skip
    lines = (
        b"Content-Disposition: " + generator.choice(dispositions).encode(),
        b"Content-Type: " + generator.choice((b"image/jpeg", b"", b"\xff")),
        b"",
        picture,
    )
    part = b"\r\n".join(lines)
    mark = b"--" + boundary.encode()
    forms = (
        mark + b"\r\n" + part + b"\r\n" + mark + b"--\r\n",
        mark + b"\r\n" + part,
        mark + b"\n" + part + b"\n" + mark + b"--",
        (mark + b"\r\n" + part + b"\r\n") * 3 + mark + b"--\r\n",
        (mark + b"\r\n\r\n\r\n") * 500 + mark + b"--",
        mark + b"\r\n" + b"X: y\r\n" * 1000 + part + b"\r\n" + mark + b"--",
        mark + b"--\r\n",
        part + mark,
        mark + b"\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n--y--\r\n" + mark + b"--\r\n",
        b"\r\n" * 1000 + mark,
        b"",
    )
    types = (
        f"multipart/form-data; boundary={boundary}",
        "multipart/form-data",
        f"multipart/mixed; boundary={boundary}",
    )
    return post(generator.choice(forms), generator.choice(types))


def b64_of_anything(generator: random.Random) -> Request:
    """One instance that is right in its form, of bytes that are no good picture."""
    bad = generator.choice((media.cut, media.changed))(generator)
    encode = generator.choice((base64.b64encode, base64.urlsafe_b64encode, base64.b32encode, base64.a85encode))
    return post(json.dumps({"instances": [{"b64": encode(bad).decode()}]}).encode(), JSON)


USUAL = {
    "JSON value": json_value,
    "JSON text": json_text,
    "JSON of many instances": many_instances,
    "JSON, base64 of a bad picture": b64_of_anything,
    "multipart form": multipart,
}


def size(generator: random.Random) -> Request:
    """A body of just the longest size that is taken, or one byte more or less."""
    length = LIMIT + generator.choice((-1, 0, 1))
    start = generator.choice(
        (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b'{"instances": [{"b64": "', b"\x93NUMPY\1\0\x76\0")
    )
    return post(
        start.ljust(length, generator.choice((b"\0", b"A", b"\xff"))), generator.choice((JPEG, JSON, NPY, "text/plain"))
    )


def growing(generator: random.Random) -> Request:
    """Text that becomes many times its size in memory: lists, objects, values, or words of base64."""
    value = generator.choice((b"[]", b'{"":0}', b"1e1", b'"ab"', b"[[[[0]]]]"))
    count = 4_000_000 // (len(value) + 1)
    words = b'{"instances": [{"b64": "' + b"AA " * 1_500_000 + b'"}]}'
    texts = (b"[" + (value + b",") * count + b"0]", b'{"instances": [' + (value + b",") * count + b"0]}", words)
    return post(generator.choice(texts), JSON)


LARGE = {"body at the limit": size, "JSON that grows": growing}
