"""Print what an image holds, as CycloneDX 1.6: Debian's packages, Python's, and the libraries that these carry inside.

`python sbom.py IMAGE`, run inside the image when it is built. There is neither a time nor a serial number in it: equal
images have equal documents.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from platform import freedesktop_os_release
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]

#: The line of a Debian package, and that of the one whose parts the Java runtime is made of (docker/Dockerfile).
_PACKAGE = "${Package}\t${Version}\t${Architecture}\t${source:Package}\n"
JAVA = Path("/opt/java/debian")

MODEL_SERVER = "1.1.11"
_NETTY, _LOG4J = "4.1.91.Final", "2.17.1"
#: The libraries inside the jar of this version of multi-model-server, by their folder there (native: beside it): group,
#: name, version. The jar itself tells the versions of netty, log4j and gson; the others are what its build files name.
JAVA_LIBRARIES = {
    "com/google/gson": ("com.google.code.gson", "gson", "2.8.9"),
    "com/lmax/disruptor": ("com.lmax", "disruptor", "3.4.4"),
    "io/netty/bootstrap": ("io.netty", "netty-transport", _NETTY),
    "io/netty/buffer": ("io.netty", "netty-buffer", _NETTY),
    "io/netty/channel": ("io.netty", "netty-transport", _NETTY),
    "io/netty/channel/epoll": ("io.netty", "netty-transport-classes-epoll", _NETTY),
    "io/netty/channel/unix": ("io.netty", "netty-transport-native-unix-common", _NETTY),
    "io/netty/handler/codec": ("io.netty", "netty-codec", _NETTY),
    "io/netty/handler/codec/http": ("io.netty", "netty-codec-http", _NETTY),
    "io/netty/resolver": ("io.netty", "netty-resolver", _NETTY),
    "io/netty/util": ("io.netty", "netty-common", _NETTY),
    "native": ("io.netty", "netty-transport-native-epoll", _NETTY),
    "org/apache/commons/cli": ("commons-cli", "commons-cli", "1.3.1"),
    "org/apache/commons/io": ("commons-io", "commons-io", "2.6"),
    "org/apache/logging/log4j": ("org.apache.logging.log4j", "log4j-api", _LOG4J),
    "org/apache/logging/log4j/core": ("org.apache.logging.log4j", "log4j-core", _LOG4J),
    "org/apache/logging/slf4j": ("org.apache.logging.log4j", "log4j-slf4j-impl", _LOG4J),
    "org/slf4j": ("org.slf4j", "slf4j-api", "1.7.32"),
    "software/amazon/ai/mms": ("software.amazon.ai", "mms_server_sdk", "1.0.1"),
}


def main(image: str) -> str:
    """Return the document about `image`, in which this runs."""
    components: dict[str, Component] = {}
    holds: defaultdict[str, set[str]] = defaultdict(set)
    for holder, component in _contents(image):
        components.setdefault(component["bom-ref"], component)
        holds[holder].add(component["bom-ref"])
    root = {"type": "container", "bom-ref": image, "name": image}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": root},
        "components": [components[key] for key in sorted(components)],
        "dependencies": [{"ref": key, "dependsOn": sorted(holds[key])} for key in sorted(holds)],
    }
    return json.dumps(document, indent=1)


def _contents(image: str) -> Iterator[tuple[str, Component]]:
    """Yield everything in the image, each with the reference of what holds it."""
    system = freedesktop_os_release()
    name, version = system["ID"], system["VERSION_ID"]
    release = f"{name}-{version}"
    yield image, {"type": "operating-system", "bom-ref": release, "name": name, "version": version}
    for package in _debian(release):
        yield release, package
    # Of all folders, for setuptools brings other packages in a folder of its own.
    folders = sorted({str(file.parent) for file in Path(sys.prefix).rglob("*.dist-info")})
    for distribution in distributions(path=folders):
        purl = _python_purl(distribution)
        yield image, _library(distribution.name, distribution.version, purl)
        for library in (*_bundled(distribution, purl), *_java(distribution)):
            yield purl, library


def _library(name: str, version: str | None, purl: str | None, reference: str | None = None) -> Component:
    fields = {"bom-ref": reference or purl, "name": name, "version": version, "purl": purl}
    return {"type": "library"} | {key: value for key, value in fields.items() if value}


def _debian(release: str) -> Iterator[Component]:
    """Yield Debian's packages, with the names of their sources, by which its security team names them."""
    listing = subprocess.check_output(["dpkg-query", "--show", f"--showformat={_PACKAGE}"], text=True)
    if JAVA.exists():
        listing += JAVA.read_text(encoding="utf-8")
    for line in listing.splitlines():
        name, version, architecture, source = line.split("\t")
        qualifiers = f"arch={architecture}&distro={release}&upstream={quote(source)}"
        yield _library(name, version, f"pkg:deb/debian/{quote(name)}@{quote(version, safe='~')}?{qualifiers}")


def _python_purl(distribution: Distribution) -> str:
    name = re.sub("[-_.]+", "-", distribution.name.lower())
    return f"pkg:pypi/{name}@{quote(distribution.version)}"


def _bundled(distribution: Distribution, itself: str) -> Iterator[Component]:
    """Yield what a package says of the libraries inside it, as PEP 770 has it (and pip, of those it has copied)."""
    for file in distribution.files or ():
        if not (file.match("*.dist-info/sboms/*.json") or file.match("*.cdx.json")):
            continue
        for component in json.loads(file.read_text(encoding="utf-8")).get("components", ()):
            name, version, purl = component["name"], component.get("version"), component.get("purl")
            if not (purl or "").lower().startswith(itself) and name != distribution.name:
                yield _library(name, version, purl, purl or f"{itself}#{quote(name)}")


def _java(distribution: Distribution) -> Iterator[Component]:
    if distribution.name == "multi-model-server":
        if distribution.version != MODEL_SERVER:
            sys.exit(f"sbom.py knows multi-model-server {MODEL_SERVER}; mend it for {distribution.version}")
        for group, name, version in JAVA_LIBRARIES.values():
            yield _library(name, version, f"pkg:maven/{group}/{name}@{version}")


if __name__ == "__main__":
    print(main(sys.argv[1]))
