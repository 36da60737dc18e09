"""The example of one's own script as a job: what its hook records is judged, and the rule that should fire does."""

import json
import shutil
from pathlib import Path

import pytest
from sagemaker_training.errors import ClientError

from train import sagemaker
from train.script import report

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "own_scripts"


@pytest.fixture
def run(opt_ml, draw_classes, monkeypatch, tmp_path):
    """Return a function that runs the example, with a change of its text, and returns the rules' verdicts by name."""
    draw_classes("ml/input/data/training", count=5)
    configuration = json.loads(report.HOOK.read_text()) | {"LocalPath": str(opt_ml / "output/data/debugger")}
    (tmp_path / "hook.json").write_text(json.dumps(configuration))
    monkeypatch.setattr(report, "HOOK", tmp_path / "hook.json")

    def example(old="", new="", **hyperparameters):
        shutil.copytree(EXAMPLE, opt_ml / "code", dirs_exist_ok=True)
        (opt_ml / "code/requirements.txt").unlink()
        text = (EXAMPLE / "train_model.py").read_text()
        assert old in text
        (opt_ml / "code/train_model.py").write_text(text.replace(old, new, 1))
        values = {"sagemaker_program": "train_model.py", "batch-size": 4, "image-size": 32, "epochs": 3}
        values |= hyperparameters
        file = opt_ml / "input/config/hyperparameters.json"
        file.write_text(json.dumps({name: json.dumps(value) for name, value in values.items()}))
        sagemaker.main()
        content = json.loads((opt_ml / "output/data/report.json").read_text())
        return {rule["Rule"]: rule for rule in content["rules"]}, content

    return example


def test_the_example_leaves_a_model_and_a_judged_report(run, opt_ml):
    rules, content = run()
    judged = {name for name, rule in rules.items() if rule["Judged"]}
    assert judged >= {"VanishingGradient", "ExplodingTensor", "Overfit", "Overtraining", "PoorWeightInitialization"}
    assert rules["VanishingGradient"]["RuleEvaluationStatus"] == "NoIssuesFound"
    assert rules["ExplodingTensor"]["RuleEvaluationStatus"] == "NoIssuesFound"
    assert rules["ClassImbalance"]["StatusDetails"] == "Labels and predictions were not recorded."
    assert rules["MaxInitializationTime"]["StatusDetails"] == "The first step was not recorded."
    assert content["curves"]["validation_accuracy"]["x"] == [1.0, 2.0, 3.0]
    assert len(content["step_losses"]["x"]) == 9
    assert content["utilisation"]
    assert [file.name for file in (opt_ml / "model").iterdir()] == ["model.pth"]
    assert (opt_ml / "output/tensors/collections").exists()  # where programs open the trial


@pytest.mark.parametrize(
    ("old", "new", "hyperparameters", "rule"),
    [
        ("loss.backward()", "(1e-12 * loss).backward()", {"epochs": 1}, "VanishingGradient"),
        ("optim.Adam(", "optim.SGD(", {"lr": 1e30}, "ExplodingTensor"),
        ("", "", {"epochs": 6, "patience": 6, "lr": 0.01}, "Overfit"),
    ],
)
def test_the_rule_that_should_fire_does(run, old, new, hyperparameters, rule):
    rules, _ = run(old, new, **hyperparameters)
    assert rules[rule]["RuleEvaluationStatus"] == "IssuesFound", rules[rule]


def test_a_hook_that_writes_to_a_folder_of_its_own_is_judged(run):
    own = 'smd.Hook(out_dir=os.environ["SM_OUTPUT_DATA_DIR"] + "/mine", include_collections=["gradients", "losses"])'
    rules, _ = run("smd.Hook.create_from_json_file()", own, epochs=1)
    assert rules["VanishingGradient"]["Judged"] and rules["ExplodingTensor"]["Judged"]


def test_a_script_without_a_hook_has_curves_and_reasons(run):
    hook = "hook = smd.Hook.create_from_json_file()\n    hook.register_hook(model)\n    hook.register_loss(criterion)"
    rules, content = run(hook, "hook = argparse.Namespace(set_mode=print)", epochs=2)
    assert rules["VanishingGradient"]["StatusDetails"] == "The job left no debugger recording (tensors)."
    assert rules["OverallSystemUsage"]["Judged"]
    assert content["curves"].keys() >= {"train_loss", "validation_loss"}


def test_a_failed_script_is_reported_on(run, opt_ml):
    with pytest.raises(ClientError, match=r"ZeroDivisionError: .* \(train_model\.py, line \d+\)"):
        run("best = loss\n", "best = loss / 0\n")
    content = json.loads((opt_ml / "output/data/report.json").read_text())
    assert any(rule["Judged"] for rule in content["rules"] if rule["Rule"] == "ExplodingTensor")
    assert "The script printed no figure more than once, so that there are no curves of figures." in content["missing"]
