"""Runs at the start of every Python process in the training image, because byoc_container.pth imports it.

Scripts of users' own find smdebug configured where the service gives no configuration. And where SDK v3's driver has
replaced the image's entry point, the job is recorded from beside it. An exception that ends a script is noted, for a
trace in its log may be of one that it has survived. Its trace is written at once: several processes, as torchrun starts
them, would write theirs into one another. It costs them microseconds.
"""

import io
import os
import sys

ROOT, PROGRAM = "/opt/ml/input", "/opt/program"
DRIVERS = f"{ROOT}/data/sm_drivers/distributed_drivers/"


def record() -> None:
    """Start `train.script.beside` on the job's first host; at this process' end, let it write the report."""
    import atexit  # these here, since most processes need none of them
    import json
    import subprocess
    import tempfile

    with open(f"{ROOT}/config/resourceconfig.json", encoding="utf-8") as file:
        resources = json.load(file)
    if resources["current_host"] != resources["hosts"][0]:
        return
    os.environ["BYOC_TENSORS"] = f"{tempfile.mkdtemp()}/tensors"  # the script's too, for it comes of this process
    recorder = subprocess.Popen(
        [sys.executable, "-m", "train.script.beside"],
        cwd=PROGRAM,
        env=os.environ | {"PYTHONPATH": PROGRAM},
        stdin=subprocess.PIPE,
    )
    atexit.register(recorder.communicate)


def note(file: str) -> None:
    """Let a line in `file` say that an exception has ended this process; the file alone, that it would be there."""
    shown = sys.excepthook

    def hook(*exception: object) -> None:
        stream, sys.stderr = sys.stderr, io.StringIO()
        try:
            shown(*exception)  # type: ignore[arg-type]
        finally:
            trace, sys.stderr = sys.stderr.getvalue(), stream
        if stream:
            stream.write(trace)
        with open(file, "a", encoding="utf-8") as uncaught:
            uncaught.write("uncaught\n")

    try:
        open(file, "a", encoding="utf-8").close()
    except OSError:
        return
    sys.excepthook = hook


if "BYOC_UNCAUGHT" in os.environ:
    note(os.environ["BYOC_UNCAUGHT"])
if os.path.isdir(ROOT):
    if not os.path.exists(f"{ROOT}/config/debughookconfig.json"):
        os.environ.setdefault("SMDEBUG_CONFIG_FILE_PATH", f"{PROGRAM}/train/script/debughookconfig.json")
    if any(argument.startswith(DRIVERS) for argument in sys.orig_argv):
        record()
