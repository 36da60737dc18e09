"""Train a head so often with other learning rates: `python -m bench.inside.tuning TRIALS ARGUMENT…`.

The arguments are those of `python -m train`. All trials share one folder of results, and so the features that the first
one computes. Prints the seconds of all together as JSON, last.
"""

import json
import random
import sys
import time

from train import __main__

if __name__ == "__main__":
    trials, arguments = int(sys.argv[1]), sys.argv[2:]
    generator = random.Random(0)
    begun = time.monotonic()
    for _ in range(trials):
        sys.argv[1:] = [*arguments, "--lr", f"{10 ** generator.uniform(-4, -1):.6f}"]
        if __main__.main() != 0:
            sys.exit(1)
    print(json.dumps({"seconds": time.monotonic() - begun}))
