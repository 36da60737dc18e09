"""A job's channels, and the names of the files that it leaves."""

#: The channels with pictures: `training` holds all splits, or is the one that is trained on, as `train` always is.
SPLITS = ("training", "train", "validation", "test")

#: The channels with anything else, each optional.
OTHERS = ("weights", "features", "checkpoint")

CHANNELS = (*SPLITS, *OTHERS)

#: In the output folder: the figures, the answer to each test picture, and what the run was and how long each step took.
METRICS, PREDICTIONS, RUN, STEPS = "metrics.json", "predictions.csv", "profile/run.json", "profile/steps.csv"

#: There, too, of a job that ran a script: what the lines that it printed say of its course.
CURVES, CURVE_COLUMNS = "curves.csv", ("name", "reading", "value")

#: Where smdebug records tensors when it is not told otherwise.
TENSORS = "/opt/ml/output/tensors"

#: The columns of `PREDICTIONS`.
PREDICTION_COLUMNS = ("file", "label", "predicted", "probability")

#: In the output folder, too: the report as a page, and as plain data.
REPORT, FACTS = "report.html", "report.json"

#: In the model's folder: the description, and the folder and file of a handler script of the user's own.
MODEL, CODE, SCRIPT = "model.json", "code", "inference.py"
