"""Pictures that are in the data twice: across splits, or with two labels.

The same bytes have the same digest. Copies of another size or format look the same: a look is a picture in 8 x 8
pixels, and those of copies differ less than those of any two photographs. Looks are kept beside the features,

    FOLDER/looks              of each picture its digest and its look, one after the other

so that a picture which was read once is decoded for its look no more.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.job import COPIES_SHOWN, COPY_GROUPS_SHOWN
from classifier.artifact import write_whole
from train.data import DIGEST_BYTES, LOOK_SIDE, Data

LOOK_BYTES = 3 * LOOK_SIDE**2

#: How much looks of copies differ at most, as root mean square: a share of a look's own contrast, and of 255.
SHARE, LEVELS = 0.08, 4.0

#: Pictures with less contrast (of 255) look alike without being copies.
PLAIN = 4.0

#: Pairs that are compared at a time.
_AT_ONCE = 1 << 16


def known(*folders: Path | None) -> dict[bytes, bytes]:
    """Return the looks of pictures by their digests that are kept in `folders`: all those could be read."""
    looks: dict[bytes, bytes] = {}
    for folder in folders:
        if folder and (folder / "looks").exists():
            content = (folder / "looks").read_bytes()
            size = DIGEST_BYTES + LOOK_BYTES
            for begin in range(0, len(content) - size + 1, size):
                looks[content[begin : begin + DIGEST_BYTES]] = content[begin + DIGEST_BYTES : begin + size]
    return looks


def keep(folder: Path, looks: Mapping[bytes, bytes]) -> None:
    """Write `looks` (digest -> look) into `folder`; raises `ArtifactError` where that fails."""
    write_whole(folder / "looks", lambda path: path.write_bytes(b"".join(map(b"".join, looks.items()))))


def find(data: Data) -> dict[str, Any]:
    """Return how many groups of copies there are `across_splits` and with several labels (`label_conflicts`).

    `groups` lists the first of them, each some pictures with `file`, `label` and `split`, conflicts first.
    """
    pictures = [
        {"file": file, "label": data.labels[target], "split": name}
        for name, split in data.splits.items()
        for file, target in zip(split.names, split.targets, strict=True)
    ]
    groups = [[pictures[i] for i in group] for group in _groups(data)]
    conflicts = [group for group in groups if len({each["label"] for each in group}) > 1]
    across = [group for group in groups if len({each["split"] for each in group}) > 1]
    shown = conflicts + [group for group in across if group not in conflicts]
    return {
        "across_splits": len(across),
        "label_conflicts": len(conflicts),
        "groups": [group[:COPIES_SHOWN] for group in shown[:COPY_GROUPS_SHOWN]],
    }


def line(copies: Mapping[str, Any]) -> str:
    """Return a sentence on the copies for the log, or nothing where there are none."""
    if not copies["groups"]:
        return ""
    first = " and ".join(f"{each['file']} ({each['label']})" for each in copies["groups"][0][:2])
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

    chosen = list(first.values())
    looks = [look for split in data.splits.values() for look in split.looks]
    for a, b in _alike(np.frombuffer(b"".join(looks[i] for i in chosen), np.uint8).reshape(-1, LOOK_BYTES)):
        one, other = sorted((lead(chosen[a]), lead(chosen[b])))
        leader[other] = one
    groups: dict[int, list[int]] = {}
    for i in range(len(digests)):
        groups.setdefault(lead(i), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _alike(looks: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows of `looks` [N, LOOK_BYTES] that are of copies.

    Looks that differ by no more than `LEVELS` differ by no more in three means over them (all, left less right, top
    less bottom). So copies are in one cell of a grid of these, or in cells side by side: few pairs are left to compare.
    """
    spread = _contrast(looks)
    (rows,) = np.nonzero(spread >= PLAIN)
    values, limits = looks[rows].astype(np.float32), np.minimum(SHARE * spread[rows], LEVELS)
    cells = np.floor(values @ _means() / LEVELS).astype(np.int64)
    keys = _key(cells)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    for step in product((-1, 0, 1), repeat=3):
        beside = _key(cells + step)
        begins, ends = np.searchsorted(ordered, beside, "left"), np.searchsorted(ordered, beside, "right")
        for ones, others in _pairs(begins, ends):
            others = order[others]
            later = others > ones
            ones, others = ones[later], others[later]
            difference = np.sqrt(np.mean((values[ones] - values[others]) ** 2, axis=1))
            same = difference <= np.minimum(limits[ones], limits[others])
            yield from zip(rows[ones[same]].tolist(), rows[others[same]].tolist(), strict=True)


def _contrast(looks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return each look's standard deviation within its channels."""
    pixels = looks.reshape(len(looks), LOOK_SIDE**2, 3).astype(np.float32)
    contrast: NDArray[np.float32] = np.sqrt(pixels.var(axis=1).mean(axis=1))
    return contrast


def _means() -> NDArray[np.float32]:
    """Return three functions of a look, [LOOK_BYTES, 3], each of which is a mean with signs."""
    half = np.repeat([1.0, -1.0], LOOK_SIDE // 2)
    plain = np.ones((LOOK_SIDE, LOOK_SIDE, 3))
    signs = [plain, plain * half[None, :, None], plain * half[:, None, None]]
    return (np.stack([each.ravel() for each in signs], axis=1) / LOOK_BYTES).astype(np.float32)


def _key(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = (cells + 512) @ np.array([1 << 20, 1 << 10, 1])
    return numbers


def _pairs(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield i and j for all j from begins[i] to ends[i], some at a time."""
    counts = ends - begins
    total = np.concatenate(([0], np.cumsum(counts)))
    for start in range(0, int(total[-1]), _AT_ONCE):
        places = np.arange(start, min(start + _AT_ONCE, int(total[-1])))
        ones = np.searchsorted(total, places, "right") - 1
        yield ones, begins[ones] + places - total[ones]
