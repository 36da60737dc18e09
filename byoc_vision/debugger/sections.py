"""The report's parts that show what was learned: curves, classes, pictures. Each returns markup, or ""."""

import math
from collections.abc import Callable
from html import escape
from typing import Any

from byoc_vision.contract.job import partly_compared
from byoc_vision.debugger import charts
from byoc_vision.debugger.charts import Line
from byoc_vision.debugger.markup import Facts, named, pair, section, table

#: A picture's thumbnail, and its heat map with words for where it is hottest; None for what there is not.
Shown = tuple[str | None, tuple[str, str] | None]

#: Finds them by the picture's name in predictions.csv.
Thumbnail = Callable[[str], Shown]

#: Classes shown before the reader asks for all.
FIRST_CLASSES = 12

#: Classes that are only named.
NAMED = 20

#: Classes of which a square with a row and a column for each still shows something.
SQUARE = 1000


#: Pairs of classes taken for one another.
FIRST_PAIRS = 10


def _image(thumbnail: Thumbnail, file: str) -> str:
    picture, heat = thumbnail(file)
    if not picture:
        return '<span class="none">no picture</span>'
    if not heat:
        return f'<span class="shot"><img src="{picture}" alt=""></span>'
    over = f'<img class="heat" src="{heat[0]}" alt="The network looked mostly at {heat[1]}.">'
    return f'<span class="shot" tabindex="0"><img src="{picture}" alt="">{over}</span>'


def curves(facts: Facts) -> str:
    """Loss and accuracy of training and validation by epoch, and the loss of each training step."""
    history, best = facts["history"], facts["best_epoch"]

    def curve(key: str, name: str, colour: int) -> Line:
        known = [(epoch, figures[key]) for epoch, figures in enumerate(history, 1) if key in figures]
        return Line(name, [epoch for epoch, _ in known], [value for _, value in known], colour)

    def chart(what: str, y_range: tuple[float, float] | None = None) -> str:
        both = [curve(f"train_{what}", "training", 0), curve(f"validation_{what}", "validation", 1)]
        note = f"epoch {best}, kept" if best else ""
        return charts.lines(both, f"{what} by epoch", "epoch", best, note, y_range)

    steps = facts["step_losses"]
    losses = [Line("training", steps["x"], steps["mean"], 0, steps["least"], steps["most"])] if steps else []
    each = charts.lines(losses, "loss of each training step", "step")
    return section(
        "Curves",
        pair(
            ("Loss", chart("loss")),
            ("Accuracy", chart("accuracy", (0, 1))),
            ("Loss of each step", each),
            *_printed(facts["curves"]),
        ),
        lead="How training went: loss should fall and accuracy rise. Where validation gets worse while training gets "
        "better, the network learns its pictures by heart.",
    )


def _printed(curves: dict[str, Any]) -> list[tuple[str, str]]:
    """Return titles and charts of the figures that a script printed, one chart for each kind of figure.

    The best so far is apart: it begins at a number like 1e6, beside which no curve is seen.
    """
    kinds: dict[str, list[str]] = {}
    for name in curves:
        kind = "loss" if "loss" in name else "accuracy" if "acc" in name else name
        kinds.setdefault(f"best {kind}" if "best" in name and kind != name else kind, []).append(name)
    drawn = []
    for kind, names in kinds.items():
        lines = [
            Line(name, curves[name]["x"], curves[name]["mean"], colour % 8, curves[name]["least"], curves[name]["most"])
            for colour, name in enumerate(names)
        ]
        drawn.append((f"Printed: {kind}", charts.lines(lines, f"{kind}, as printed", "reading")))
    return drawn


