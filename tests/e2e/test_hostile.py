"""A short campaign against the serving images: the mix of `python -m bench hostile`, judged by the same rules."""

import os
import subprocess
from pathlib import Path

import pytest

from bench import hostile
from bench.attack import Mix
from bench.containers import Server, endpoint

SAMPLES = Path(__file__).with_name("serving_samples.py")
REQUESTS = 2000

#: With this one every kind is among them.
SEED = 5

#: What so short a run cannot tell: a single heavy request is some percent of its time.
UNTOLD = "{}, p99"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small model and pictures, made inside the training image."""
    folder = tmp_path_factory.mktemp("hostile")
    volumes = ["--volume", f"{SAMPLES}:/samples.py:ro", "--volume", f"{folder}:/out"]
    command = ["docker", "run", "--rm", "--user", f"{os.getuid()}:{os.getgid()}", *volumes]
    subprocess.run([*command, "byoc-vision-train:latest", "python", "/samples.py", "/out"], check=True)
    return folder


@pytest.mark.parametrize("image", ["serve-cpu", "serve"])
def test_whatever_is_sent_is_answered_and_good_pictures_as_ever(samples: Path, image: str) -> None:
    body = (samples / "pictures" / "0.jpg").read_bytes()
    with endpoint(Server(image, "ours", f"byoc-vision-{image}:latest", samples / "model"), body) as running:
        found = hostile.campaign(running, body, Mix(SEED), REQUESTS, print, quiet_seconds=3)
    missed = [f"{each.what}: {each.figure}" for each in hostile.verdicts(image, found) if not each.reached]
    missed = [each for each in missed if not each.startswith(UNTOLD.format(image))]
    assert not missed, "\n".join([*missed, *(": ".join(each) for each in found.tally.examples.items())])
    assert found.during.latencies
