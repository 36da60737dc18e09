"""The main job: build the images, train in SageMaker's local mode, deploy the model, ask the endpoint, clean up.

Started by local_test/run.sh. OUT gets summary.json, model.tar.gz, what else the job left (output/) and the logs.
"""

import argparse
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from byoc_vision import checks, refusals
from byoc_vision.cli import launcher
from byoc_vision.contract.errors import UserError
from byoc_vision.debugger import job
from byoc_vision.debugger.job import Prediction
from byoc_vision.local import containers
from byoc_vision.local.machine import Machine
from byoc_vision.requests import operations
from local_test import draw
from local_test.local_mode import LocalMode

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "local_test" / "out" / "run"

#: This machine as the launchers know it.
MACHINE = Machine()

#: What a trial leaves in OUT.
LEFT = {"model.tar.gz", "output", "pictures", "summary.json", "training.log", "endpoint.log"}

#: How many pictures the endpoint is asked about, and on what share of them it must agree with the job's own test pass.
#: (Batches of another size round differently, so a picture between two classes may fall to either side.)
ASKED = 20
AGREEMENT = 0.9

#: The caller's variables that the training job has, too.
HANDED_ON = {"OMP_NUM_THREADS"}


class TrialError(UserError):
    """The trial cannot begin, or has failed; the text says why in one sentence."""


def main() -> int:
    """Run the command line; return the exit status."""
    # What they are for is said by run.sh, which is asked before anything is set up.
    parser = argparse.ArgumentParser(prog="local_test/run.sh", add_help=False, allow_abbrev=False)
    parser.add_argument("--data", type=launcher.path, metavar="DIR")
    parser.add_argument("--weights", type=launcher.path, metavar="FILE")
    parser.add_argument("--out", type=launcher.path, metavar="DIR", default=OUT)
    args = parser.parse_args()
    launcher.end_as_at_ctrl_c()
    try:
        trial(args.data, args.weights, args.out.resolve())
    except KeyboardInterrupt:
        print("stopped; everything was taken down", file=sys.stderr)
        return 130
    except Exception as error:
        if (said := refusals.sentence(error)) is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1
    return 0


