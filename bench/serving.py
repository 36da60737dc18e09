"""The comparisons about serving, all on the CPU: endpoints of the images, asked over HTTP as clients do."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from operator import eq
from pathlib import Path
from statistics import median

from bench import containers, load, pictures, places
from bench.containers import PATIENCE, Server, check_running, container, docker, endpoint
from bench.load import Load
from bench.results import BenchError, Line, Result, Side, alternate, at_least, at_most, none
from bench.subject import ARCH, Subject
from byoc_vision.debugger import job
from byoc_vision.debugger.job import Job

#: Connections of the load, and seconds of it after some to warm up; for the curve over connections, each.
CONNECTIONS, SECONDS, WARM_UP = 8, 12.0, 3.0
CURVE, CURVE_SECONDS = (1, 2, 4, 8, 16, 32), 4.0


@dataclass(frozen=True)
class Models:
    """What `python -m train` left of the pictures `data`, and the same network as users deploy it, a ResNet-50 only."""

    trained: Path
    data: Path
    users: Path | None = None

    @property
    def artifact(self) -> Path:
        """The artifact's folder."""
        return self.trained / "model"

    @property
    def job(self) -> Job:
        """What the training left: labels, and what its own test pass predicted."""
        return job.read(self.trained / "output", self.artifact)

    def sample(self) -> tuple[bytes, int]:
        """Return a test picture, and the number of the class that the test pass saw in it."""
        tested = self.job.predictions[0]
        return (self.data / tested.file).read_bytes(), self.job.labels.index(tested.predicted)


def throughput(subject: Subject) -> Result:
    """Requests per second of ResNet-50 at eight connections."""
    models, bodies = resnet50(subject), _bodies(subject)
    servers = _servers(models)
    loads = alternate(
        {server.name: partial(_load, server, bodies) for server in servers}, subject.repetitions, subject.say
    )
    subject.say("the functions without a server")
    limits = [_direct(subject, image, models, bodies) for image in ("serve", "serve-cpu")]
    sides = [_side(server, loads[server.name]) for server in servers]
    sides += [
        Side(f"limit: {image}, no server", "limit", [rates["request"]])
        for image, rates in zip(("serve", "serve-cpu"), limits, strict=True)
    ]
    rate = {side.name: side.median for side in sides}
    baseline = rate["today's endpoint"]
    lean = [latency for run in loads["serve-cpu"] for latency in run.latencies]
    return Result(
        title="Serving on CPU",
        text=f"ResNet-50, 500×375 JPEGs over {CONNECTIONS} keep-alive connections for {SECONDS:.0f} s, after "
        f"{WARM_UP:.0f} s to warm up. The client works on the same cores.",
        unit="requests/s",
        sides=sides,
        verdicts=[
            at_least("serve-cpu, times the baseline", rate["serve-cpu"] / baseline, 6),
            at_least("serve-cpu in bfloat16, times the baseline", rate["serve-cpu, bfloat16"] / baseline, 2),
            at_most("serve-cpu, p99 / p50", load.percentile(lean, 0.99) / load.percentile(lean, 0.5), 2.5),
            at_least("serve, times the baseline", rate["serve"] / baseline, 3),
            *(
                at_least(f"{image}, share of its limit", rate[image] / rates["request"], 0.95, "{:.3f}")
                for image, rates in zip(("serve", "serve-cpu"), limits, strict=True)
            ),
        ],
        notes=[
            f"{image} without a server, one process a core: {{request:.1f}} whole requests/s; decoding alone "
            "{decoding:.0f}/s, the network alone {network:.1f}/s.".format(image=image, **rates)
            for image, rates in zip(("serve", "serve-cpu"), limits, strict=True)
        ]
        + ["The ResNet-50 was trained in all layers on drawn pictures."],
    )


def _side(server: Server, loads: Sequence[Load]) -> Side:
    latencies = [latency for run in loads for latency in run.latencies]
    details = {
        "numeric form": ", ".join(sorted({run.form for run in loads})),
        "p50, ms": f"{load.percentile(latencies, 0.5):.0f}",
        "p99, ms": f"{load.percentile(latencies, 0.99):.0f}",
        "errors": str(sum(run.errors for run in loads)),
        "client's share of a core": f"{median(run.client for run in loads):.1%}",
    }
    return Side(server.name, server.kind, [run.rate for run in loads], details)


