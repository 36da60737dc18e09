"""The comparison under fire: a seeded mix of hostile requests beside clients that send a good picture."""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import ceil

from bench import load, pictures, places, serving
from bench.attack import HEAVY, HEAVY_SHARE, KINDS, LARGE, LARGE_SHARE, Mix, media
from bench.attack.client import Tally, send
from bench.attack.request import LIMIT
from bench.containers import WORKER, Endpoint, Process, Server, chosen, endpoint
from bench.load import Load
from bench.results import BenchError, Result, Side, Table, Verdict, at_most, none
from bench.serving import CONNECTIONS
from bench.subject import ARCH, Subject

#: Hostile clients, beside those of the good picture.
CLIENTS = 10

#: A picture of 12 megapixels, as telephones take them.
PHOTOGRAPH = media.black(4_000, 3_000, colour=2)

#: Seconds of the good picture alone, and before that, in each round of warming up, of one of 6 MB and `PHOTOGRAPH` too.
QUIET, WARM_UP = 15.0, 5.0

#: Seconds without a request, after which workers have given back what the last ones took.
_REST = 1.0

#: Rounds of warming up, at most: on a machine that is busy with other work, one is too few for Java's heap.
_ROUNDS = 10

#: What the supervisor says of a worker that it ends at the limit of its time.
TIME_LIMIT = "a request took over"


@dataclass
class Campaign:
    """What one container went through: the good picture's load before and during the fire, and the fire's outcome."""

    quiet: Load
    during: Load
    seconds: float
    tally: Tally
    before: list[Process]
    after: list[Process]
    restarts: int
    late: int
    log_lines: int

    @property
    def growth(self) -> float:
        """The resident memory of all processes after the fire, as a share of that before."""
        return sum(process.resident for process in self.after) / sum(process.resident for process in self.before)

    def count(self, *names: str) -> int:
        """Return how many answers had one of these faults."""
        return sum(number for (_, what), number in self.tally.faults.items() if what in names)


def hostile(subject: Subject) -> Result:
    """Hostile requests to both images while good ones are answered."""
    models = serving.mobilenet(subject)
    body, right = models.sample()
    counts = {"serve-cpu": subject.requests, "serve": ceil(subject.requests / 5)}
    campaigns: dict[str, Campaign] = {}
    for image, requests in counts.items():
        server = Server(image, "ours", places.build(image), models.artifact)
        with endpoint(server, body) as running:
            if load.predicted(running.port, body) != right:
                raise BenchError(f"{image} sees another class in a test picture than the training job saw")
            campaigns[image] = campaign(running, body, Mix(subject.seed), requests, subject.say)
    sent = " and ".join(f"{count:,} hostile requests to {image}" for image, count in counts.items())
    return Result(
        title="Under fire",
        text=f"Seed {subject.seed}: {sent}, from {CLIENTS} clients, of {len(KINDS)} kinds (below), while {CONNECTIONS} "
        f"connections send one good JPEG as fast as they are answered; {ARCH}. Of the mix {LARGE_SHARE:.1%} are "
        f"requests of megabytes ({', '.join(LARGE)}), {HEAVY_SHARE:.1%} are made to cost seconds ({', '.join(HEAVY)}). "
        "All clients work on the server's cores. Memory is compared with that after some good pictures, "
        "of 6 MB and of 12 megapixels among them.",
        unit="requests/s",
        sides=[side for image, outcome in campaigns.items() for side in _sides(image, counts[image], outcome)],
        verdicts=[verdict for image, outcome in campaigns.items() for verdict in verdicts(image, outcome)],
        notes=[
            f"{image}, {what}: `{example}`"
            for image, outcome in campaigns.items()
            for what, example in outcome.tally.examples.items()
        ],
        tables=[_statuses(image, outcome.tally) for image, outcome in campaigns.items()],
    )


