"""The configuration files of nginx and multi-model-server, filled in from the settings."""

from pathlib import Path
from string import Template

from serve.settings import Settings

#: The client's Content-Type travels to the worker under this name, for multi-model-server parses forms by itself.
CONTENT_TYPE_HEADER = "X-Client-Content-Type"

#: A worker puts its JSON error here too, for nginx replaces the body of every error: those of multi-model-server are
#: not of our form.
ERROR_HEADER = "X-Error"

#: The status with which a worker reports its own fault. nginx makes it 500; a real 500 means that the worker died, and
#: nginx asks another.
INTERNAL_ERROR = 599

#: The name a single model is registered under.
MODEL_NAME = "model"

_TEMPLATES = Path(__file__).parent / "templates"


class _Template(Template):
    delimiter = "@"  # nginx has its own use for the dollar


def write(settings: Settings, runtime: Path) -> None:
    """Write the configuration files into `runtime`, the folder of the sockets and of all temporary files."""
    limit = settings.max_request_bytes
    values = {
        "runtime": runtime,
        "port": settings.port,
        "model_name": MODEL_NAME,
        "max_request_bytes": limit,
        "max_request_mb": limit // (1024 * 1024),
        "body_buffer_bytes": min(limit, 1024 * 1024),
        "queue_size": settings.queue_size,
        "invocation_timeout": settings.invocation_timeout,
        # The worker's own alarm comes first, so that it does not go on with what nobody waits for.
        "read_timeout": settings.invocation_timeout + 5,
        "startup_timeout": settings.startup_timeout,
        "content_type_header": CONTENT_TYPE_HEADER,
        "error_header": ERROR_HEADER,
        "error_variable": "upstream_http_" + ERROR_HEADER.lower().replace("-", "_"),
        "internal_error": INTERNAL_ERROR,
        "locations": "models" if settings.multi_model else "invocations",
    }
    for name in ("nginx.conf", "invocations.conf", "models.conf", "predict.conf", "mms.properties", "log4j2.xml"):
        text = (_TEMPLATES / name).read_text(encoding="utf-8")
        (runtime / name).write_text(_Template(text).substitute(values), encoding="utf-8")
    for name in ("tmp", "forms"):
        (runtime / name).mkdir(mode=0o700)
