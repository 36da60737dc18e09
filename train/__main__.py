"""Train on any machine with torch, without SageMaker.

    python -m train --data PICTURES --out RESULT [--weights FILE] [--lr 0.01 --epochs 10 …]

PICTURES holds train/, validation/ and perhaps test/, each with one folder per class, or the class folders alone.
RESULT gets model/ (the artifact), output/ (metrics and predictions) and checkpoints/: the features of a frozen
backbone, which the next run with that RESULT reuses, and after an interruption what to continue from.
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.hyperparameters import Settings, kebab, parse

try:
    from train.run import Run
    from train.stopping import Stopped
except ModuleNotFoundError as error:
    sys.exit(
        f"python -m train needs {error.name}, which the training image has; install what it needs with "
        "pip install --editable '.[train]', or train in the image with local_test/train_local.sh"
    )


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="labelled pictures")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="for the results (default: out)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="pretrained weights, .safetensors or .pth")
    for f in fields(Settings):
        parser.add_argument(f"--{kebab(f.name)}", metavar="VALUE", help=f"{f.metadata['help']} (default: {f.default})")
    args = vars(parser.parse_args())
    out: Path = args["out"]
    try:
        run = Run(
            settings=parse({kebab(f.name): args[f.name] for f in fields(Settings) if args[f.name] is not None}),
            channels={"training": args["data"]},
            weights=args["weights"],
            model=out / "model",
            output=out / "output",
            checkpoints=out / "checkpoints",
        )
        run.stop.listen()
        run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Stopped:
        print(f"stopped; the same command continues from {out / 'checkpoints'}")
        return 130
    print(f"the model is in {out / 'model'}, its figures in {out / 'output' / 'metrics.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
