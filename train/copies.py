"""Pictures that are in the data twice: across splits, or with two labels.

The same bytes have the same digest. Copies of another size or format look the same: a look is a picture in 8 x 8
pixels, and those of copies differ less than those of any two photographs. Looks are kept beside the features,

    FOLDER/seen               of each picture its digest, its look and its kind, one after the other

so that a picture which was read once is decoded for its look no more.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.job import COPIES_SHOWN, COPY_GROUPS_SHOWN, partly_compared
from classifier.artifact import whole
from train.data import DIGEST_BYTES, KIND_BYTES, LOOK_BYTES, LOOK_SIDE, Data

#: How much looks of copies differ at most, as root mean square: a share of a look's own contrast, and of 255.
SHARE, LEVELS = 0.08, 4.0

#: Pictures with less contrast (of 255) look alike without being copies.
PLAIN = 4.0

#: Pictures above which the search can take minutes of one core, and is told of before.
_MANY = 500_000

#: Looks that are worked on at a time, and looks that show along which directions they differ most.
_AT_ONCE, _SAMPLE = 1 << 13, 1 << 13

#: Directions along which looks are divided, parts that are divided no more, and larger ones that may stay whole where
#: dividing them gains nothing.
_VIEWS, _TOGETHER, _WHOLE = 12, 256, 1024

#: How many parts a look is in at most, on average; and how many halves, for a division to gain anything.
_PARTS, _HALVES = 8.0, 1.4

T = TypeVar("T", bound=np.generic)


def known(*folders: Path | None) -> dict[bytes, bytes]:
    """Return the looks of pictures by their digests that are kept in `folders`: all those could be read."""
    looks: dict[bytes, bytes] = {}
    for folder in folders:
        if folder and (folder / "seen").exists():
            content = (folder / "seen").read_bytes()
            size = DIGEST_BYTES + LOOK_BYTES + KIND_BYTES
            for begin in range(0, len(content) - size + 1, size):
                looks[content[begin : begin + DIGEST_BYTES]] = content[begin + DIGEST_BYTES : begin + size]
    return looks


def keep(folder: Path, looks: Iterable[tuple[bytes, bytes]]) -> None:
    """Write `looks` (digest, look) into `folder`; raises `ArtifactError` where that fails."""
    with whole(folder / "seen") as path, path.open("wb") as file:
        file.writelines(map(b"".join, looks))


def look_for(data: Data, seen: Mapping[bytes, bytes], folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Return what `find` does, having said it; keep in `folder` the looks (digest -> look) that were not `seen`."""
    pairs = itertools.chain.from_iterable(
        zip(split.digests, split.looks, strict=True) for split in data.splits.values()
    )
    if any(name not in seen for split in data.splits.values() for name in split.digests):
        keep(folder, itertools.chain(seen.items(), (pair for pair in pairs if pair[0] not in seen)))
    if (count := sum(map(len, data.splits.values()))) > _MANY:
        say(f"looking for copies among {count:,} pictures, which can take minutes of one core")
    copies = find(data)
    for said in lines(copies):
        say(said)
    return copies


def find(data: Data) -> dict[str, Any]:
    """Return how many groups of copies there are `across_splits` and with several labels (`label_conflicts`).

    `groups` lists the first of them, each some pictures with `file`, `label` and `split`, conflicts first. `partly`
    counts the pictures that look so much like so many others that they were not compared with all of these.
    """
    splits = list(data.splits.items())
    ends = list(itertools.accumulate(len(split) for _, split in splits))

    def split_of(position: int) -> int:
        return bisect.bisect(ends, position)

    def label_of(position: int) -> int:
        number = split_of(position)
        return splits[number][1].targets[position - ends[number]]  # below zero: from the split's end

    def picture(position: int) -> dict[str, str]:
        name, split = splits[split_of(position)]
        file = split.names[position - ends[split_of(position)]]
        return {"file": file, "label": data.labels[label_of(position)], "split": name}

    groups, partly = _groups(data)
    conflicts = [group for group in groups if len(set(map(label_of, group))) > 1]
    across = [group for group in groups if len(set(map(split_of, group))) > 1]
    shown = conflicts + [group for group in across if len(set(map(label_of, group))) == 1]
    return {
        "across_splits": len(across),
        "label_conflicts": len(conflicts),
        "groups": [list(map(picture, group[:COPIES_SHOWN])) for group in shown[:COPY_GROUPS_SHOWN]],
        "partly": partly,
    }


