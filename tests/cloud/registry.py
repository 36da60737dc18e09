"""A real registry with basic authentication, as ECR has: Debian's docker-registry on loopback."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import bcrypt
import pytest


class Registry:
    """A registry that runs until `stop`; its data lies in `folder`/data."""

    password = "a-password-of-12-hours"

    def __init__(self, folder: Path) -> None:
        program = _program(folder)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.data = folder / "data"
        hashed = bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(4)).decode()
        (folder / "htpasswd").write_text(f"AWS:{hashed}\n")
        (folder / "config.yml").write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.data}}}}}\nhttp: {{addr: '{self.address}'}}\n"
            f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
        )
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=self._log, stderr=subprocess.STDOUT
        )
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            assert self._process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        raise AssertionError("the registry does not answer")

    def bytes(self) -> int:
        """Return the size of all layers and manifests that it holds."""
        blobs = self.data / "docker/registry/v2/blobs"
        return sum(file.stat().st_size for file in blobs.rglob("data")) if blobs.exists() else 0

    def stop(self) -> None:
        """End the registry."""
        self._process.terminate()
        self._process.wait()
        self._log.close()


def _program(folder: Path) -> str:
    """Return the registry's program; where it is not installed, from a package that is unpacked, not installed."""
    if found := shutil.which("docker-registry"):
        return found
    if not shutil.which("apt-get"):
        pytest.skip("there is no docker-registry on PATH and no apt-get to fetch it with")
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "docker-registry"]
    if subprocess.run(download, cwd=folder, capture_output=True).returncode and os.getuid() == 0:
        subprocess.run(["apt-get", "-qq", "update"], capture_output=True)
        subprocess.run(download, cwd=folder, capture_output=True)
    for package in folder.glob("docker-registry_*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
        return str(folder / "usr/bin/docker-registry")
    pytest.skip("there is no docker-registry on PATH, and apt-get cannot download it")
