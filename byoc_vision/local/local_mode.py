"""The SDK's local mode, with containers that have more of what the service gives them.

Its container class is not public; requirements.txt names the one version of the SDK that this was made for.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from byoc_vision.local.store import REGION, Request


def client(
    work: Path,
    volumes: Mapping[Path, str],
    configuration: Mapping[str, Request],
    gather: Callable[[Path, list[str]], None],
) -> Any:
    """Return local mode's client, working in `work`; for a process that does nothing else.

    `volumes` (folder -> its name in the containers) and `configuration` (file in /opt/ml/input/config -> content) come
    on top of local mode's own. `gather` gets the folder with what the containers have left, and their hosts' names.
    """
    made = plain_client(work)
    from sagemaker.core.local import local_session
    from sagemaker.core.local.image import _SageMakerContainer, _Volume

    class Containers(_SageMakerContainer):  # type: ignore[misc]
        def _prepare_training_volumes(self, *arguments: Any) -> list[Any]:
            own = super()._prepare_training_volumes(*arguments)
            return [*own, *(_Volume(str(folder), name) for folder, name in volumes.items())]

        def write_config_files(self, host: str, *arguments: Any) -> None:
            super().write_config_files(host, *arguments)
            for name, content in configuration.items():
                file = Path(self.container_root) / host / "input" / "config" / name
                file.write_text(json.dumps(content), encoding="utf-8")

        def _compose(self, detached: bool = False) -> list[str]:
            # Left to itself, the first host that has done its part would take the others down with it.
            return [part for part in super()._compose(detached) if part != "--abort-on-container-exit"]

        def retrieve_artifacts(self, *_: Any) -> str:
            gather(Path(self.container_root), self.hosts)
            return ""

    local_session._SageMakerContainer = Containers
    return made


def plain_client(work: Path, **options: Any) -> Any:
    """Return local mode's client as it is, working in `work`, with more `options` (serving_port).

    All that local mode wants of AWS is a region: no credentials are read or handed on, no usage data is sent.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    # Compose may be a Python program, with packages of its own.
    os.environ.pop("PYTHONPATH", None)
    # Takes seconds to import, and reads the environment.
    import boto3
    from sagemaker.core.local import LocalSession

    opt_out = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
    session = LocalSession(boto3.Session(region_name=REGION), sagemaker_config=opt_out)
    session.config = {"local": {"container_root": str(work), **options}}
    return session.sagemaker_client
