"""Pictures that are in the data twice: across splits, or with two labels.

The same bytes have the same digest. Copies of another size or format look the same: a look is a picture in 8 x 8
pixels, and those of copies differ less than those of any two photographs. Looks are kept beside the features,

    FOLDER/seen               of each picture its digest, its look and its kind, one after the other

so that a picture which was read once is decoded for its look no more.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.job import COPIES_SHOWN, COPY_GROUPS_SHOWN
from classifier.artifact import whole
from train.data import DIGEST_BYTES, KIND_BYTES, LOOK_BYTES, LOOK_SIDE, Data

#: How much looks of copies differ at most, as root mean square: a share of a look's own contrast, and of 255.
SHARE, LEVELS = 0.08, 4.0

#: Pictures with less contrast (of 255) look alike without being copies.
PLAIN = 4.0

#: Pictures above which only those of the same bytes are found: among ten times as many, looks take 30 times as long.
MOST_LOOKS = 2_000_000

#: Pictures above which the search takes minutes of one core, and is told of before.
_MANY = 200_000

#: Looks, and pairs of them, that are worked on at a time; looks that show along which directions they differ most.
_AT_ONCE, _SAMPLE = 1 << 13, 1 << 13

#: Directions in which looks are compared first, looks that are no longer divided, and what a half has of a whole at
#: most, that a division is worth it.
_VIEWS, _TOGETHER, _SMALLER = 12, 64, 0.9


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
    count = sum(map(len, data.splits.values()))
    if _MANY < count <= MOST_LOOKS:
        say(f"looking for copies among {count:,} pictures, which takes minutes of one core")
    copies = find(data)
    if said := line(copies):
        say(said)
    if count > MOST_LOOKS:
        say(f"of more than {MOST_LOOKS:,} pictures, only copies of the same bytes were looked for")
    return copies


def find(data: Data) -> dict[str, Any]:
    """Return how many groups of copies there are `across_splits` and with several labels (`label_conflicts`).

    `groups` lists the first of them, each some pictures with `file`, `label` and `split`, conflicts first.
    """
    splits = list(data.splits.items())
    ends = np.cumsum([len(split) for _, split in splits])

    def picture(position: int) -> dict[str, str]:
        place = int(np.searchsorted(ends, position, "right"))
        name, split = splits[place]
        i = position - int(ends[place]) + len(split)
        return {"file": split.names[i], "label": data.labels[split.targets[i]], "split": name}

    groups = [list(map(picture, group)) for group in _groups(data)]
    conflicts = [group for group in groups if _several(group, "label")]
    across = [group for group in groups if _several(group, "split")]
    shown = conflicts + [group for group in across if not _several(group, "label")]
    return {
        "across_splits": len(across),
        "label_conflicts": len(conflicts),
        "groups": [group[:COPIES_SHOWN] for group in shown[:COPY_GROUPS_SHOWN]],
    }


def _several(group: list[dict[str, str]], field: str) -> bool:
    return len({picture[field] for picture in group}) > 1


def line(copies: Mapping[str, Any]) -> str:
    """Return a sentence on the copies for the log, or nothing where there are none."""
    if not copies["groups"]:
        return ""
    first = " and ".join(f"{picture['file']} ({picture['label']})" for picture in copies["groups"][0][:2])
    return (
        f"copies of a picture: {copies['across_splits']} across splits, {copies['label_conflicts']} with different "
        f"labels, such as {first}; the report shows them, remove all but one of each"
    )


def _groups(data: Data) -> list[list[int]]:
    """Return the positions, over all splits, of the pictures that are copies of one another."""
    digests = [digest for split in data.splits.values() for digest in split.digests]
    first: dict[bytes, int] = {}
    leader = [first.setdefault(digest, i) for i, digest in enumerate(digests)]  # of each picture an earlier copy

    def lead(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    chosen = list(first.values()) if len(first) <= MOST_LOOKS else []
    looks = [look for split in data.splits.values() for look in split.looks]
    joined = np.frombuffer(b"".join(looks[i] for i in chosen), np.uint8).reshape(-1, LOOK_BYTES + KIND_BYTES)
    for a, b in _alike(joined[:, :LOOK_BYTES]):
        one, other = sorted((lead(chosen[a]), lead(chosen[b])))
        leader[other] = one
    groups: dict[int, list[int]] = {}
    for i in range(len(digests)):
        if (one := lead(i)) != i:
            groups.setdefault(one, [one]).append(i)
    return [groups[one] for one in sorted(groups)]


def _alike(looks: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows of `looks` [N, LOOK_BYTES] that are of copies.

    Looks that differ by no more than `LEVELS` differ by no more in any of their views along orthogonal directions. So
    only those are compared that lie in one part of the space of a few such views: the time hardly grows more than N.
    """
    spread = np.concatenate([_contrast(part) for part in _parts(looks)])
    (rows,) = np.nonzero(spread >= PLAIN)
    limits = np.minimum(SHARE * spread[rows], LEVELS)
    directions = _directions(looks[rows[:: -(-len(rows) // _SAMPLE) or 1]])
    places = np.concatenate([part.astype(np.float32) @ directions for part in _parts(looks[rows])])
    for near in _near(places):
        for ones, others in _pairs(near, places):
            apart = looks[rows[ones]].astype(np.float32) - looks[rows[others]]
            same = np.sqrt(np.mean(apart**2, axis=1)) <= np.minimum(limits[ones], limits[others])
            yield from zip(rows[ones[same]].tolist(), rows[others[same]].tolist(), strict=True)


def _pairs(
    near: NDArray[np.int64], places: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield i and j > i of those of the points `near` that are within `LEVELS` of each other, some at a time."""
    step = max(1, _AT_ONCE // len(near)) if len(near) > _TOGETHER else _TOGETHER
    for begin in range(0, len(near), step):
        some, others = places[near[begin : begin + step]], places[near[begin:]]
        close = np.triu(np.ones((len(some), len(others)), bool), 1)
        for axis in range(places.shape[1]):
            # A little more, for numbers are rounded.
            close &= np.abs(some[:, None, axis] - others[None, :, axis]) <= 1.01 * LEVELS
        i, j = np.nonzero(close)
        yield near[begin + i], near[begin + j]


def _parts(looks: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield some looks at a time, at least once: as numbers with a point they take four times as much memory."""
    yield from (looks[begin : begin + _AT_ONCE] for begin in range(0, max(1, len(looks)), _AT_ONCE))


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


def _near(places: NDArray[np.float32]) -> Iterator[NDArray[np.int64]]:
    """Yield parts of the points `places` [N, `_VIEWS`], in order, so that any two within `LEVELS` are together in one.

    The points are divided in halves along what they differ most in, again and again. Those near the border go to both.
    """
    left = [np.arange(len(places))]
    while left:
        part = left.pop()
        if len(part) > _TOGETHER:
            some = places[part]
            axis = int(np.argmax(some.max(axis=0) - some.min(axis=0)))
            along = some[:, axis]
            middle = np.median(along)
            # A little more than half the distance, for numbers are rounded.
            halves = [part[along <= middle + 0.51 * LEVELS], part[along >= middle - 0.51 * LEVELS]]
            if max(map(len, halves)) < _SMALLER * len(part):
                left += halves
                continue
        yield part