def lines(copies: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences on the copies for the log, none where there are none."""
    if copies["groups"]:
        first = " and ".join(f"{picture['file']} ({picture['label']})" for picture in copies["groups"][0][:2])
        yield (
            f"copies of a picture: {copies['across_splits']} across splits, {copies['label_conflicts']} with different "
            f"labels, such as {first}; the report shows them, remove all but one of each"
        )
    if copies["partly"]:
        yield partly_compared(copies["partly"])


def _groups(data: Data) -> tuple[list[list[int]], int]:
    """Return the positions, over all splits, of the pictures that are copies of one another, and `partly` of `find`."""
    digests = [digest for split in data.splits.values() for digest in split.digests]
    first: dict[bytes, int] = {}
    leader = [first.setdefault(digest, i) for i, digest in enumerate(digests)]  # of each picture an earlier copy

    def lead(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    chosen = list(first.values())
    looks = [look for split in data.splits.values() for look in split.looks]
    joined = np.frombuffer(b"".join(looks[i] for i in chosen), np.uint8).reshape(-1, LOOK_BYTES + KIND_BYTES)
    cut = np.zeros(len(chosen), bool)
    for a, b in _alike(joined[:, :LOOK_BYTES], cut):
        one, other = sorted((lead(chosen[a]), lead(chosen[b])))
        leader[other] = one
    groups: dict[int, list[int]] = {}
    for i in range(len(digests)):
        if (one := lead(i)) != i:
            groups.setdefault(one, [one]).append(i)
    return [groups[one] for one in sorted(groups)], int(np.count_nonzero(cut))


def _alike(looks: NDArray[np.uint8], cut: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows of `looks` [N, LOOK_BYTES] that join those of copies; mark in `cut` [N] what `_near` does.

    Looks that differ by no more than `LEVELS` differ by no more in any of their views along orthogonal directions. So
    only those are compared that lie in one part of the space of a few such views.
    """
    spread = np.concatenate([_contrast(part) for part in _parts(looks)])
    (rows,) = np.nonzero(spread >= PLAIN)
    # The same looks have the same sum of products, and others have another: there are 2^64 of them.
    factors = np.random.default_rng(0).integers(1 << 64, size=LOOK_BYTES // 8, dtype=np.uint64)
    sums = np.concatenate([part.view(np.uint64) @ factors for part in _parts(looks)])
    _, first, same = np.unique(sums[rows], return_index=True, return_inverse=True)
    twice = np.nonzero(first[same] != np.arange(len(rows)))[0]
    yield from zip(rows[first[same[twice]]].tolist(), rows[twice].tolist(), strict=True)
    rows = rows[first]
    limits = np.minimum(SHARE * spread[rows], LEVELS)
    directions = _directions(looks[rows[:: -(-len(rows) // _SAMPLE) or 1]])
    places = np.concatenate([looks[part].astype(np.float32) @ directions for part in _parts(rows)])
    marked = np.zeros(len(rows), bool)
    for near in _near(places, limits, marked):
        ones, others = _joined(looks[rows[near]], limits[near])
        yield from zip(rows[near[ones]].tolist(), rows[near[others]].tolist(), strict=True)
    cut[rows[marked]] = True


def _joined(looks: NDArray[np.uint8], limits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of rows that join those of `looks` [N, LOOK_BYTES] that are within the `limits` [N] of both.

    Each of `looks` is compared with each; of those that are joined, the first is paired with each of the others.
    """
    values = looks.astype(np.float32)
    products = values @ values.T  # whole numbers below 2^24, and so are the sums below: all are exact
    squares = products.diagonal()
    most = LOOK_BYTES * limits**2
    alike = (squares[:, None] - products) + (squares - products) <= np.minimum(most[:, None], most)
    (found,) = np.nonzero(alike.sum(axis=1) > 1)
    alike = alike[np.ix_(found, found)]
    leaders, known = np.arange(len(found), dtype=np.int16), np.empty(0, np.int16)
    while not np.array_equal(leaders, known):
        known = leaders
        leaders = np.where(alike, known, np.int16(len(found))).min(axis=1, initial=np.int16(len(found)))
        leaders = leaders[leaders]
    (led,) = np.nonzero(leaders != np.arange(len(found)))
    return found[leaders[led]], found[led]


def _parts(rows: NDArray[T]) -> Iterator[NDArray[T]]:
    """Yield some rows at a time, at least once: as numbers with a point, looks take four times as much memory."""
    yield from (rows[begin : begin + _AT_ONCE] for begin in range(0, max(1, len(rows)), _AT_ONCE))


def _contrast(looks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return each look's standard deviation within its channels."""
    pixels = looks.reshape(len(looks), LOOK_SIDE**2, 3).astype(np.float32)
    contrast: NDArray[np.float32] = np.sqrt(pixels.var(axis=1).mean(axis=1))
    return contrast


def _directions(looks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the orthogonal directions [LOOK_BYTES, `_VIEWS`] along which these looks differ most.

    Their length is such that no two looks differ by more along one than as root mean square.
    """
    if len(looks) < 2:
        return np.zeros((LOOK_BYTES, _VIEWS), np.float32)
    _, vectors = np.linalg.eigh(np.cov(looks.T.astype(np.float32)))
    directions: NDArray[np.float32] = (vectors[:, -_VIEWS:] / np.sqrt(LOOK_BYTES)).astype(np.float32)
    return directions


def _near(
    places: NDArray[np.float32], limits: NDArray[np.float32], cut: NDArray[np.bool_]
) -> Iterator[NDArray[np.int64]]:
    """Yield parts of the points `places` [N, `_VIEWS`], so that any two within the `limits` [N] of both share a part.

    The points are divided in halves along what they differ most in, again and again. Those near the border go to both.
    Where they are so dense that these would be too many, only the nearest do: `cut` [N] marks the points that may so
    have lost another. All parts together have at most `_PARTS` * N points, each at most `_WHOLE`: the time grows like
    N log N, whatever the pictures are.
    """
    left = [(np.arange(len(places)), _PARTS)]
    while left:
        part, room = left.pop()
        if len(part) <= _TOGETHER:
            yield part
            continue
        some = places[part]
        along = some[:, np.argmax(np.ptp(some, axis=0))]
        order = np.argpartition(along, len(part) // 2)
        lower, upper = np.split(order, [len(part) // 2])
        # Of two within the limits, one is within half of its own; a little more, for numbers are rounded.
        away = np.abs(along - along[upper[0]]) / (0.51 * limits[part])
        reach, halves = 1.0, 1 + np.count_nonzero(away < 1) / len(part)
        if halves > min(room, _HALVES):
            if len(part) <= _WHOLE:
                yield part
                continue
            halves = min(room ** (1 / math.log2(len(part) / _TOGETHER)), _HALVES)
            reach = np.partition(away, int((halves - 1) * len(part)))[int((halves - 1) * len(part))]
            cut[part[(away >= reach) & (away <= 2 - reach)]] = True
        for half, other in ((lower, upper), (upper, lower)):
            left.append((part[np.concatenate((half, other[away[other] < reach]))], room / halves))
