"""Numbers from a request's body. A stranger sent it: memory is taken only for what is there, and no code is run."""

import io
import math
from collections.abc import Callable
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.errors import described
from serve.errors import RequestError

#: Bytes of memory that Python takes for what are a few characters of text, at most: for a list or an object with its
#: first value, as in `[{"":0},{"":0},…`, and for another value with its place, as in `{"ab":1e1,"ac":1e1,…`.
_LIST_BYTES, _VALUE_BYTES = 256, 100

#: The shape and type that the header of an .npy file names.
Header = tuple[tuple[int, ...], np.dtype[Any]]


def check_values(lists: int, values: int, limit: float) -> None:
    """Raise `RequestError` 413 where so many lists, and values besides, may take more than `limit` bytes."""
    _check_size(_LIST_BYTES * lists + _VALUE_BYTES * values, limit, "the lists and values in the body take")


def csv(text: str) -> NDArray[np.float32]:
    """Return the numbers in lines with commas, [rows, columns], or [N] where there is one of either; NaN for others.

    As `numpy.genfromtxt`, which AWS's images use, in a tenth of its time: it would be busy for a minute with a request.
    """
    lines = (line.partition("#")[0].strip(" \r") for line in text.split("\n"))
    rows = [[_number(word) for word in line.split(",")] for line in lines if line]
    try:
        return np.array(rows, np.float32).squeeze()
    except ValueError as error:
        raise RequestError(400, "the CSV's lines differ in length; send as many numbers in each") from error


def _number(word: str) -> float:
    try:
        return float(word) if word else math.nan
    except ValueError:
        return math.nan


def nested(content: Any) -> NDArray[np.float32]:
    """Return a number, or lists of numbers, as JSON has them."""
    try:
        return np.array(content, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(
            400, f"the JSON body is not an array of numbers ({described(error, 100)}); send lists that are equally long"
        ) from error


def are_numbers(header: Header) -> bool:
    """Tell whether an array's numbers are of a size that machines compute with."""
    _, dtype = header
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def npy(data: bytes, fits: Callable[[Header], bool] = are_numbers, wanted: str = "numbers") -> NDArray[Any]:
    """Return the array in an .npy file, which can be written to; `wanted` says what `fits` asks of its header.

    Raises `RequestError` 400.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read_header(stream)  # type: ignore[no-untyped-call]
    # The header is Python source; parsing it fails in as many ways as there are tokens.
    except Exception as error:
        raise RequestError(400, "the body is not an .npy file; write it with numpy.save") from error
    # True and False are whole numbers to numpy, which also leaves the sign to whoever reads the data.
    whole = all(type(length) is int and length >= 0 for length in shape)
    if not whole or not fits((shape, dtype)):
        raise RequestError(400, f"the array is {dtype} {list(shape)}; send {wanted}"[:300])
    # Read here rather than by numpy, which takes the memory a header asks for before it looks for the data.
    values = memoryview(data)[stream.tell() :]
    if len(values) != dtype.itemsize * math.prod(shape):
        raise RequestError(400, f"the array holds {len(values)} bytes, its shape {list(shape)} needs another number")
    try:
        array = np.frombuffer(values, dtype).reshape(shape, order="F" if fortran_order else "C")
    except (ValueError, OverflowError) as error:
        raise RequestError(400, f"the array cannot have the shape {list(shape)}; send {wanted}"[:300]) from error
    return np.array(array, dtype.newbyteorder("="), order="C")  # torch wants memory that it could write to


def npz(data: bytes, limit: float) -> NDArray[Any]:
    """Return the array in an .npz file: the sparse matrix of `scipy.sparse.save_npz`, or the one of `numpy.savez`.

    Raises `RequestError`: 400, or 413 where it takes more than `limit` bytes.
    """
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            # Unpacked, they are there twice for a moment: in pieces and joined, then joined and as the array.
            held = 2 * sum(member.file_size for member in members)
            _check_size(held, limit)
            if len(members) == 1:
                return npy(archive.read(members[0]))
        return _dense(data, limit - held)
    except RequestError:
        raise
    # Zip archives are damaged in many ways, and all of them come as another exception.
    except Exception as error:
        raise RequestError(
            400, "the body is not an .npz file with one array; write it with scipy.sparse.save_npz or numpy.savez"
        ) from error


def _dense(data: bytes, limit: float) -> NDArray[Any]:
    import scipy.sparse  # 20 MB of memory, which few endpoints need

    matrix = scipy.sparse.load_npz(io.BytesIO(data))
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)  # else an index could lead out of the array
    if not are_numbers((matrix.shape, matrix.dtype)):
        raise RequestError(400, f"the array is {matrix.dtype}; send numbers")
    _check_size(math.prod(matrix.shape) * matrix.dtype.itemsize, limit)
    dense: NDArray[Any] = matrix.toarray()
    return dense


def _check_size(size: int, limit: float, what: str = "the array takes") -> None:
    if size > limit:
        raise RequestError(413, f"{what} {size} bytes, more than there is memory for; send less at a time")