def concurrency(subject: Subject) -> Result:
    """Requests per second and errors as the number of connections grows."""
    bodies = _bodies(subject)
    servers = [candidate for candidate in _servers(resnet50(subject)) if not candidate.environment]
    curves = alternate(
        {server.name: partial(_curve, server, bodies) for server in servers}, subject.repetitions, subject.say
    )
    lines, sides, verdicts = [], [], []
    for server in servers:
        loads = list(zip(*curves[server.name], strict=True))  # for each number of connections, the repetitions
        rates = [median(run.rate for run in level) for level in loads]
        errors = sum(run.errors for level in loads for run in level)
        lines.append(Line(server.name, server.kind, list(zip(CURVE, rates, strict=True))))
        columns = {f"at {count}": f"{rate:.1f}" for count, rate in zip(CURVE, rates, strict=True)}
        most = [run.rate for run in max(loads, key=lambda level: median(run.rate for run in level))]
        sides.append(Side(server.name, server.kind, most, {**columns, "errors": str(errors)}))
        if server.kind == "ours":
            kept = min(rate / max(rates[: i + 1]) for i, rate in enumerate(rates))
            verdicts.append(at_least(f"{server.name}, lowest share of what fewer connections reach", kept, 0.95))
            verdicts.append(none(f"{server.name}, errors", errors))
    return Result(
        title="Concurrency",
        text=f"ResNet-50, 500×375 JPEGs over 1 to {CURVE[-1]} keep-alive connections, {CURVE_SECONDS:.0f} s each; the "
        "figure is that of the best number of them. Falling by less than 5 % counts as noise.",
        unit="requests/s",
        sides=sides,
        verdicts=verdicts,
        lines=lines,
        axes=("connections", "requests/s"),
    )


def start(subject: Subject) -> Result:
    """The size of the images, and the time from a container's start to its first right prediction."""
    sides: dict[str, Callable[[], float]] = {}
    servers: dict[str, Server] = {}
    for arch, models in ((ARCH, mobilenet(subject)), ("resnet50", resnet50(subject))):
        body, right = models.sample()
        for server in (candidate for candidate in _servers(models) if not candidate.environment):
            servers[f"{server.name}, {arch}"] = server
            sides[f"{server.name}, {arch}"] = partial(_first, server, body, right)
    seconds = alternate(sides, subject.repetitions, subject.say)
    megabytes = {
        started.image: int(docker("image", "inspect", "--format", "{{.Size}}", started.image)) / 1e6
        for started in servers.values()
    }
    return Result(
        title="Image and start",
        text="From a container's start to its first answer that names the class the training job named.",
        unit="s",
        sides=[
            Side(name, started.kind, seconds[name], {"image, MB": f"{megabytes[started.image]:,.0f}"})
            for name, started in servers.items()
        ],
        verdicts=[
            at_most("serve-cpu, MB", megabytes[servers[f"serve-cpu, {ARCH}"].image], 550, "{:.0f}"),
            at_most(f"serve-cpu, s to {ARCH}'s first right prediction", median(seconds[f"serve-cpu, {ARCH}"]), 1.2),
            at_most(
                "serve, resnet50, against today's endpoint",
                median(seconds["serve, resnet50"]) / median(seconds["today's endpoint, resnet50"]),
                1,
            ),
        ],
    )


def accuracy(subject: Subject) -> Result:
    """Whether endpoints answer as the training job's own test pass, in torch and float32, did."""
    sides, verdicts = [], []
    for arch, models in ((ARCH, mobilenet(subject)), ("resnet50", resnet50(subject))):
        tested, labels = models.job.predictions, models.job.labels
        bodies = [(models.data / row.file).read_bytes() for row in tested]
        answers = {"the job's test pass": [row.predicted for row in tested]}
        for server in (candidate for candidate in _servers(models) if candidate.kind == "ours"):
            subject.say(f"{server.name}, {arch}, {len(bodies)} pictures")
            with endpoint(server, bodies[0]) as running:
                containers.chosen(running)
                numbers = [load.predicted(running.port, body) for body in bodies]
            answers[server.name] = [labels[number] if number is not None else "none" for number in numbers]
        right = {name: sum(map(eq, labels, (row.label for row in tested))) for name, labels in answers.items()}
        same = {name: sum(map(eq, labels, answers["the job's test pass"])) for name, labels in answers.items()}
        sides += [
            Side(
                f"{name}, {arch}",
                "ours" if name.startswith("serve") else "limit",
                [100 * right[name] / len(tested)],
                {"as the test pass": f"{same[name]} of {len(tested)}"},
            )
            for name in answers
        ]
        lost = 100 * (right["the job's test pass"] - right["serve-cpu"]) / len(tested)
        verdicts.append(at_most(f"serve-cpu, {arch}, points of accuracy lost", lost, 0.5))
        for name in ("bfloat16", "float32"):
            what = f"serve-cpu in {name}, {arch}, answers as the test pass"
            verdicts.append(at_least(what, same[f"serve-cpu, {name}"], len(tested), "{:.0f}"))
    return Result(
        title="Answers",
        text="Accuracy on test pictures, sent as they are, in the job's own test pass (torch, float32) and as the "
        f"endpoints answer: a {ARCH} trained by `python -m train` with its defaults, and a ResNet-50 trained in all "
        "layers on drawn pictures.",
        unit="%",
        sides=sides,
        verdicts=verdicts,
    )


