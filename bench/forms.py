"""The comparison about the numeric form: whether the one that a container chooses is the fastest."""

from collections import Counter

from bench import containers, places, serving
from bench.containers import Server, endpoint, running
from bench.results import Result, Side, at_least
from bench.subject import ARCH, Subject

#: Containers that are started of each image with each network, and how much slower than the fastest a choice may be.
STARTS, TOLERANCE = 20, 1.1


def forms(subject: Subject) -> Result:
    """Which form containers choose while a neighbour keeps a core busy."""
    sides, verdicts = [], []
    for arch, models in ((ARCH, serving.mobilenet(subject)), ("resnet50", serving.resnet50(subject))):
        body, _ = models.sample()
        for image in ("serve-cpu", "serve"):
            name = places.build(image)
            printed = places.Image(name, [models.artifact], subject.scratch).run("bench.inside.forms", models.artifact)
            steady: dict[str, float] = places.figures(printed)
            fastest = min(steady.values())
            chosen: Counter[str] = Counter()
            with running(name, "python", "-c", "while True: pass"):  # keeps a core busy
                for number in range(STARTS):
                    subject.say(f"{image}, {arch}, start {number + 1} of {STARTS}")
                    with endpoint(Server(image, "ours", name, models.artifact), body) as started:
                        chosen[containers.chosen(started)] += 1
            what = f"{image}, {arch}"
            right = sum(count for form, count in chosen.items() if steady.get(form, 1e9) <= TOLERANCE * fastest)
            shares = ", ".join(f"{form} {count}×" for form, count in chosen.most_common())
            times = ", ".join(f"{form} {milliseconds:.1f}" for form, milliseconds in steady.items())
            sides.append(Side(what, "ours", [fastest], {"chosen": shares, "steady, ms": times}))
            verdicts.append(at_least(f"{what}, right choices of {STARTS}", right, STARTS, "{:.0f}"))
    return Result(
        title="Numeric form",
        text=f"{STARTS} starts of each container beside a process that keeps one core busy. A choice is right when the "
        f"form's steady time, measured without that process, is within {TOLERANCE - 1:.0%} of the fastest form's, "
        "of those that give all the answers which training stored.",
        unit="ms a picture, fastest form",
        sides=sides,
        verdicts=verdicts,
    )