def classes(facts: Facts) -> str:
    """Each class's accuracy, the worst first, and which classes were taken for which."""
    rows = facts["classes"]
    if not rows:
        return ""
    meter = '<span class="meter"><i style="width:{:.1f}%"></i></span>'
    cells = [
        [
            named(row["label"]),
            meter.format(100 * row["accuracy"]),
            f"{100 * row['accuracy']:.1f} %",
            _between(row),
            "–" if row["precision"] is None else f"{100 * row['precision']:.1f} %",
            f"{row['f1']:.3f}",
            f"{row['count']:,}",
        ]
        for row in rows
    ]
    head, numbers = ["class", "", "accuracy", "95 % sure", "precision", "F1", "pictures"], (2, 3, 4, 5, 6)
    shown = table(head, cells[:FIRST_CLASSES], numbers)
    if left := cells[FIRST_CLASSES:]:
        shown += f"<details><summary>The other {len(left)} classes</summary>{table(head, left, numbers)}</details>"
    labels, pairs = facts["confusion"]["labels"], facts["confusion"]["pairs"]
    asked = {row["label"]: row["count"] for row in rows}
    mixed = [(labels[i], labels[j], n) for i, j, n in pairs if i != j][:FIRST_PAIRS]
    taken = [
        [named(label), named(predicted), f"{n:,} ({100 * n / asked[label]:.0f} %)"] for label, predicted, n in mixed
    ]
    most = table(["class", "taken for", "pictures"], taken, (2,)) if taken else "<p>None.</p>"
    hint = (
        '<p class="small soft">A row for each true class, a column for each answer. Green: right. Red: wrong. '
        "The stronger the colour, the more of the row.</p>"
    )
    square = f'<div><h3>Confusion</h3>{hint}<div class="scroll">{charts.confusion(labels, pairs)}</div></div>'
    lead = (
        "Accuracy (recall) is how many of a class's test pictures were recognised; with so few pictures it is only "
        "known to lie in the range. Precision is how many of the answers that name the class were right; F1 is the "
        "mean of the two."
    )
    return section(
        "Classes",
        f'<h3>Accuracy, the lowest first</h3><div class="scroll">{shown}</div>{_without("test", facts["untested"])}',
        '<div class="pair" style="margin-top:28px">'
        f"{square if len(labels) <= SQUARE else ''}"
        f'<div><h3>Most often taken for another</h3><div class="scroll narrow">{most}</div></div></div>',
        lead=lead,
    )


def _without(split: str, labels: list[str]) -> str:
    if not labels:
        return ""
    more = f" and {len(labels) - NAMED:,} more" if len(labels) > NAMED else ""
    names = ", ".join(map(named, labels[:NAMED])) + more
    return f'<p class="small note">Without a {escape(split)} picture: {names}.</p>'


def _between(row: dict[str, Any]) -> str:
    return f"{100 * row['low']:.0f}–{100 * row['high']:.0f} %"


def probabilities(facts: Facts) -> str:
    """Whether probabilities are what they say, and what is gained where only sure answers are given."""
    quality = facts["quality"]
    if not quality:
        return ""
    calibration, coverage = quality["calibration"], quality["coverage"]
    meant, right, _ = zip(*calibration["bins"], strict=True)
    reliability = charts.lines(
        [Line("as it should be", (0, 1), (0, 1), 5), Line("this model", meant, right, 0)],
        "accuracy by probability",
        "probability",
        y_range=(0, 1),
    )
    answered, accuracy, least = zip(*coverage, strict=True)
    lines = [Line("accuracy", answered, accuracy, 0), Line("least probability", answered, least, 1)]
    shares = charts.lines(lines, "accuracy by the share that is answered", "share that is answered", y_range=(0, 1))
    lead = (
        "Of answers with a probability of 0.8, 8 of 10 should be right: then the line lies on the diagonal. It is "
        f"{100 * calibration['error']:.1f} points off on average (expected calibration error)."
    )
    return section(
        "Probabilities",
        pair(("How many answers of each probability are right", reliability), ("If it may say “unsure”", shares)),
        _thresholds(quality["thresholds"]),
        lead=lead,
    )


def _thresholds(points: list[list[float]]) -> str:
    """What has to be unsure so that the rest is right."""
    if not points:
        return ""
    rows = [
        [f"{100 * goal:.0f} %", f"{math.floor(1000 * least) / 1000:.3f}", f"{100 * share:.0f} %"]
        for goal, least, share, _ in points
    ]
    shown = table(["right answers wanted", "least probability", "pictures answered"], rows, (1, 2))
    note = (
        "An endpoint with the environment BYOC_MIN_PROBABILITY says “unsure” below that probability. Measured on these "
        "test pictures: others may differ."
    )
    return f'<div style="margin-top:24px;max-width:520px">{shown}<p class="small soft note">{note}</p></div>'


