"""The comparison of faults: processes killed, containers that may do less, little memory, many models."""

from bench import crowded, kills, many_models, places, restricted, serving
from bench.containers import Server
from bench.results import Result
from bench.subject import ARCH, Subject


def faults(subject: Subject) -> Result:
    """What the serving images do when something goes wrong beneath them."""
    models = serving.mobilenet(subject)
    body, right = models.sample()
    lean, full = (Server(name, "ours", places.build(name), models.artifact) for name in ("serve-cpu", "serve"))
    sides, killed, verdicts = kills.killed(lean, body, subject.say)
    outcomes = [
        restricted.restricted(lean, body, right, subject.say),
        restricted.restricted(full, body, right, subject.say),
        crowded.largest(lean, body, subject.say),
        many_models.many_models(lean, body, subject.say),
    ]
    return Result(
        title="Faults beneath it",
        text=f"Each process of a container killed under load: seconds until all is answered right again, or until the "
        f"container has ended, for its platform to start another; {ARCH}. Below: what was lost, containers that may do "
        "less than usual, the largest bodies and pictures in little memory, and many models in little memory.",
        unit="s",
        sides=sides,
        verdicts=verdicts + [verdict for _, verdicts_ in outcomes for verdict in verdicts_],
        tables=[killed, *(table for table, _ in outcomes)],
    )
