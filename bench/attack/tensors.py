"""Tensors in NPY files whose headers are wrong, or lie."""

import random
import struct

from bench.attack.request import NPY, Request, post

SHAPES = (
    "(1, 3, 224, 224)", "(0, 3, 224, 224)", "(True, 3, 64, 64)", "(1, 3, 8, 8)", "(-1, 3, 224, 224)", "(1.0, 3, 8, 8)",
    "(10**20, 3, 1, 1)", "(1000000000000, 3, 224, 224)", "(99999999999999999999999, 1, 1, 1)", "()", "(3,)", "3",
    "None", "[1, 3, 8, 8]", "'1'", "(1, 3, 8, '8')", "(1, 3, (8,), 8)", "(1, 3, 8, 8, 8)", "(None, 3, 8, 8)",
    "(1j, 3, 8, 8)", "{1: 3}", "(2**31, 2**31, 4, 1)", "(18446744073709551617, 1, 1, 1)", "(" * 200 + ")" * 200,
    "(" + "1, " * 5000 + ")", "__import__('os').abort()", "(1, 3, 224, 224)" + " " * 60_000, "(float('nan'), 3, 8, 8)",
    "(0x10, 3, 8, 8)", "(1_0, 3, 8, 8)",
)  # fmt: skip
DTYPES = (
    "'<f4'", "'>f4'", "'=f4'", "'<f8'", "'<f2'", "'|O'", "'<U9999999'", "'|V1000000000'", "'<i4'", "'|b1'", "'<c8'",
    "'M8[s]'", "[('a', '<f4')]", "None", "4", "'<f4' * 10", "'float32'", "''", "'\\ud800'", "{}", "('<f4', (2,))",
    "'<f4,<f4'",
)  # fmt: skip
ORDERS = ("False", "True", "None", "0", "'C'", "[]")


def npy(generator: random.Random) -> Request:
    """A tensor whose header has one field of a wrong kind, or lies, or says of itself a wrong length or version."""
    shape, dtype, order = SHAPES[0], DTYPES[0], ORDERS[0]
    field = generator.randrange(5)
    if field == 0:
        shape = generator.choice(SHAPES)
    elif field == 1:
        dtype = generator.choice(DTYPES)
    elif field == 2:
        order = generator.choice(ORDERS)
    header = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}}}"
    if field == 3:
        header = generator.choice(("", "{}", "[]", "{" * 1000, "'", "\0" * 100, header + "x", header[:-1], header * 2))
    encoded = header.encode() + b"\n"
    length, version = len(encoded), b"\x01\x00"
    if field == 4:
        length, version = (
            generator.choice((0, 1, length, 65_535)),
            generator.choice((b"\0\0", b"\1\1", b"\2\0", b"\3\0", b"\xff\xff")),
        )
    values = generator.choice((b"", b"\0" * 12, b"\0" * 3 * 8 * 8 * 4, b"\0\0\xc0\x7f" * 3 * 64 * 64, b"\xff" * 1000))
    return post(b"\x93NUMPY" + version + struct.pack("<H", min(length, 65_535)) + encoded + values, NPY)


def npy_cut(generator: random.Random) -> Request:
    """A good header of a tensor, cut at any byte."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {SHAPES[0]}}}".ljust(117).encode() + b"\n"
    whole = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    return post(whole[: generator.randrange(len(whole) + 1)], NPY)


USUAL = {"NPY header": npy, "NPY cut": npy_cut}


def large_tensor(_: random.Random) -> Request:
    """A good header over almost as many values as fit, all NaN."""
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (10, 3, 224, 224)}".ljust(117).encode() + b"\n"
    values = b"\0\0\xc0\x7f" * (10 * 3 * 224 * 224)
    return post(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values, NPY)


LARGE = {"tensor of 6 MB of NaN": large_tensor}
