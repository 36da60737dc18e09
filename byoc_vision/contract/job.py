"""A job's channels, and the names of the files that it leaves."""

from collections.abc import Mapping
from pathlib import Path

#: The channels with pictures: `training` holds all splits, or is the one that is trained on, as `train` always is.
PICTURES = ("training", "train", "validation", "test")

#: The channels with anything else, each optional.
OTHERS = ("weights", "features", "checkpoint")

CHANNELS = (*PICTURES, *OTHERS)

#: In the output folder: the figures, the answer to each test picture; the report as a page, and as plain data.
METRICS, PREDICTIONS, REPORT, FACTS = "metrics.json", "predictions.csv", "report.html", "report.json"

#: Beside them: the probabilities of all classes, [test pictures, classes] float32, rows as in `PREDICTIONS` and columns
#: as the labels in `MODEL`; and what in the pictures that were answered most wrongly spoke for the answer.
PROBABILITIES, HEAT_MAPS = "probabilities.npy", "heatmaps.json"

#: Pictures that were answered wrongly, the surest first: so many are shown.
WRONG_SHOWN = 24

#: Where smdebug records tensors when it is not told otherwise.
TENSORS = "/opt/ml/output/tensors"

#: The variable that names a file in which smdebug's hooks note the folders that they write to, one a line.
NOTED = "BYOC_TENSORS"

#: The variable that names a file in which the Python processes of a program note that an exception has ended them; it
#: is there once one has begun.
UNCAUGHT = "BYOC_UNCAUGHT"

#: The columns of `PREDICTIONS`.
PREDICTION_COLUMNS = ("file", "label", "predicted", "probability")

#: Of pictures that the data has twice, the groups that `METRICS` and the report list, and the pictures of each.
COPY_GROUPS_SHOWN, COPIES_SHOWN = 24, 6

#: Folders in the output folder: what was recorded of the network, in smdebug's form, and the profile.
DEBUGGER, PROFILE = "debugger", "profile"

#: In `PROFILE`: what the run was, how long each step took, and how the machine was used.
RUN, STEPS, SYSTEM = "run.json", "steps.csv", "system.csv"

#: The parts of a step, in the order they happen, and the columns of `STEPS`.
PHASES = ("data", "forward", "backward", "optimizer")
STEP_COLUMNS = ("step", "epoch", "mode", "begin", *PHASES)

#: In `PROFILE` of a job that ran a script: what the lines that it printed say of its course.
CURVES, CURVE_COLUMNS = "curves.csv", ("name", "reading", "value")

#: In the output folder: where the report is if a script has left files of the report's names itself.
ASIDE = "byoc_vision"

#: What precedes a ReLU's name in the tensor that has, for each of its units, the share of positive outputs in a step.
ACTIVITY = "relu_activity/"

#: In the model's folder: the description, and the folder and file of a handler script of the user's own.
MODEL, CODE, SCRIPT = "model.json", "code", "inference.py"


def named(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a container's environment tells of its job: `job`, its name, and `instance`, its machine's type."""
    return {"job": environ.get("TRAINING_JOB_NAME", ""), "instance": environ.get("SM_CURRENT_INSTANCE_TYPE", "")}


def report_folder(output: Path) -> Path:
    """Return which folder the job's report is in, of a job with this output folder."""
    aside = output / ASIDE
    return aside if (aside / REPORT).exists() else output


def partly_compared(pictures: int) -> str:
    """Return the sentence on so many pictures that may have copies which were not found."""
    return (
        f"{pictures:,} pictures look so much like so many others that they were compared with the most similar only: "
        "of copies that differ in size or format, some may not have been found"
    )
