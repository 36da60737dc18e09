"""Endpoints whose folder was deleted or moved are found again by their containers; ports are asked for and kept."""

import socket
from pathlib import Path

import pytest

from byoc_vision.contract.errors import UserError
from byoc_vision.local import containers, endpoints, models, process, server
from byoc_vision.local.objects import Objects
from byoc_vision.local.store import ServiceError, Store
from byoc_vision.requests import operations


class Docker:
    """Answers in place of the docker client: for containers, each with its owner's folder."""

    def __init__(self, owners: dict[str, Path]) -> None:
        self.owners = owners
        self.removed: list[str] = []

    def __call__(self, *arguments: str) -> str:
        if arguments[0] == "ps":
            return "\n".join(f"{container} {owner}" for container, owner in self.owners.items())
        if arguments[0] == "inspect":
            return "8123" if "HostPort" in arguments[2] else "true"
        if arguments[0] == "rm":
            self.removed.append(arguments[-1])
        return ""


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Docker:
    """A container of an endpoint `dogs`, whose folder is gone, one whose folder is there, and a job's."""
    (tmp_path / "other" / "endpoint" / "cats").mkdir(parents=True)
    fake = Docker(
        {
            "a" * 12: tmp_path / "gone" / "endpoint" / "dogs",
            "b" * 12: tmp_path / "other" / "endpoint" / "cats",
            "c" * 12: tmp_path / "gone" / "transform-job" / "birds",
        }
    )
    monkeypatch.setattr(containers, "docker", fake)
    return fake


def test_an_endpoint_whose_folder_is_gone(docker: Docker, tmp_path: Path) -> None:
    store = Store(tmp_path / "local")
    answer = endpoints.OPERATIONS["ListEndpoints"](store, {})
    assert [(each["EndpointName"], each["EndpointStatus"]) for each in answer["Endpoints"]] == [("dogs", "InService")]
    found = endpoints.find(store, "dogs")
    assert found.status["Port"] == 8123
    assert operations.is_made_from("dogs", found.request["EndpointConfigName"])
    for name in ("cats", "birds", "nothing"):
        with pytest.raises(ServiceError, match="Could not find"):
            endpoints.find(store, name)
    endpoints.OPERATIONS["DeleteEndpoint"](store, {"EndpointName": "dogs"})
    assert docker.removed == ["a" * 12] and not found.folder.exists()


def test_an_endpoint_whose_folder_was_moved(docker: Docker, tmp_path: Path) -> None:
    store = Store(tmp_path / "moved")
    record, lock = store.create("endpoint", "dogs", {"EndpointName": "dogs"}, EndpointStatus="InService", Port=8123)
    lock.release()
    endpoints.OPERATIONS["DeleteEndpoint"](store, {"EndpointName": "dogs"})
    assert docker.removed == ["a" * 12] and not record.folder.exists()


@pytest.fixture
def store(docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with a model on the port that the test takes, whose endpoints are not brought up."""
    docker.owners = {}
    monkeypatch.setattr(containers, "require", lambda image: None)
    monkeypatch.setattr(process, "start", lambda record, lock: lock.release())
    return Store(tmp_path / "local")


def create(store: Store, name: str, port: int | None = None) -> int:
    """Create an endpoint of that name; return its port."""
    for kind, request in (
        (models.MODEL, operations.model(name, "image", "role", "file:///model.tar.gz", port)),
        (models.CONFIG, operations.endpoint_config(name, name, "local")),
    ):
        store.create(kind, name, request)[1].release()
    endpoints.create(store, operations.endpoint(name, name))
    return int(endpoints.find(store, name).status["Port"])


def test_the_port_is_the_one_asked_for_or_8080_or_free(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        monkeypatch.setattr(endpoints, "PORT", taken)
        assert create(store, "any") != taken
        with pytest.raises(ServiceError, match=f"Port {taken} is in use; take another"):
            create(store, "asks", taken)
    assert create(store, "preferred") == taken
    assert create(store, "second") != taken  # though its container does not listen yet
    with pytest.raises(ServiceError, match=f"Port {taken} is in use"):
        create(store, "third", taken)
    own = server.free_port()
    assert create(store, "own", own) == own


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("Bind for 127.0.0.1:8080 failed: port is already allocated", server.PortTakenError),
        ("listen tcp4 127.0.0.1:8080: bind: address already in use", server.PortTakenError),
        ("no space left on device", UserError),
    ],
)
def test_a_container_that_docker_does_not_start_is_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch, said: str, error: type[UserError]
) -> None:
    removed: list[str] = []

    def checked(*_: str) -> None:
        raise UserError(f"docker run failed: {said}")

    monkeypatch.setattr(containers, "checked", checked)
    monkeypatch.setattr(containers, "remove", removed.append)
    create(store, "dogs")
    with pytest.raises(UserError) as caught:
        server.start(endpoints.find(store, "dogs"), {"Image": "image"}, Path("/model"), 8080)
    assert type(caught.value) is error
    assert len(removed) == 1


def test_a_port_that_is_none(store: Store) -> None:
    with pytest.raises(ServiceError, match="Port '99999' is none; give a number from 1 to 65535"):
        create(store, "far", port=99999)


def test_a_running_endpoint_keeps_its_port(store: Store) -> None:
    port = create(store, "dogs")
    store.create(models.MODEL, "m2", operations.model("m2", "image", "role", "file:///m", port + 1))[1].release()
    store.create(models.CONFIG, "c2", operations.endpoint_config("c2", "m2", "local"))[1].release()
    with pytest.raises(ServiceError, match=f"has port {port} and keeps it"):
        endpoints.update(store, operations.endpoint("dogs", "c2"))


def test_code_that_the_sdk_has_uploaded_is_handed_to_the_container(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(containers, "checked", lambda *arguments: ran.extend(arguments))
    create(store, "dogs")
    Objects(store).make_bucket("bucket")
    record, archive = endpoints.find(store, "dogs"), Objects(store).path("bucket", "c.gz")
    archive.write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for place, inside, mounted in (
        ("s3://bucket/c.gz", "/opt/ml/input/sourcedir.tar.gz", archive),
        ((tmp_path / "folder").as_uri(), "/opt/ml/code", tmp_path / "folder"),
        ("/opt/ml/model/code", "/opt/ml/model/code", None),
    ):
        ran.clear()
        server.start(record, {"Image": "i", "Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": place}}, tmp_path, 8123)
        assert f"SAGEMAKER_SUBMIT_DIRECTORY={inside}" in ran
        assert [f'"source={mounted}"' in each for each in ran].count(True) == (mounted is not None)
    for place in ("s3://bucket/gone.tar.gz", "s3://elsewhere/c.gz"):
        with pytest.raises(UserError, match=place):
            server.start(record, {"Image": "i", "Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": place}}, tmp_path, 8123)
