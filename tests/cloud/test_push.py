"""push.sh: real images of a real engine, pushed to a real registry that a fake ECR names."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.conftest import Push
from tests.cloud.engine import Engine
from tests.cloud.fake_aws import ACCOUNT, REGION, FakeAws, Refusal
from tests.cloud.registry import Registry

IMAGES = ("byoc-vision-train", "byoc-vision-serve", "byoc-vision-serve-cpu")
HEAVY = 3_000_000


@pytest.fixture
def images(engine: Engine) -> str:
    """All images, new ones; return their revision."""
    revision = f"{random.getrandbits(28):07x}"
    for name in IMAGES:
        engine.image(name, random.randbytes(HEAVY), revision.encode(), revision)
    return revision


def test_the_first_push(
    push: Push, images: str, registry: Registry, engine: Engine, checkout: Path, client: Callable[[str], Any]
) -> None:
    listing = ("images", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}}")
    before = sorted(engine.docker(*listing).splitlines())
    done = push()
    assert done.code == 0, done.err
    repositories = client("ecr").describe_repositories()["repositories"]
    assert sorted(each["repositoryName"] for each in repositories) == sorted(IMAGES)
    assert all(each["imageScanningConfiguration"]["scanOnPush"] for each in repositories)
    record = json.loads((checkout / ".byoc" / "images.json").read_text())[f"{ACCOUNT}/{REGION}"]
    assert list(record) == list(IMAGES)
    assert done.out.splitlines()[-3:] == list(record.values())
    for name, uri in record.items():
        assert uri.startswith(f"{registry.address}/{name}@sha256:")
        digest = uri.partition("@")[2]
        for tag in (images, "latest"):
            link = registry.data / f"docker/registry/v2/repositories/{name}/_manifests/tags/{tag}/current/link"
            assert link.read_text() == digest
    assert (checkout / ".byoc" / ".gitignore").read_text() == "*\n"
    assert sorted(engine.docker(*listing).splitlines()) == before  # no names of the registry are left on the machine


def test_the_second_push_sends_nothing_and_an_edit_only_its_layer(
    push: Push, images: str, registry: Registry, engine: Engine, checkout: Path
) -> None:
    assert push().code == 0
    first, recorded = registry.bytes(), (checkout / ".byoc" / "images.json").read_text()
    again = push()
    assert again.code == 0, again.err
    assert registry.bytes() == first
    assert "Pushed" not in again.out and "created the repository" not in again.err
    assert (checkout / ".byoc" / "images.json").read_text() == recorded
    # The same heavy layer below another light one.
    dockerfile = b"FROM byoc-vision-serve-base\nLABEL org.opencontainers.image.revision=edited\nLABEL edited=yes\n"
    engine.docker("build", "--tag", "byoc-vision-serve:latest", "-", stdin=dockerfile)
    assert push("serve").code == 0
    assert 0 < registry.bytes() - first < HEAVY / 10
    now = json.loads((checkout / ".byoc" / "images.json").read_text())[f"{ACCOUNT}/{REGION}"]
    before = json.loads(recorded)[f"{ACCOUNT}/{REGION}"]
    assert now["byoc-vision-train"] == before["byoc-vision-train"]
    assert now["byoc-vision-serve"] != before["byoc-vision-serve"]


def test_the_password_is_left_nowhere_and_seen_by_no_one(
    push: Push,
    images: str,
    registry: Registry,
    engine: Engine,
    checkout: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    # A client that notes its arguments and where its configuration lies stands in front of the real one.
    (tmp_path / "bin").mkdir()
    noting = tmp_path / "bin" / "docker"
    noting.write_text(
        f'#!/bin/sh\necho "$DOCKER_CONFIG $*" >>{tmp_path}/calls\nexec {engine.client} "$@"\n',
    )
    noting.chmod(0o755)
    home = Path(environment["HOME"])
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text("{}")
    done = push(PATH=f"{tmp_path / 'bin'}:{environment['PATH']}")
    assert done.code == 0, done.err
    calls = (tmp_path / "calls").read_text()
    assert "login" in calls and registry.password not in calls + done.out + done.err
    folders = {line.split()[0] for line in calls.splitlines() if " login " in line}
    assert folders and not any(Path(folder).exists() for folder in folders)
    assert (home / ".docker" / "config.json").read_text() == "{}"
    for file in (path for folder in (home, checkout, *checkout.iterdir()) for path in folder.rglob("*")):
        assert file.is_dir() or registry.password.encode() not in file.read_bytes(), file


def test_a_wrong_password(push: Push, images: str, registry: Registry, aws: FakeAws, checkout: Path) -> None:
    aws.registry = (registry.address, "another")
    assert f"the registry {registry.address} refused the login" in push().sentence
    assert not (checkout / ".byoc").exists()


def test_another_partition_has_its_own_suffix(push: Push, aws: FakeAws, images: str) -> None:
    uri = f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn"
    aws.registry = None
    token = {"authorizationToken": "QVdTOng=", "proxyEndpoint": f"https://{uri}"}
    aws.script("GetAuthorizationToken", {"authorizationData": [token]})
    aws.script("DescribeRepositories", {"repositories": [{"repositoryUri": f"{uri}/byoc-vision-train"}]})
    done = push("train", AWS_REGION="cn-north-1", HTTPS_PROXY="http://127.0.0.1:9", HTTP_PROXY="", NO_PROXY="127.0.0.1")
    assert f"the registry {uri} refused the login" in done.sentence  # it is the one that was tried; there is none here


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no AWS credentials"),
        ({"AWS_REGION": ""}, "no region is chosen"),
        ({"PYTHON": "/usr/bin/false"}, "has no boto3"),
    ],
)
def test_an_account_that_is_not_ready(push: Push, images: str, variables: dict[str, str], said: str) -> None:
    assert said in push(**variables).sentence


def test_a_refusal(push: Push, images: str, aws: FakeAws, checkout: Path) -> None:
    aws.script("CreateRepository", Refusal("AccessDeniedException", "User x is not authorized"))
    assert "lack that permission" in push().sentence
    assert not (checkout / ".byoc").exists()


def test_images_that_are_not_built(push: Push, engine: Engine, images: str) -> None:
    engine.docker("image", "rm", "byoc-vision-serve:latest")
    assert "there is no image byoc-vision-serve:latest; run ./build.sh first." in push().sentence


@pytest.fixture
def immutable(engine: Engine, environment: dict[str, str], tmp_path: Path) -> Callable[[str], str]:
    """Return a function that makes a docker client, to which the registry refuses a tag, and returns the PATH to it."""

    def make(tag: str) -> str:
        (tmp_path / "bin").mkdir()
        client = tmp_path / "bin" / "docker"
        said = f"tag invalid: The image tag '{tag}' already exists and cannot be overwritten: repository is immutable."
        client.write_text(
            f'#!/bin/sh\ncase "$*" in push*:{tag}) echo "{said}" >&2; exit 1 ;; esac\nexec {engine.client} "$@"\n'
        )
        client.chmod(0o755)
        return f"{tmp_path / 'bin'}:{environment['PATH']}"

    return make


def test_a_repository_of_immutable_tags(
    push: Push, images: str, registry: Registry, checkout: Path, immutable: Callable[[str], str]
) -> None:
    done = push("train", PATH=immutable("latest"))
    assert done.code == 0, done.err
    assert f"has immutable tags; latest stays what it was, and {images} was pushed" in done.err
    (uri,) = json.loads((checkout / ".byoc" / "images.json").read_text())[f"{ACCOUNT}/{REGION}"].values()
    tags = registry.data / "docker/registry/v2/repositories/byoc-vision-train/_manifests/tags"
    assert (tags / images / "current/link").read_text() == uri.partition("@")[2]


def test_an_immutable_tag_of_another_image(push: Push, images: str, immutable: Callable[[str], str]) -> None:
    said = push("train", PATH=immutable(images)).sentence
    assert f"has immutable tags, and {images} is another image there; commit and build for a new tag" in said


def test_an_unknown_target(push: Push) -> None:
    done = push("everything")
    assert done.code == 2 and "unknown target 'everything'" in done.err
