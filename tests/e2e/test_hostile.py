"""A short campaign against the serving images: the mix of `python -m bench hostile`, judged by the same rules."""

import pytest

from bench import hostile
from bench.attack import Mix
from bench.containers import Server, endpoint
from tests.e2e.serving import Samples

REQUESTS = 2000

#: With this one every kind is among them.
SEED = 13

#: What so short a run cannot tell: a single heavy request is some percent of its time.
UNTOLD = "{}, p99"


@pytest.mark.parametrize("image", ["serve-cpu", "serve"])
def test_whatever_is_sent_is_answered_and_good_pictures_as_ever(samples: Samples, image: str) -> None:
    body = samples.picture()
    with endpoint(Server(image, "ours", f"byoc-vision-{image}:latest", samples.model), body) as running:
        found = hostile.campaign(running, body, Mix(SEED), REQUESTS, print, quiet_seconds=0.5, warm_up=2)
    missed = [f"{each.what}: {each.figure}" for each in hostile.verdicts(image, found) if not each.reached]
    missed = [each for each in missed if not each.startswith(UNTOLD.format(image))]
    assert not missed, "\n".join([*missed, *(": ".join(each) for each in found.tally.examples.items())])
    assert found.during.latencies
