"""What the images hold, and what their lists (sbom.cdx.json) say of it. Needs Docker and the built images."""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.e2e import serving

TRAIN, SERVE, LEAN = IMAGES = ("byoc-vision-train", "byoc-vision-serve", "byoc-vision-serve-cpu")
TAGS = dict(zip(IMAGES, (serving.TRAIN, serving.SERVE, serving.LEAN), strict=True))
SBOM = Path(__file__).resolve().parents[2] / "docker" / "sbom.py"

#: Prints the distributions that Python finds by itself.
DISTRIBUTIONS = (
    "from importlib.metadata import distributions\n"
    "print(*sorted(f'{each.name} {each.version}' for each in distributions()), sep='\\n')\n"
)

#: Prints each folder of classes in multi-model-server's jar with the library that sbom.py says it belongs to.
CLASSES = (
    "import sys, zipfile\n"
    "from importlib.metadata import distribution\n"
    "sys.path.insert(0, '/checkout')\n"
    "from sbom import JAVA_LIBRARIES\n"
    "jar = distribution('multi-model-server').locate_file('mms/frontend/model-server.jar')\n"
    "names = [name for name in zipfile.ZipFile(jar).namelist() if name.endswith('.class')]\n"
    "folders = {name.removeprefix('META-INF/versions/9/').rpartition('/')[0] for name in names}\n"
    "for folder in sorted(folders - {''}):\n"
    "    owners = [of for of in JAVA_LIBRARIES if f'{folder}/'.startswith(f'{of}/')]\n"
    "    print(folder, JAVA_LIBRARIES[max(owners, key=len)][1] if owners else '-')\n"
)


#: Starts Java as serving does, but ends it where the archive of classes cannot be used.
JAVA = (
    "import pathlib, subprocess\n"
    "from serve import model_server, settings\n"
    "command = model_server.command(settings.Settings.from_environment({}), pathlib.Path('/tmp'))\n"
    "options = command[:command.index('com.amazonaws.ml.mms.ModelServer')]\n"
    "subprocess.run([*options, '-Xshare:on', '-version'], check=True)\n"
)


@cache
def inside(image: str, *command: str) -> str:
    """Return what a command prints in a container of the image."""
    mount = ("--volume", f"{SBOM}:/checkout/sbom.py:ro")
    return subprocess.check_output(["docker", "run", "--rm", *mount, TAGS[image], *command], text=True)


def listed(image: str) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """Return an image's list, and the names and versions in it."""
    document = json.loads(inside(image, "cat", "sbom.cdx.json"))
    return document, {(each["name"], each.get("version", "")) for each in document["components"]}


@pytest.mark.parametrize("image", IMAGES)
def test_the_list_is_valid_and_names_its_image(image: str) -> None:
    document, _ = listed(image)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    assert document["metadata"]["component"]["name"] == image
    references = {each["bom-ref"] for each in document["components"]} | {image}
    assert len(references) == len(document["components"]) + 1
    assert {each for line in document["dependencies"] for each in (line["ref"], *line["dependsOn"])} <= references


@pytest.mark.parametrize("image", IMAGES)
def test_the_list_holds_every_package(image: str) -> None:
    _, packages = listed(image)
    debian = inside(image, "dpkg-query", "--show", "--showformat=${Package} ${Version}\n").splitlines()
    python = inside(image, "python", "-c", DISTRIBUTIONS).splitlines()
    assert len(debian) > 80 and len(python) > 10
    assert {tuple(line.split()) for line in (*debian, *python)} <= packages


@pytest.mark.parametrize("image", IMAGES)
def test_the_list_holds_what_wheels_carry(image: str) -> None:
    names = {name for name, _ in listed(image)[1]}
    assert {"libwebp", "libtiff", "libavif", "OpenJPEG"} <= names  # of Pillow, which reads strangers' bytes with them


def test_equal_images_have_equal_lists() -> None:
    assert inside(LEAN, "python", "/checkout/sbom.py", LEAN) == inside(LEAN, "cat", "sbom.cdx.json")


@pytest.mark.parametrize("image", [SERVE, LEAN])
def test_the_list_holds_the_package_that_java_is_made_of(image: str) -> None:
    release = dict(line.split("=", 1) for line in inside(image, "cat", "/opt/java/release").splitlines())
    packages = dict(listed(image)[1])
    assert packages["openjdk-17-jre-headless"].startswith(release["JAVA_VERSION"].strip('"'))


@pytest.mark.parametrize("image", [SERVE, LEAN])
def test_java_starts_with_the_archive_of_its_classes(image: str) -> None:
    inside(image, "python", "-c", JAVA)


def test_the_list_holds_every_java_library() -> None:
    _, packages = listed(LEAN)
    folders = [line.split() for line in inside(LEAN, "python", "-c", CLASSES).splitlines()]
    assert {folder for folder, owner in folders if owner == "-"} == {
        folder for folder, _ in folders if folder.startswith("com/amazonaws/ml/mms")
    }
    assert {owner for _, owner in folders} - {"-"} <= {name for name, _ in packages}
    assert {("netty-codec-http", "4.1.91.Final"), ("log4j-core", "2.17.1"), ("gson", "2.8.9")} <= packages


def test_what_never_runs_of_multi_model_server_is_not_there() -> None:
    folders = {line.split()[0] for line in inside(LEAN, "python", "-c", CLASSES).splitlines()}
    netty = {folder.removeprefix("io/netty/") for folder in folders if folder.startswith("io/netty/")}
    assert {folder for folder in netty if folder.startswith("handler/")} == {
        "handler/codec",
        "handler/codec/http",
        "handler/codec/http/multipart",
    }
    assert not netty & {"channel/nio", "channel/kqueue", "channel/udt", "resolver/dns"}
    assert not [folder for folder in folders if folder.endswith(("appender/db", "appender/mom", "appender/nosql"))]


@pytest.mark.parametrize("image", IMAGES)
def test_whoever_a_container_runs_as_can_read_the_program(image: str) -> None:
    """Also where a umask of 077 let nobody else read the checkout that the image was built from."""
    places = ["/opt/program", *(f"/usr/local/bin/{name}" for name in ("serve", "train") if image != TRAIN)]
    assert inside(image, "find", *places, "!", "-type", "l", "!", "-perm", "-o=r") == ""
    assert inside(image, "find", *places, "-type", "d", "!", "-perm", "-o=x") == ""
