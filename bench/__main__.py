"""The command line: which comparisons, on what, how often, and where the results go."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench import faults, forms, hostile, machine, page, pictures, places, recipe, serving, training
from bench.gpu import groups
from bench.gpu.setting import Setting
from bench.places import Here, Image
from bench.results import BenchError, Result
from bench.subject import ARCH, Subject
from byoc_vision.contract.errors import UserError

_TRAINING: dict[str, Callable[[Subject], Result]] = {
    "head": training.head,
    "tuning": training.tuning,
    "all-layers": training.all_layers,
    "all-layers-resnet50": training.all_layers_resnet50,
    "debugger": training.debugger,
    "memory": training.memory,
}
_SERVING: dict[str, Callable[[Subject], Result]] = {
    "throughput": serving.throughput,
    "accuracy": serving.accuracy,
    "concurrency": serving.concurrency,
    "start": serving.start,
}
#: What the serving images withstand: no comparison of speed, and not among what is measured by default.
_CAMPAIGN: dict[str, Callable[[Subject], Result]] = {
    "hostile": hostile.hostile,
    "faults": faults.faults,
    "forms": forms.forms,
}
#: How accurate training is: on real photographs and weights only, and longer than the rest together.
_ACCURACY: dict[str, Callable[[Subject], Result]] = {"recipe": recipe.recipe}
#: Checks of what runs on a GPU; no comparison either, and with this Python only.
_GPU = "gpu"
COMPARISONS = _TRAINING | _SERVING | _CAMPAIGN | _ACCURACY
GROUPS = {"training": list(_TRAINING), "serving": list(_SERVING), "campaign": list(_CAMPAIGN)}


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure this project beside what users do today, and write the results page.",
        epilog=f"comparisons: {', '.join(COMPARISONS)}. 'training', 'serving' and 'campaign' are all of a kind; 'page' "
        f"measures nothing and writes the page anew. The campaign ({', '.join(_CAMPAIGN)}) measures what the serving "
        "images withstand rather than how fast they are, and runs only when it is named, as does 'recipe': what makes "
        "training more accurate, on your --data and --weights. 'gpu' checks and measures what runs on a GPU, with this "
        "Python's torch alone, in less than 8 minutes; it ends with status 1 where something is wrong.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "comparisons", nargs="*", metavar="COMPARISON", help="what to measure (default: training serving)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="JPEGs in train/, valid/, test/ (default: drawn ones)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help=f"weights of {ARCH} (default: random ones)")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="of each side (default: %(default)s)")
    parser.add_argument(
        "--requests",
        type=int,
        default=100_000,
        metavar="N",
        help="hostile ones to serve-cpu, and a fifth of them to serve (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the hostile requests (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=machine.ROOT / "bench" / "results", metavar="DIR", help="the results"
    )
    parser.add_argument("--here", action="store_true", help="train with this Python's torch, not in the image")
    parser.add_argument(
        "--dry-run", action="store_true", help="of gpu: the same checks without a GPU, as small as can be; kept nowhere"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no container outlives this
    try:
        names = _names(args.comparisons)
        with tempfile.TemporaryDirectory(prefix="byoc-vision-bench-") as scratch:
            right = _GPU not in names or _check_gpu(args, Path(scratch))
            names = [name for name in names if name != _GPU]
            if names:
                _measure(names, args, Path(scratch))
        if args.dry_run:
            return 0 if right else 1
        page.write(args.out, [*COMPARISONS, _GPU])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the comparisons that had ended are kept", file=sys.stderr)
        return 130
    print(f"the page is {args.out / 'README.md'}")
    return 0 if right else 1


def _names(asked_for: list[str]) -> list[str]:
    wanted: list[str] = []
    for name in asked_for or [*_TRAINING, *_SERVING]:
        if name not in [*COMPARISONS, *GROUPS, _GPU, "page"]:
            raise BenchError(f"there is no comparison {name!r}; there are {', '.join([*GROUPS, *COMPARISONS, _GPU])}")
        wanted += GROUPS.get(name, [name])
    return [name for name in dict.fromkeys(wanted) if name != "page"]


def _check_gpu(args: argparse.Namespace, scratch: Path) -> bool:
    """Run the checks of what runs on a GPU, print and keep what they found, and return whether all was right."""
    gpus = 0 if args.dry_run else len(machine.gpus())
    if not (gpus or args.dry_run):
        raise BenchError("there is no GPU here; --dry-run tries the same checks on the CPU, as small as can be")
    setting = Setting(Path(), scratch / "gpu", gpus)
    setting = setting if gpus else setting.dry()
    data = args.data
    if data is None:
        data = pictures.draw_set(scratch / "gpu-drawn", train=setting.drawn, others=max(8, setting.drawn // 4))
    pictures.check(data)
    print("== gpu", flush=True)
    outcome = groups.check(replace(setting, data=data.resolve()), lambda line: print(line, flush=True))
    wrong = [verdict for verdict in outcome.verdicts if not verdict.reached]
    print(f"{len(outcome.verdicts) - len(wrong)} right, {len(wrong)} wrong", flush=True)
    if not args.dry_run:
        replace(outcome, about=machine.about()).save(args.out / f"{_GPU}.json")
    return not wrong


def _measure(names: list[str], args: argparse.Namespace, scratch: Path) -> None:
    here = args.here or not places.has_docker()
    if here and not places.has_torch():
        raise BenchError(
            "there is neither Docker nor torch here; install Docker, or run this with a Python that has torch"
        )
    for path in (args.data, args.weights):
        if path is not None and not path.exists():
            raise BenchError(f"{path} does not exist; name a folder of pictures and a file of weights")
    data = args.data.resolve() if args.data else pictures.draw_set(scratch / "drawn")
    pictures.check(data)
    weights = args.weights.resolve() if args.weights else scratch / f"{ARCH}-random.pth"
    place = Here() if here else Image(places.build("train"), [data, weights.parent], scratch)
    subject = Subject(
        data,
        weights,
        place,
        args.repetitions,
        scratch,
        say=lambda line: print(f"  {line}", flush=True),
        requests=args.requests,
        seed=args.seed,
    )
    if not args.weights:
        training.random_weights(subject, ARCH)
    for name in names:
        print(f"== {name}", flush=True)
        result = replace(COMPARISONS[name](subject), about=machine.about())
        result.save(args.out / f"{name}.json")
        for verdict in result.verdicts:
            print(f"{verdict.what}: {verdict.figure} (bar {verdict.bar})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