def trial(data: Path | None, weights: Path | None, out: Path) -> None:
    """Do the main job with the pictures in `data`, or drawn ones, and write OUT/summary.json."""
    if data is not None and not data.is_dir():
        raise TrialError(f"{data} is not a folder; --data wants one with labelled pictures")
    if weights is not None and not weights.is_file():
        raise TrialError(f"{weights} is not a file; --weights wants one of pretrained weights")
    check_room(out, data, weights)
    if data is not None:
        checks.pictures({"training": data})
    settings = hyperparameters(data, weights)
    hold(out)
    say("build")
    build()
    make_room(out)
    if data is None:
        data = out / "pictures"
        draw.draw_set(data)
    name = f"byoc-vision-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with LocalMode(logs=out) as local:
        say(f"train: {settings.get('arch', 'the default architecture')} on {data}")
        train_seconds = train(local, name, data, weights, settings, out)
        accuracy, tested = read_output(out / "output" / "data", data)
        print(f"trained in {train_seconds:.1f} s; test accuracy {accuracy:.3f}")

        picture = next((row for row in tested if row.predicted == row.label), None)
        if picture is None:
            raise TrialError("the trained model gets no test picture right, so there is none to try the endpoint with")
        say("deploy")
        ready_seconds = deploy(local, name, out / "model.tar.gz")
        answer = ask(local.port, data / picture.file)
        first_seconds = (datetime.now(UTC) - local.endpoint_started()).total_seconds()
        print(f"ready in {ready_seconds:.1f} s")

        say(f"ask: {picture.file}, which is {picture.label}")
        print(f"$ {shlex.join(curl(local.port, data / picture.file))}\n{json.dumps(answer, ensure_ascii=False)}")
        asked = spread(tested, ASKED)
        agreeing = sum(label(ask(local.port, data / row.file)) == row.predicted for row in asked)
        print(f"as in the job's own test for {agreeing} of {len(asked)} pictures")

    if label(answer) != picture.label:
        raise TrialError(f"the endpoint takes {picture.file} for {label(answer)}, which the trained model got right")
    if agreeing < AGREEMENT * len(asked):
        raise TrialError(f"the endpoint and the trained model agree on only {agreeing} of {len(asked)} pictures")
    summary = {
        "train_image_bytes": image_bytes(MACHINE.image("train")),
        "serve_image_bytes": image_bytes(serving_image()),
        "hyperparameters": settings,
        "train_seconds": round(train_seconds, 3),
        "test_accuracy": accuracy,
        "endpoint_ready_seconds": round(ready_seconds, 3),
        "container_start_to_first_prediction_seconds": round(first_seconds, 3),
        "picture": picture.file,
        "true_label": picture.label,
        "prediction": answer,
        "agreement": {"asked": len(asked), "agreeing": agreeing},
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nright: {picture.label}. The figures are in {out / 'summary.json'}")


def build() -> None:
    """Build the images; raises `TrialError` where that fails."""
    with subprocess.Popen([ROOT / "build.sh"]) as building:
        try:
            status = building.wait()
        except KeyboardInterrupt:
            building.terminate()  # which ends the build, too: killed, it would leave that alone
            building.wait()
            raise
    if status != 0:
        raise TrialError("the images were not built; the lines above say why")


def image_bytes(image: str) -> int:
    """Return the size of an image."""
    return int(containers.docker("image", "inspect", "--format", "{{.Size}}", image))


def check_room(out: Path, *needed: Path | None) -> None:
    """Raise `TrialError` where `make_room` would remove what is `needed`, or what is not a trial's."""
    for path in needed:
        if path is not None and path.resolve().is_relative_to(out):
            raise TrialError(f"{path} lies in {out}, which is emptied first; name another folder with --out")
    strangers = {entry.name for entry in out.iterdir()} - LEFT if out.exists() else set()
    if strangers:
        raise TrialError(f"{out} holds {min(strangers)}, which no trial has left; name another folder with --out")


def hold(out: Path) -> None:
    """Make the folder `out` this process's until it ends; raises `TrialError` where another trial has it."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        fcntl.flock(os.open(out, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TrialError(f"another trial uses {out}; wait for its end, or name another folder with --out") from None


def make_room(out: Path) -> None:
    """Make the folder `out`, without what an earlier run left there."""
    out.mkdir(parents=True, exist_ok=True)
    for entry in out.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def hyperparameters(data: Path | None, weights: Path | None) -> dict[str, str]:
    """Return what the job is to differ in from the defaults."""
    if weights is None:
        return {} if data else dict(draw.HYPERPARAMETERS)
    return checks.hyperparameters({"weights": weights}, {})


def train(local: LocalMode, name: str, data: Path, weights: Path | None, settings: dict[str, str], out: Path) -> float:
    """Run the training job, put its results into `out`, and return the seconds it took."""
    channels = {"training": data} | ({"weights": weights} if weights else {})
    request = operations.training_job(
        name=name,
        image=MACHINE.image("train"),
        role=MACHINE.role(),
        channels={channel: source.resolve().as_uri() for channel, source in channels.items()},
        hyperparameters=settings,
        output=out.as_uri(),
        instance_type=MACHINE.instance_type("local"),
    )
    request["Environment"] = {name: os.environ[name] for name in HANDED_ON & os.environ.keys()}
    try:
        ended = local.train(request, show=partial(print, flush=True))
    except UserError as error:
        raise TrialError(f"training failed: {error}") from error
    finally:
        for result in local.results.glob("*"):
            shutil.move(result, out)
    seconds: float = (ended["TrainingEndTime"] - ended["TrainingStartTime"]).total_seconds()
    return seconds


def read_output(folder: Path, data: Path) -> tuple[float, list[Prediction]]:
    """Return the job's test accuracy and what it said of each test picture."""
    output = job.read(folder)
    if "test_accuracy" not in output.metrics:
        raise TrialError(f"{data} has no test pictures to try the endpoint with; add test/ (the model is kept)")
    return output.metrics["test_accuracy"], output.predictions


def deploy(local: LocalMode, name: str, archive: Path) -> float:
    """Deploy the model archive; return the seconds until the endpoint was ready."""
    # Local mode unpacks an archive beside itself and mounts whatever is there, so it gets a folder of its own.
    folder = local.work / "model"
    folder.mkdir()
    artifact = Path(shutil.copy(archive, folder))
    return local.deploy(
        operations.model(name, serving_image(), MACHINE.role(), artifact.as_uri()),
        operations.endpoint_config(name, name, MACHINE.instance_type("local")),
        operations.endpoint(name, name),
    )


def serving_image() -> str:
    """Return the image that serves on this machine: the lean one where there is no GPU."""
    return MACHINE.image("serve" if MACHINE.instance_type("local") == "local_gpu" else "serve-cpu")


def curl(port: int, picture: Path) -> list[str]:
    """Return the command that asks the endpoint about a picture."""
    url = f"http://127.0.0.1:{port}/invocations"
    return ["curl", "-sS", "-H", "Content-Type: application/x-image", "--data-binary", f"@{picture}", url]


def ask(port: int, picture: Path) -> dict[str, Any]:
    """Return the endpoint's answer for a picture."""
    done = subprocess.run([*curl(port, picture), "--noproxy", "*"], capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise TrialError(f"the endpoint gave no answer for {picture}: {done.stderr or done.stdout}") from None
    if "error" in answer:
        raise TrialError(f"the endpoint refused {picture}: {answer['error']}")
    return answer


def label(answer: dict[str, Any]) -> str:
    """Return the class that an answer for one picture names."""
    return str(answer["predictions"][0]["label"])


def spread(tested: Sequence[Prediction], count: int) -> list[Prediction]:
    """Return the first `count` of `tested` when the classes take turns."""
    turns: dict[str, int] = {}
    order = []
    for row in tested:
        turns[row.label] = turns.get(row.label, 0) + 1
        order.append((turns[row.label], row.label, row))
    return [row for _, _, row in sorted(order, key=lambda entry: entry[:2])[:count]]


def say(what: str) -> None:
    """Print the heading of the next step."""
    print(f"\n== {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