def _servers(models: Models) -> list[Server]:
    """Return the sides, the baseline first where there is one."""
    serve, lean = places.build("serve"), places.build("serve-cpu")
    servers = [
        Server("serve", "ours", serve, models.artifact),
        Server("serve-cpu", "ours", lean, models.artifact),
        *(
            Server(f"serve-cpu, {name}", "ours", lean, models.artifact, environment=(f"BYOC_PRECISION={name}",))
            for name in ("bfloat16", "float32")
        ),
    ]
    if models.users is None:
        return servers
    command = "python", "-m", "bench.baseline.serving"
    return [Server("today's endpoint", "baseline", places.build("today"), models.users, command), *servers]


def mobilenet(subject: Subject) -> Models:
    """Return a MobileNetV2 with a head that was trained as a job does by default; it is made once."""
    return Models(_trained(subject, ARCH, subject.data, "--weights", subject.weights), subject.data)


def resnet50(subject: Subject) -> Models:
    """Return a ResNet-50 trained in all layers on drawn pictures, some minutes' work; it is made once.

    Random weights will not do: their answers are so close to one another that any rounding changes them.
    """
    data, users = subject.scratch / "resnet50-pictures", subject.scratch / "resnet50-users"
    if not data.exists():
        pictures.draw_set(data, classes=4, train=50, others=25)
    options = ("--pretrained", "false", "--train-layers", "all", "--epochs", 8, "--batch-size", 16)
    models = Models(_trained(subject, "resnet50", data, *options), data, users)
    if not users.exists():
        subject.training.run("bench.inside.users_model", models.artifact, users)
    return models


def _trained(subject: Subject, arch: str, data: Path, *options: object) -> Path:
    """Return the folder of results of a training."""
    out = subject.scratch / f"{arch}-trained"
    if not out.exists():
        subject.say(f"training {arch}")
        subject.training.run("train", "--data", data, "--arch", arch, "--out", out, *options)
    return out


def _bodies(subject: Subject) -> list[bytes]:
    """Return JPEGs of 500 x 375 pixels."""
    return pictures.resized([file for i, file in enumerate(pictures.files(subject.data / "test")) if i % 6 == 0][:32])


def _load(server: Server, bodies: Sequence[bytes]) -> Load:
    with endpoint(server, bodies[0]) as running:
        form = containers.chosen(running) if server.kind == "ours" else "float32"
        load.drive(running.port, bodies, CONNECTIONS, WARM_UP)
        return replace(load.drive(running.port, bodies, CONNECTIONS, SECONDS), form=form)


def _curve(server: Server, bodies: Sequence[bytes]) -> list[Load]:
    with endpoint(server, bodies[0]) as running:
        if server.kind == "ours":
            containers.chosen(running)
        load.drive(running.port, bodies, CONNECTIONS, WARM_UP)
        return [load.drive(running.port, bodies, count, CURVE_SECONDS) for count in CURVE]


def _first(server: Server, body: bytes, right: int) -> float:
    """Return the seconds from the container's start to its first right answer; raises `BenchError` at a wrong one."""
    with container(server) as running:
        deadline = time.monotonic() + PATIENCE
        while (answer := load.predicted(running.port, body)) is None:
            check_running(server, running, deadline)
        answered = time.time()
        if answer != right:
            raise BenchError(f"{server.name} sees class {answer} where the training job saw {right}")
        started = docker("inspect", "--format", "{{.State.StartedAt}}", running.container)
        return answered - datetime.fromisoformat(started).timestamp()


def _direct(subject: Subject, image: str, models: Models, bodies: Sequence[bytes]) -> dict[str, float]:
    folder = subject.folder()
    folder.mkdir()
    for number, body in enumerate(bodies):
        (folder / f"{number:02}.jpg").write_bytes(body)
    place = places.Image(places.build(image), [models.artifact], folder)
    rates: dict[str, float] = places.figures(place.run("bench.inside.direct", models.artifact, folder, SECONDS / 2))
    return rates
