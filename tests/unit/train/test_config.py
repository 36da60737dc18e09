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
        ({"lr": "fast"}, "lr is 'fast'; give a number"),
        ({"optimizer": "lion"}, "give one of adamw, adam, sgd"),
        ({"pretrained": "maybe"}, "give true or false"),
        ({"image-size": "big"}, "give a whole number"),
        ({"pretrained": "false"}, "set train-layers to all"),
        ({"arch": "resnet-50"}, "no architecture 'resnet-50'; did you mean resnet50"),
        ({"warmup-epochs": "31"}, "warmup-epochs is 31 and epochs 30, .* set warmup-epochs to fewer"),
        ({"weights": "w.pth"}, "weights is a channel and no hyperparameter; .* weights=SOURCE"),
        ({"max_grad_norm": "1"}, "did you mean 'clip-gradient'"),
        ({"ema-decay": "0.9"}, "did you mean 'ema'"),
        ({"dropout": "0.1"}, "no hyperparameter 'dropout'; the names are"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(SettingsError, match=message) as raised:
        parse(values)
    assert "\n" not in str(raised.value)


def test_preset_means_unset():
    assert parse({"image-size": "preset", "workers": "preset", "lr": "preset"}) == Settings()


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        (Settings(), 0.003),
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
