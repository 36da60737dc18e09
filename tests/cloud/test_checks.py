"""What this machine can see is checked before anything is sent: no container starts, and AWS is not asked."""

import json
import struct
from pathlib import Path

import pytest

from byoc_vision import Session, UserError
from tests.cloud.conftest import Run, archive
from tests.cloud.fake_aws import FakeAws

#: An AlexNet's tensors, less the head.
ALEXNET = {
    "features.0": [64, 3, 11, 11], "features.3": [192, 64, 5, 5], "features.6": [384, 192, 3, 3],
    "features.8": [256, 384, 3, 3], "features.10": [256, 256, 3, 3], "classifier.1": [4096, 9216],
    "classifier.4": [4096, 4096],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is neither an account nor a Docker engine."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing")
    monkeypatch.setenv("BYOC_HOME", str(tmp_path / "byoc"))


@pytest.fixture
def alexnet(tmp_path: Path) -> Path:
    """A file with the names and shapes of an AlexNet's weights."""
    shapes = {f"{name}.weight": shape for name, shape in ALEXNET.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in ALEXNET.items()}
    table = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    header = json.dumps(table).encode()
    file = tmp_path / "mine.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    return file


def dry(data: object, **hyperparameters: object) -> dict[str, str]:
    """Return the hyperparameters of the job that would be sent."""
    job = Session(local=True).train(data, hyperparameters=hyperparameters, dry_run=True)  # type: ignore[arg-type]
    return dict(job.request["CreateTrainingJob"]["HyperParameters"])


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("resnet_50", "there is no architecture 'resnet_50'; did you mean resnet50"),
        ("ResNet-18", "did you mean resnet18"),
        ("vit", "did you mean vit_b_16, vit_b_32, vit_h_14?"),
        ("efficientnet", "did you mean efficientnet_b0, "),
        ("zzz", "the names are those of torchvision.models"),
    ],
)
def test_an_architecture_that_does_not_exist(data: Path, arch: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Session(local=True).train(data, hyperparameters={"arch": arch})


def test_the_architecture_is_the_weights(data: Path, alexnet: Path, tmp_path: Path) -> None:
    assert dry({"training": data, "weights": alexnet}) == {"arch": "alexnet"}
    assert dry({"training": data, "weights": alexnet}, arch="alexnet", epochs=2) == {"arch": "alexnet", "epochs": "2"}
    assert dry({"training": data, "weights": alexnet.rename(tmp_path / "resnet50-11ad3fa6.safetensors")}) == {
        "arch": "alexnet"
    }
    named = tmp_path / "my weights.safetensors"
    named.write_bytes((tmp_path / "resnet50-11ad3fa6.safetensors").read_bytes())
    assert dry({"training": data.as_uri(), "weights": named.as_uri()}) == {"arch": "alexnet"}
    old = tmp_path / "mobilenet_v2-b0353104.pth"
    old.write_bytes(b"\x80of a kind that only torch reads")
    assert dry({"training": data, "weights": old}) == {"arch": "mobilenet_v2"}


def test_the_architecture_in_the_name_of_an_object(run: Run, pushed: None, data: Path) -> None:
    weights = "weights=s3://mine/mobilenet_v2-b0353104.pth"
    done = run("train", "--data", data, "--data", weights, "--dry-run")
    assert json.loads(done.out)["CreateTrainingJob"]["HyperParameters"] == {"arch": "mobilenet_v2"}
    assert "arch is mobilenet_v2, as the weights are" in done.err


def test_weights_that_do_not_fit(data: Path, alexnet: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit resnet18: it has .* alexnet; give .*set arch to alexnet"):
        Session(local=True).train({"training": data, "weights": alexnet}, hyperparameters={"arch": "resnet18"})
    alexnet.write_bytes(alexnet.read_bytes().replace(b"[4096, 9216]", b"[4096, 9217]"))
    with pytest.raises(UserError, match="it has the weights of none of torchvision's architectures"):
        Session(local=True).train({"training": data, "weights": alexnet})
    (tmp_path / "page.pth").write_text("<html><title>Not found</title></html>")
    with pytest.raises(UserError, match=r"page\.pth is an HTML page"):
        Session(local=True).train({"training": data, "weights": tmp_path / "page.pth"})
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"notes\.txt is no \.pth/\.pt/\.safetensors file by its name"):
        Session(local=True).train({"training": data, "weights": tmp_path / "notes.txt"})
    space = {"hyperparameters": {"arch": ["resnet18", "resnet50"]}}
    with pytest.raises(UserError, match=r"arch is searched, and .* has the weights of none"):
        Session(local=True).tune(space, {"training": data, "weights": alexnet})


def test_weights_that_are_not_used(data: Path, alexnet: Path) -> None:
    assert "arch" not in dry({"training": data, "weights": alexnet}, pretrained=False, **{"train-layers": "all"})


def test_values_that_do_not_go_together(data: Path) -> None:
    space = {"hyperparameters": {"pretrained": [True, False], "lr": {"min": 0.001, "max": 0.1}}}
    with pytest.raises(UserError, match=r"a trial with pretrained=false would be refused: .*set train-layers to all"):
        Session(local=True).tune(space, data)
    both = {"hyperparameters": {"pretrained": [True, False], "train-layers": ["head", "all"]}}
    with pytest.raises(UserError, match="pretrained=false, train-layers=head would be refused"):
        Session(local=True).tune(both, data)
    assert Session(local=True).tune(space, data, hyperparameters={"train-layers": "all"}, dry_run=True).request


def test_folders_without_a_data_set(data: Path, tmp_path: Path) -> None:
    for folder, said in (
        (data / "train" / "cat", "holds pictures without class folders; .* give the folder above"),
        (data / "train" / "cat" / "0.jpg", "is not a folder"),
        (tmp_path / "empty", "has 0 class folder"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=said):
            Session(local=True).train(folder)
        with pytest.raises(UserError, match=said):
            Session(local=True).tune({"hyperparameters": {"lr": [0.1, 0.2]}}, folder)
    (data / "train" / "dog" / "0.jpg").unlink()
    with pytest.raises(UserError, match=r"the class folder .*dog holds no picture"):
        Session(local=True).train(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"model.json": b"{}", "inference.py": b""},
            r"holds inference\.py at its root, .*; pack it as code/inference\.py",
        ),
        (b"<html></html>", "cannot be unpacked"),
    ],
)
def test_archives_that_would_not_serve(tmp_path: Path, content: bytes | dict[str, bytes], said: str) -> None:
    model = tmp_path / "model.tar.gz"
    model.write_bytes(content) if isinstance(content, bytes) else archive(model, content)
    with pytest.raises(UserError, match=said):
        Session(local=True).deploy(str(model))
    with pytest.raises(UserError, match=said):
        Session(local=True).transform(str(model), tmp_path)


@pytest.mark.parametrize("channel", ["training", "weights"])
def test_data_of_nothing(data: Path, channel: str) -> None:
    with pytest.raises(UserError, match=f"the channel {channel} is given nothing"):
        Session(local=True).train({"training": data, channel: ""})
    with pytest.raises(UserError, match="nothing is given where a folder"):
        Session(local=True).transform(str(archive(data / "model.tar.gz", {"model.json": b"{}"})), "")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("learning_rate", "lr"),
        ("num_epochs", "epochs"),
        ("model", "arch"),
        ("batchsize", "batch-size"),
        ("bs", "batch-size"),
    ],
)
def test_names_of_other_programs(data: Path, name: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"there is no hyperparameter '{name}'; did you mean '{meant}'"):
        dry(data, **{name: 1})


def test_aws_is_not_asked(run: Run, pushed: None, aws: FakeAws, data: Path, tmp_path: Path) -> None:
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "class folder" in run("train", "--data", data / "train" / "cat", AWS_REGION=None).sentence
    said = run("train", "--data", data, "--data", f"weights={tmp_path / 'pointer.pth'}", AWS_REGION=None).sentence
    assert "pointer.pth is a pointer of Git LFS, which stands for the weights; run git lfs pull" in said
    assert not aws.calls
