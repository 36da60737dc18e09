"""A training of seconds: what the local engine's tests and the programs of SDK users set, see and need for it."""

SETTINGS = {
    "arch": "resnet18",
    "pretrained": "false",
    "train-layers": "all",
    "image-size": "32",
    "batch-size": "8",
    "epochs": "1",
    "workers": "0",
    "export": "false",
}
OBJECTIVE = "validation_accuracy"
METRICS = [{"Name": OBJECTIVE, "Regex": r"validation_accuracy=(\S+)"}]
#: Threads of networks so small wait for each other, busily, for longer than they compute.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
