"""A Docker engine of the tests' own: push.sh has fixed image names, and those of the machine are not ours to touch."""

import io
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: The network interface that the engine wants to have; nothing runs on it.
BRIDGE = f"byoc-{os.getpid()}"  # several processes may test at a time


class Engine:
    """An engine that runs until `stop`; it can build and push but, having no network of containers, run nothing."""

    def __init__(self, folder: Path) -> None:
        if os.getuid() != 0:
            pytest.skip("a Docker engine of the tests' own needs root")
        self.client = subprocess.check_output([str(ROOT / "byoc_vision" / "local" / "engine.sh")], text=True).strip()
        if not shutil.which("dockerd"):
            pytest.skip("a Docker engine of the tests' own needs dockerd")
        self._folder = folder
        self.host = f"unix://{folder}/docker.sock"
        (folder / "daemon.json").write_text("{}")
        options = {
            "config-file": f"{folder}/daemon.json",
            "host": self.host,
            "data-root": f"{folder}/data",
            "exec-root": f"{folder}/exec",
            "pidfile": f"{folder}/pid",
            "bridge": BRIDGE,
            "iptables": "false",
            "ip6tables": "false",
        }
        # Told to have no bridge, an engine would remove docker0, which is the machine's own engine's. That of tests
        # that were killed may still be there.
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)
        for command in (["add", BRIDGE, "type", "bridge"], ["set", BRIDGE, "up"]):
            subprocess.run(["ip", "link", *command], check=True)
        subprocess.run(["ip", "address", "add", "192.0.2.1/30", "dev", BRIDGE], check=True)
        self._log = (folder / "log").open("wb")
        command = ["dockerd", *(f"--{name}={value}" for name, value in options.items())]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        for _ in range(300):
            if subprocess.run([self.client, "version"], env=self.environment, capture_output=True).returncode == 0:
                return
            assert self._process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        raise AssertionError((folder / "log").read_text())

    @property
    def environment(self) -> dict[str, str]:
        """What makes the docker client talk to this engine."""
        return {**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}

    def docker(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run the docker client and return what it printed."""
        done = subprocess.run([self.client, *arguments], env=self.environment, input=stdin, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def image(self, name: str, heavy: bytes, light: bytes, revision: str) -> None:
        """Make `name`:latest, with a layer that holds `heavy` below one that holds `light`."""
        base = io.BytesIO()
        with tarfile.open(fileobj=base, mode="w") as tar:
            member = tarfile.TarInfo("heavy")
            member.size = len(heavy)
            tar.addfile(member, io.BytesIO(heavy))
        self.docker("import", "-", f"{name}-base", stdin=base.getvalue())
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            dockerfile = f"FROM {name}-base\nCOPY light /light\nLABEL org.opencontainers.image.revision={revision}\n"
            for file, content in (("Dockerfile", dockerfile.encode()), ("light", light)):
                member = tarfile.TarInfo(file)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        self.docker("build", "--tag", f"{name}:latest", "-", stdin=context.getvalue())

    def stop(self) -> None:
        """End the engine, and remove what it stored."""
        self._process.terminate()
        self._process.wait()
        self._log.close()
        shutil.rmtree(self._folder)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