def pictures(facts: Facts, thumbnail: Thumbnail) -> str:
    """The test pictures it was most wrong about."""
    items, heated = [], False
    for row in facts["wrong"]:
        file = named(row["file"])
        heated |= thumbnail(row["file"])[1] is not None
        items.append(
            f"<li>{_image(thumbnail, row['file'])}<b>{named(row['label'])}</b><br>taken for {named(row['predicted'])}, "
            f'{100 * row["probability"]:.0f}&nbsp;% <span class="file">{file}</span></li>'
        )
    if not items:
        return ""
    lead = "The test pictures with the surest wrong answers. Look at their labels first: some may be wrong."
    if heated:
        lead += (
            " Orange is what spoke for the answer, dark what did not matter (HiResCAM); point at a picture to see it "
            "without."
        )
    return section("Most wrong about", f'<ul class="pictures">{"".join(items)}</ul>', lead=lead)


def data(facts: Facts) -> str:
    """How many pictures each class has in each split, those with the fewest to learn from first."""
    pictures = facts["data"]
    splits = list(dict.fromkeys(split for counts in pictures.values() for split in counts))
    if not splits:
        return ""
    sums = [
        "<b>all classes</b>",
        *(f"<b>{sum(row.get(name, 0) for row in pictures.values()):,}</b>" for name in splits),
    ]
    rows = [
        [named(label), *(f"{counts.get(name, 0):,}" for name in splits)]
        for label, counts in sorted(pictures.items(), key=lambda item: (item[1].get("train", 0), item[0]))
    ]
    head, numbers = ["class", *map(escape, splits)], range(1, 1 + len(splits))
    shown = table(head, [sums, *rows[:FIRST_CLASSES]], numbers)
    if left := rows[FIRST_CLASSES:]:
        shown += f"<details><summary>The other {len(left)} classes</summary>{table(head, left, numbers)}</details>"
    lacking = "".join(
        _without(name, [label for label, counts in pictures.items() if not counts.get(name)])
        for name in splits
        if any(counts.get(name) for counts in pictures.values())
    )
    said = [f"{line[:1].upper()}{line[1:]}." for line in facts["left_out"]]
    if unread := facts["unreadable"]:
        said.append(f"Pictures that could not be read: {len(unread):,} (named at the end of this page).")
    notes = "".join(f'<p class="small note">{escape(line)}</p>' for line in said)
    lead = "The pictures that each class had, the fewest to learn from first. What has few is learned badly."
    counted = f'<div class="scroll narrow">{shown}</div>'
    return section("Data", counted, lacking, notes, _kinds(facts["kinds"]), lead=lead)


def _kinds(kinds: dict[str, dict[str, int]]) -> str:
    """How large the pictures are, and as what they are stored."""

    def rows(name: str) -> list[tuple[str, float, str]]:
        counts = kinds.get(name, {})
        total = sum(counts.values())
        return [(kind, count / total, f"{count:,}") for kind, count in counts.items()] if total > 0 else []

    sizes = [
        (f"{int(side):,} to {2 * int(side) - 1:,}", share, count)
        for side, share, count in rows("shorter_sides")
        if side.isdecimal() and len(side) < 8
    ]
    stored = rows("formats") + [(f"mode {mode}", share, count) for mode, share, count in rows("modes")]
    charted = [
        (title, charts.bars(bars) if bars else "")
        for title, bars in (("Pixels of the shorter side", sizes), ("Stored as", stored))
    ]
    return pair(*charted).replace('class="pair"', 'class="pair kinds"', 1)


def copies(facts: Facts, thumbnail: Thumbnail) -> str:
    """The pictures that are copies of one another, across splits or with different labels."""
    counted, title = facts["copies"], "Copies across splits and label conflicts"
    missed = f"<p>{partly_compared(counted['partly'])}.</p>" if counted["partly"] else ""
    if not counted["groups"]:
        return section(title, missed) if missed else ""
    groups = []
    for group in counted["groups"]:
        items = "".join(
            f"<li>{_image(thumbnail, picture['file'])}<b>{named(picture['label'])}</b>, {escape(picture['split'])} "
            f'<span class="file">{named(picture["file"])}</span></li>'
            for picture in group
        )
        groups.append(f'<ul class="pictures copies">{items}</ul>')
    counts = (
        f"Groups of the same picture: {counted['across_splits']:,} across splits, "
        f"{counted['label_conflicts']:,} with different labels."
    )
    advice = (
        "What was trained on is no test: figures of a split that shares pictures with the training split are too good. "
        "Keep one picture of each group, with the right label."
    )
    shown = "" if len(groups) == 1 else f" The first {len(groups)} are shown."
    return section(title, f"<p>{counts}{shown} {advice}</p>", missed, *groups)
