"""Hyperparameters: one definition, every wrong value named in a sentence."""

import dataclasses
from pathlib import Path

import pytest

from byoc_vision.contract import hyperparameters
from byoc_vision.contract.hyperparameters import Settings, SettingsError, parse


def test_defaults_and_kebab_case():
    assert parse({}) == Settings()
    assert parse({"batch-size": "32", "lr": "0.01", "train-layers": "all"}) == Settings(
        batch_size=32, lr=0.01, train_layers="all"
    )


@pytest.mark.parametrize("quoted", [32, "32", '"32"', '"\\"32\\""', " 32 "])
def test_sagemakers_quoting_is_undone(quoted):
    assert parse({"batch-size": quoted}).batch_size == 32


def test_names_that_sagemaker_adds_are_left_out():
    raw = {"epochs": "3", "sagemaker_program": '"x"', "sagemaker_region": "eu", "_tuning_objective_metric": "loss"}
    assert hyperparameters.from_sagemaker(raw) == Settings(epochs=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batchsize": "3"}, "no hyperparameter 'batchsize'; did you mean 'batch-size'"),
        ({"batch_size": "3"}, "did you mean 'batch-size'"),
        ({"zzz": "3"}, "the names are arch, "),
        ({"epochs": "0"}, "epochs is 0; give a value from 1 to"),
        ({"epochs": "2.5"}, "give a whole number"),
        ({"lr": "-1"}, "lr is -1; give a value from"),
        ({"lr": "nan"}, "lr is nan; give a value from"),
        ({"lr": "fast"}, "lr is 'fast'; give a number, or preset"),
        ({"lr": None}, "lr is 'None'; give a number, or preset"),
        ({"lr": "1,5e-3"}, "give a number"),
        ({"lr": "5%"}, "give a number"),
        ({"lr": [0.1]}, r"lr is '\[0.1\]'; give a number"),
        ({"lr": "inf"}, "give a value from 1e-08 to 100, or preset"),
        ({"lr ": "1"}, "did you mean 'lr'"),
        ({"--batch_size": "1"}, "did you mean 'batch-size'"),
        ({"": "1"}, "the names are"),
        ({"epochs": 3.0}, "give a whole number"),
        ({"epochs": "9" * 5000}, "epochs is '9+'; give a whole number"),
        ({"seed": "-1"}, "give a value from 0 to 2147483647"),
        ({"image-size": "224x224"}, "give a whole number, or preset"),
        ({"precision": "fp16"}, "give one of float32, bfloat16, or preset"),
        ({"pretrained": 1}, "give true or false"),
        ({"optimizer": "SGD"}, "optimizer is 'SGD'; give one of"),
        ({"optimizer": "lion"}, "give one of adamw, adam, sgd"),
        ({"pretrained": "maybe"}, "give true or false"),
        ({"image-size": "big"}, "give a whole number"),
        ({"pretrained": "false"}, "set train-layers to all"),
        ({"arch": "resnet-50"}, "no architecture 'resnet-50'; did you mean resnet50"),
        ({"warmup-epochs": "31"}, "warmup-epochs is 31 and epochs 30, .* set warmup-epochs to fewer"),
        ({"weights": "w.pth"}, "weights is a channel and no hyperparameter; .* weights=SOURCE"),
        ({"max_grad_norm": "1"}, "did you mean 'clip-gradient'"),
        ({"ema-decay": "0.9"}, "did you mean 'ema'"),
        (
            {"layer-decay": "0.8"},
            "layer-decay is for more layers than the head.* set train-layers to last-block or all",
        ),
        ({"unfreeze-epochs": "2"}, "unfreeze-epochs is for more layers than the head"),
        ({"train-layers": "all", "unfreeze-epochs": "30"}, "some layers would never learn; set unfreeze-epochs to"),
        ({"blocks": "2"}, "blocks is how many train-layers last-block trains"),
        ({"train-layers": "last-block", "blocks": "17"}, "blocks is 17, and resnet50 has 16; set blocks to fewer"),
        ({"train-layers": "last-block", "pretrained": "false"}, "pretrained is false.* set train-layers to all"),
        ({"class-weights": "balanced", "sampling": "balanced"}, "both balanced.* set one of the two"),
        ({"crop-scale": "0.5"}, "crop-scale is part of augment, and that is none; set augment to basic"),
        ({"flip": "none"}, "flip is part of augment"),
        ({"views": "4"}, "views is part of augment"),
        ({"views": "4", "augment": "basic", "train-layers": "all"}, "train-layers all and squeezenets have none"),
        ({"views": "4", "augment": "basic", "arch": "squeezenet1_0"}, "train-layers all and squeezenets have none"),
        ({"cutmix": "1"}, "cutmix is for pictures.* set mixup instead, or augment to basic"),
        ({"cutmix": "1", "augment": "basic", "views": "2"}, "cutmix is for pictures"),
        ({"oversampling": "true"}, "did you mean 'sampling'"),
        ({"layerwise_decay": "0.9"}, "did you mean 'layer-decay'"),
        ({"dropout": "0.1"}, "no hyperparameter 'dropout'; the names are"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(SettingsError, match=message) as raised:
        parse(values)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 700


@pytest.mark.parametrize(
    "values",
    [
        {"train-layers": "last-block", "blocks": "16", "layer-decay": "0.8", "unfreeze-epochs": "29"},
        {"augment": "basic", "crop-scale": "0.5", "flip": "both", "cutmix": "1.0", "sampling": "balanced"},
        {"augment": "trivial", "views": "8", "extract-only": "true"},
        {"train-layers": "all", "cutmix": "1.0", "mixup": "0.2"},
    ],
)
def test_values_that_go_together(values):
    assert hyperparameters.checked(values) == values


def test_values_that_others_will_join_are_checked_one_by_one():
    assert hyperparameters.each_checked({"views": 4, "pretrained": False}) == {"views": "4", "pretrained": "false"}
    with pytest.raises(SettingsError, match="views is 65"):
        hyperparameters.each_checked({"views": 65})


def test_preset_means_unset():
    assert parse({"image-size": "preset", "workers": "preset", "lr": "preset"}) == Settings()


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        (Settings(), 0.003),
        (Settings(train_layers="last-block"), 0.001),
        (Settings(train_layers="all"), 0.0003),
        (Settings(train_layers="all", pretrained=False), 0.001),
        (Settings(lr=0.1), 0.1),
    ],
)
def test_the_learning_rate_suits_what_is_trained(settings, rate):
    assert hyperparameters.learning_rate(settings) == rate


def test_settings_survive_a_request():
    settings = Settings(lr=3e-5, pretrained=False, train_layers="all", image_size=64)
    assert parse(hyperparameters.as_text(settings)) == settings
    assert all(isinstance(value, str) for value in hyperparameters.as_text(settings).values())


def test_every_default_is_allowed_and_in_the_table():
    assert parse(hyperparameters.as_text(Settings())) == Settings()
    for field in dataclasses.fields(Settings):
        assert f"| `{hyperparameters.kebab(field.name)}` |" in hyperparameters.table()


def test_the_documentation_shows_the_table():
    assert hyperparameters.table() in (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
