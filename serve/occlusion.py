"""Where the network looked, as far as its answers tell: how much each part of a picture speaks for the class it named.

Occlusion (Zeiler and Fergus, 2014, section 4.2): a square is covered, in one place after the other, and where that
makes the class less probable, something spoke for it. It takes nothing but answers, so it works in every numeric form
and with every library, and costs as many runs of the network as there are places.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from serve.encoding import CSV, JSON, NPY
from serve.errors import RequestError

#: The parameter of an accepted type that asks for a map.
PARAMETER = "heat_map"
ASKED = f"{PARAMETER}=true"

#: Types of answers that hold numbers alone.
_WITHOUT = (CSV, NPY, "text/*")

#: Cells of the covering square's side: the smaller it is, the less of a thing it hides.
_SQUARE = 2

#: Covered pictures that go through the network together, which bounds their memory.
_BATCH = 16

#: The highest value of a map.
_MOST = 255


def asked(accept: str) -> bool:
    """Tell whether an Accept header asks for a map: `application/json;heat_map=true`.

    Raises `RequestError` 406 where it asks for one in what holds none, or in other words.
    """
    kinds = []
    for kind, *parameters in (list(map(str.strip, part.split(";"))) for part in accept.lower().split(",")):
        values = [
            value.strip('"') for name, _, value in (each.partition("=") for each in parameters) if name == PARAMETER
        ]
        if odd := [value for value in values if value not in ("true", "false")]:
            raise RequestError(406, f"{PARAMETER} is {odd[0][:100]!r}; accept {JSON};{ASKED}, or leave it out")
        kinds += [kind] if "true" in values else []
    if without := next((kind for kind in kinds if kind in _WITHOUT), None):
        raise RequestError(406, f"{without} holds no heat map; accept {JSON};{ASKED}")
    return bool(kinds)


def check(inputs: NDArray[np.float32], cells: int) -> None:
    """Raise `RequestError` where no map is made of `inputs` [N, 3, S, S]."""
    if not cells:
        raise RequestError(
            406, f"this endpoint makes no heat maps; leave out {ASKED}, or set BYOC_HEAT_MAPS in its environment"
        )
    if len(inputs) != 1:
        raise RequestError(400, f"a heat map is made of one picture, and the request has {len(inputs)}; send one")


def heat_map(
    probabilities: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    inputs: NDArray[np.float32],
    whole: NDArray[np.float32],
    cells: int,
) -> list[list[int]]:
    """Return the map of one picture, `inputs` [1, 3, S, S], as so many rows and columns of 0 to 255, the most.

    `probabilities` is the network, [N, 3, S, S] -> [N, classes], `whole` [classes] what it gives without any square. A
    cell's value is the mean over the squares that cover it of how much they lower the logarithm of the probability of
    the class that is the most probable in `whole`.
    """
    label = int(whole.argmax())
    drops, squares = np.zeros((cells, cells)), np.zeros((cells, cells))
    places = list(_places(cells))
    for begin in range(0, len(places), _BATCH):
        batch = places[begin : begin + _BATCH]
        covered = np.repeat(inputs, len(batch), axis=0)
        for picture, place in zip(covered, batch, strict=True):
            picture[:, *_pixels(place, cells, inputs.shape[2])] = 0  # the mean colour, of normalised pictures
        for place, left in zip(batch, probabilities(covered)[:, label], strict=True):
            drops[place] += _logarithm(whole[label]) - _logarithm(left)
            squares[place] += 1
    spoke = np.maximum(drops / squares, 0)
    rows: list[list[int]] = np.rint(_MOST * spoke / (spoke.max() or 1)).astype(int).tolist()
    return rows


def _places(cells: int) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of cells that each square covers; at the edges it is cut."""
    ranges = [slice(max(0, first), min(cells, first + _SQUARE)) for first in range(1 - _SQUARE, cells)]
    yield from ((rows, columns) for rows in ranges for columns in ranges)


def _pixels(place: tuple[slice, slice], cells: int, side: int) -> tuple[slice, slice]:
    rows, columns = (slice(part.start * side // cells, part.stop * side // cells) for part in place)
    return rows, columns


def _logarithm(probability: np.float32) -> float:
    return float(np.log(max(probability, np.finfo(np.float32).tiny)))
