"""The configuration files of nginx and multi-model-server, filled in from the settings."""

from pathlib import Path
from string import Template

from serve.memory import LARGE_BODY, MB, MEDIUM_BODY
from serve.settings import OTHER_FILES, Settings

#: The client's Content-Type travels to the worker under this name, for multi-model-server parses forms by itself.
CONTENT_TYPE_HEADER = "X-Client-Content-Type"

#: When nginx passed a request on, in seconds since 1970: a worker leaves one for which nobody waits any more.
RECEIVED_HEADER = "X-Received"

#: A worker puts its JSON error here too, for nginx replaces the body of every error: those of multi-model-server are
#: not of our form.
ERROR_HEADER = "X-Error"

#: The status with which a worker reports its own fault. nginx makes it 500; a real 500 means that the worker died, and
#: becomes 503.
INTERNAL_ERROR = 599

#: The name a single model is registered under.
MODEL_NAME = "model"

_TEMPLATES = Path(__file__).parent / "templates"


class _Template(Template):
    delimiter = "@"  # nginx has its own use for the dollar


def write(settings: Settings, runtime: Path, requests_log: str, user: str | None) -> None:
    """Write the configuration files into `runtime`, the folder of the sockets and of all temporary files.

    nginx writes a line for each request to the file `requests_log`; where it is root, its worker becomes `user`.
    """
    memory = settings.memory
    limit = settings.max_request_bytes
    values = {
        "runtime": runtime,
        "port": settings.port,
        "model_name": MODEL_NAME,
        "max_request_bytes": limit,
        "max_request_mb": limit // MB,
        # nginx may have a thousand of them. What is longer goes to a file.
        "connections": settings.connections,
        "files": settings.connections + OTHER_FILES,
        "body_buffer_bytes": min(limit, MB, memory.total // 16384),
        "small_digits": len(str(MEDIUM_BODY)) - 1,
        "medium_digits": len(str(LARGE_BODY)) - 1,
        "small": memory.small,
        "medium": memory.medium,
        "large": memory.large,
        "requests": memory.requests,
        "requests_log": requests_log,
        "user": f"user {user};" if user else "",
        "invocation_timeout": settings.invocation_timeout,
        "read_timeout": settings.patience,
        "startup_timeout": settings.startup_timeout,
        "content_type_header": CONTENT_TYPE_HEADER,
        "received_header": RECEIVED_HEADER,
        "error_header": ERROR_HEADER,
        "error_variable": "upstream_http_" + ERROR_HEADER.lower().replace("-", "_"),
        "internal_error": INTERNAL_ERROR,
        "not_found": "no such model is loaded, or there is nothing" if settings.multi_model else "there is nothing",
        "predict": "POST /models/NAME/invoke" if settings.multi_model else "POST /invocations",
        "locations": "models" if settings.multi_model else "invocations",
    }
    for template in _TEMPLATES.iterdir():
        text = template.read_text(encoding="utf-8")
        (runtime / template.name).write_text(_Template(text).substitute(values), encoding="utf-8")
    for name, mode in (("tmp", 0o700), ("home", 0o700), ("forms", 0o700), ("packages", 0o700), ("models", 0o755)):
        (runtime / name).mkdir(mode=mode)