def campaign(
    running: Endpoint,
    body: bytes,
    mix: Mix,
    requests: int,
    say: Callable[[str], None],
    quiet_seconds: float = QUIET,
    warm_up: float = WARM_UP,
) -> Campaign:
    """Send so many requests of `mix` while the picture `body` is answered; raises `BenchError` where it ends."""
    chosen(running)  # whose answers are others than the first ones, in their last digits
    _warm_up(running, [body, pictures.padded(body, LIMIT), PHOTOGRAPH], warm_up)
    right = load.ask(running.port, body)[1]
    quiet = load.drive(running.port, [body], CONNECTIONS, quiet_seconds, right)
    before, lines = _at_rest(running), len(running.log.splitlines())
    workers = {process.pid for process in before if process.role == WORKER}
    seen, tally, stop = set(workers), Tally(), threading.Event()
    good_clients = partial(load.drive, running.port, [body], CONNECTIONS, right=right, stop=stop)
    with ThreadPoolExecutor(1) as threads:
        good = threads.submit(good_clients)
        try:
            for part in _fire(running.port, mix, requests):
                tally.add(part)
                if not running.running:
                    raise BenchError(f"the container ended within {tally.sent:,} requests: {running.last_line}")
                seen |= {process.pid for process in running.processes() if process.role == WORKER}
                wrong, restarts = tally.faults.total(), len(seen - workers)
                say(f"{tally.sent:,} of {requests:,} hostile requests; {wrong} wrong, {restarts} workers restarted")
        finally:
            stop.set()
        during = good.result()
    if tally.sent < requests:
        raise BenchError(f"the hostile clients ended after {tally.sent:,} requests; the lines above say why")
    load.drive(running.port, [body], CONNECTIONS, warm_up)
    said = running.log.splitlines()[lines:]
    return Campaign(
        quiet=quiet,
        during=during,
        seconds=during.seconds,
        tally=tally,
        before=before,
        after=_at_rest(running),
        restarts=len(seen - workers),
        late=sum(TIME_LIMIT in line for line in said),
        log_lines=len(said),
    )


def _warm_up(running: Endpoint, bodies: list[bytes], seconds: float) -> None:
    """Send `bodies` until that adds nothing more to the memory: what a server keeps for large ones is no growth."""
    held = 0
    for _ in range(_ROUNDS):
        load.drive(running.port, bodies, CONNECTIONS, seconds)
        before, held = held, sum(process.resident for process in _at_rest(running))
        if held < 1.01 * before:
            break


def _at_rest(running: Endpoint) -> list[Process]:
    """Return the processes when requests have stopped for so long that workers have given back what these took."""
    time.sleep(_REST)
    return running.processes()


def _fire(port: int, mix: Mix, requests: int) -> Iterator[Tally]:
    """Send the requests, and yield what became of them, part by part.

    They come from a process of its own, so that the good clients' answers wait for none of its computing.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(port, mix, requests, CLIENTS, sender.send), daemon=True)
    process.start()
    sender.close()
    try:
        with contextlib.suppress(EOFError):
            while True:
                yield receiver.recv()
    finally:
        process.terminate()
        process.join()


def verdicts(image: str, outcome: Campaign) -> list[Verdict]:
    """Return what was to be shown of one image."""
    unanswered = outcome.count("no answer", "no answer in time")
    others = outcome.tally.faults.total() - outcome.count("5xx") - unanswered
    return [
        none(f"{image}, 5xx but 503, 504, 507", outcome.count("5xx")),
        none(f"{image}, errors that are not one sentence in JSON", others),
        none(f"{image}, requests without an answer", unanswered),
        none(f"{image}, worker restarts but by the time limit", max(0, outcome.restarts - outcome.late)),
        at_most(f"{image}, resident memory after against before", outcome.growth, 1.1, "{:.3f}"),
        none(f"{image}, good pictures not answered right", outcome.during.errors),
        at_most(
            f"{image}, p99 of good pictures against the quiet one",
            outcome.during.percentile(0.99) / outcome.quiet.percentile(0.99),
            3,
        ),
    ]


def _sides(image: str, requests: int, outcome: Campaign) -> list[Side]:
    def good(run: Load) -> dict[str, str]:
        return {
            "p50, ms": f"{run.percentile(0.5):.0f}",
            "p99, ms": f"{run.percentile(0.99):.0f}",
            "not right": ", ".join(f"{number} {what}" for what, number in run.failures.items()) or "0",
        }

    memory = {
        role: [
            sum(process.resident for process in at if process.role == role) / 1e6
            for at in (outcome.before, outcome.after)
        ]
        for role in dict.fromkeys(process.role for process in outcome.after)
    }
    return [
        Side(f"{image}: good pictures, quiet", "limit", [outcome.quiet.rate], good(outcome.quiet)),
        Side(f"{image}: good pictures, under fire", "ours", [outcome.during.rate], good(outcome.during)),
        Side(
            f"{image}: hostile requests",
            "baseline",
            [requests / outcome.seconds],
            {
                "log lines": f"{outcome.log_lines:,}",
                "MB, before → after": "; ".join(f"{role} {a:.0f} → {b:.0f}" for role, (a, b) in memory.items()),
            },
        ),
    ]


def _statuses(image: str, tally: Tally) -> Table:
    """Return the counts by kind and status."""
    statuses = sorted({status for _, status in tally.statuses})
    return Table(
        f"{image}: answers by kind and status",
        ["", *statuses],
        [
            [
                kind,
                *(f"{tally.statuses[kind, status]:,}" if tally.statuses[kind, status] else "" for status in statuses),
            ]
            for kind in KINDS
        ],
    )
