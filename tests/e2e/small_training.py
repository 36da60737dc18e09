"""A training of seconds: what the local engine's tests and the programs of SDK users set, see and need for it."""

import json

#: Pictures of a class in each split, where it does not matter what is learnt from them.
FEW = {"train": 6, "valid": 3, "test": 3}

SETTINGS = {
    "arch": "mobilenet_v3_small",  # a model of a tenth of the size of others: to write, pack and load
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
#: The same as a request file for the launchers, as JSON, which is YAML.
ONE_THREAD = json.dumps(
    {
        "CreateTrainingJob": {"Environment": ENVIRONMENT},
        "CreateHyperParameterTuningJob": {"TrainingJobDefinition": {"Environment": ENVIRONMENT}},
    }
)
