"""The report's parts that show what the job took: time, and the machine. Each returns markup, or ""."""

from html import escape

from byoc_vision.contract.job import PHASES
from byoc_vision.debugger import charts
from byoc_vision.debugger.charts import Line
from byoc_vision.debugger.markup import Facts, pair, seconds, section, table

_PHASE_NAMES = {"data": "waiting for data", "forward": "forward", "backward": "backward", "optimizer": "optimizer"}
_COLOURS = {name: colour for colour, name in enumerate(("forward", "data", "backward", "optimizer"))}


def time(facts: Facts) -> str:
    """Where the time went: before the first step, and in each part of the steps."""
    spent = facts["time"]
    parts, courses = [_whole(spent)] if spent.get("phases") else [], []
    if "start_up" in spent:
        parts.append(f"<p>{seconds(spent['start_up'])} from the job's start to its first step.</p>")
    rows = []
    for mode, title in (("train", "Training"), ("eval", "Evaluation")):
        if mode not in spent:
            continue
        of_mode = spent[mode]
        total = sum(of_mode["seconds"].values())
        named = [(_PHASE_NAMES[name], _COLOURS[name], of_mode["seconds"][name]) for name in PHASES]
        said = f"{title}: {seconds(total)} in {of_mode['steps']:,} timed steps"  # those that were recorded are not
        parts.append(f"<h3>{said}</h3>{charts.shares(named, title)}")
        split = [
            f'<li><i class="swatch c{colour}"></i>{name} {seconds(value)}, {100 * value / total:.0f} %</li>'
            for name, colour, value in named
            if value and total
        ]
        parts.append(f'<ul class="legend" style="margin-bottom:18px">{"".join(split)}</ul>')
        marks = of_mode["step"]
        cells = [_milliseconds(marks[mark]) for mark in ("p50", "p95", "p99", "max")] if marks else [""] * 4
        rows.append([title.lower(), *cells])
        course = of_mode["course"]
        layers = [(_PHASE_NAMES[name], _COLOURS[name], course[name]) for name in PHASES if any(course[name])]
        chart = charts.stacked(course["step"], layers, f"parts of a {title.lower()} step", "step")
        courses.append((f"{title} steps, ms", chart))
    if rows:
        parts.append(pair(*courses))
        head = ["a step, ms", "median", "p95", "p99", "longest"]
        parts.append(f'<div style="margin-top:24px;max-width:520px">{table(head, rows, (1, 2, 3, 4))}</div>')
    return section("Where the time went", *parts, lead="The longest part is the one that is worth making faster.")


def _whole(spent: Facts) -> str:
    """One bar from the container's start to the report, and what took the longest."""
    phases = spent["phases"]
    total = sum(value for _, value in phases)
    named = [(name, place % 8, value) for place, (name, value) in enumerate(phases)]
    split = "".join(
        f'<li><i class="swatch c{colour}"></i>{escape(name)} {seconds(value)}, {100 * value / total:.0f} %</li>'
        for name, colour, value in named
    )
    return (
        f"<h3>{seconds(total)} from the container's start to this report</h3>{charts.shares(named, 'all of the time')}"
        f'<ul class="legend">{split}</ul><p style="margin-bottom:18px">{escape(spent["bottleneck"])}</p>'
    )


def _milliseconds(value: float) -> str:
    return f"{1000 * value:,.0f}" if value >= 0.1 else f"{1000 * value:.3g}"


def utilisation(facts: Facts) -> str:
    """The load of the processors and the fill of the memories over time."""
    course = facts["utilisation"]

    def chart(names: list[str], label: str) -> str:
        series = [
            Line(name, course[name]["x"], course[name]["mean"], colour % 8)
            for colour, name in enumerate(names)
            if name in course
        ]
        return charts.lines(series, label, "minutes", y_range=(0, 100))

    gpus = [name for name in course if name.startswith("GPU")]
    processor = ["CPU, mean of cores", "CPU, busiest core", "waiting for I/O", "memory"]
    return section(
        "Utilisation",
        pair(("CPU and memory, %", chart(processor, "CPU")), ("GPU, %", chart(gpus, "GPU") if gpus else "")),
        lead="What is near 100 % is what the job waited for; what is near 0 % was paid for and not used.",
    )
