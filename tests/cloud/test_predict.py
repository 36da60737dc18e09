"""launch.predict and launch.transform: pictures in, labels out."""

import http.server
import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc_vision import pictures
from byoc_vision.contract.errors import UserError
from tests.cloud.conftest import Run, archive, prediction
from tests.cloud.fake_aws import FakeAws, Refusal


@pytest.fixture(autouse=True)
def _pushed(pushed: None) -> None:
    """All of these find their images pushed."""


def test_a_table_of_labels(run: Run, endpoint: None, data: Path) -> None:
    done = run("predict", data / "test")
    assert done.code == 0, done.err
    assert done.out.splitlines()[:3] == [
        f"{data}/test/cat/0.jpg",
        "   93.0%  test cat as image/jpeg",
        "    7.0%  other",
    ]


def test_an_answer_of_another_form_is_shown_as_it_is(run: Run, endpoint: None, aws: FakeAws, data: Path) -> None:
    aws.container = lambda body, content_type: (200, {"predictions": [{"breed": "beagle"}]})
    done = run("predict", data / "test" / "cat")
    assert done.out.splitlines()[1] == '  {"breed": "beagle"}'
    aws.container = lambda body, content_type: (200, ["beagle"])
    assert "answer is none of this project's" in run("predict", data / "test" / "cat").err


def test_names_of_any_bytes_on_terminals_of_few_letters(run: Run, endpoint: None, tmp_path: Path) -> None:
    for name in (b"caf\xe9.jpg", "犬.jpg".encode(), b"a\nb.jpg", b"x" * 255, b"--help"):
        (tmp_path / os.fsdecode(name)).write_text("dog")
    names = [os.fsencode(name.name) for name in tmp_path.iterdir() if name.is_file()]
    pictures = [tmp_path / os.fsdecode(name) for name in names]
    done = run("predict", *pictures, PYTHONIOENCODING="ascii")
    assert done.code == 0, done.err
    assert "/caf\\xe9.jpg\n" in done.out and "/\\u72ac.jpg\n" in done.out and "/a\\x0ab.jpg\n" in done.out
    done = run("predict", "--json", *pictures, PYTHONIOENCODING="ascii")
    said = {json.loads(line)["picture"].rpartition("/")[2] for line in done.out.splitlines()}
    assert {"caf\\xe9.jpg", "犬.jpg", "a\\x0ab.jpg", "x" * 255, "--help"} == said


def test_json_for_programs(run: Run, endpoint: None, data: Path, tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"odd")
    done = run("predict", "--json", data / "test" / "cat", tmp_path / "odd")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["label"] for answer in answers] == ["test cat as image/jpeg", "odd as application/x-image"]
    assert answers[1]["picture"] == f"{tmp_path}/odd"


def test_a_picture_that_is_refused_does_not_stop_the_others(run: Run, endpoint: None, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"broken")
    (tmp_path / "b.jpg").write_bytes(b"dog")
    done = run("predict", "a.jpg", "b.jpg")
    assert done.code == 1
    assert "a.jpg: the picture cannot be read" in done.err and "dog as image/jpeg" in done.out


def test_a_folder_holds_what_training_takes_for_pictures(tmp_path: Path) -> None:
    litter = ("._a.jpg", ".DS_Store", "Thumbs.db", ".ipynb_checkpoints/a.jpg", "@eaDir/a.jpg", "__MACOSX/a.jpg")
    pictured = ("a.jpg", "b.GIF", "c.bmp", "d.tiff", "e.heic", "none", "more/f.png", os.fsdecode(b"caf\xe9.jpg"))
    for name in (*litter, *pictured, "readme.txt", "labels.csv"):
        file = tmp_path / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "pets" / "gone.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pets" / "pipe.png")
    found = list(pictures.names([str(tmp_path / "pets")]))
    assert {name.removeprefix(f"{tmp_path}/pets/") for name in found} == {*pictured, "gone.png", "pipe.png"}
    with pytest.raises(UserError, match="No such file"):
        pictures.read(f"{tmp_path}/pets/gone.png")
    with pytest.raises(UserError, match="it is no file"):
        pictures.read(f"{tmp_path}/pets/pipe.png")


def test_what_a_folder_holds_besides_is_said(run: Run, endpoint: None, tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    for name in ("a.gif", "readme.txt", ".DS_Store", os.fsdecode(b"caf\xe9.jpg")):
        (tmp_path / "pets" / name).write_text("cat")
    done = run("predict", "pets", "--json")
    assert done.code == 0, done.err
    assert [json.loads(line)["picture"] for line in done.out.splitlines()] == ["pets/a.gif", "pets/caf\\xe9.jpg"]
    assert "left out: 1 file that is no picture (readme.txt) and 1 entry that desktops" in done.err
    assert "pets/caf\\xe9.jpg\n   93.0%  cat as image/jpeg" in run("predict", "pets").out


def test_dry_run_shows_the_request(run: Run, aws: FakeAws, data: Path) -> None:
    done = run("predict", data / "test" / "cat", "--dry-run")
    (request,) = json.loads(done.out)["InvokeEndpoint"]
    assert request["EndpointName"] == "byoc-vision" and request["Body"] == "8 bytes"
    assert not aws.invocations


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no.jpg"], "the picture no.jpg does not exist"),
        (["home"], "home holds no pictures"),
        (["data", "--endpoint", "nothing"], "Endpoint nothing of account 123456789012 not found"),
        (["http:///a.jpg"], "cannot be fetched (no host given)"),
        (["http://[::1/a.jpg"], "cannot be fetched (Invalid IPv6 URL)"),
    ],
)
def test_wrong_pictures(run: Run, endpoint: None, data: Path, arguments: list[str], said: str) -> None:
    done = run("predict", *arguments)
    assert done.code == 1 and "Traceback" not in done.err
    assert said in done.err


def test_a_file_beyond_the_limit(run: Run, endpoint: None, aws: FakeAws, tmp_path: Path) -> None:
    (tmp_path / "big.jpg").write_bytes(bytes(pictures.MAX_BYTES + 1))
    done = run("predict", "big.jpg")
    assert done.code == 1 and "endpoints take 6" in done.err
    assert not aws.invocations


class _Site(http.server.BaseHTTPRequestHandler):
    """A site with a picture, redirects to it, to a file and in a circle, and a picture without an end."""

    def do_GET(self) -> None:
        if self.path == "/dog.jpg":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"dog")
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 20))
            except OSError:
                return
        elif self.path == "/missing":
            self.send_error(404)
        else:
            target = {"/moved": "/dog.jpg", "/file": "file:///etc/passwd", "/circle": "/circle"}[self.path]
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    """The site's address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("path", ["/dog.jpg", "/moved"])
def test_a_url_is_fetched(site: str, path: str) -> None:
    assert pictures.read(site + path).content == b"dog"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/file", "302 .*Redirection to url 'file:///etc/passwd' is not allowed"),
        ("/circle", "302 .*would lead to an infinite loop"),
        ("/endless", "more than the 6 MB"),
        ("/missing", "answers 404"),
    ],
)
def test_a_url_that_leads_astray(site: str, path: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        pictures.read(site + path)


def test_transform_sends_the_request_and_collects_the_answers(
    run: Run, aws: FakeAws, data: Path, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    archive(tmp_path / "model.tar.gz", {"model.json": b"{}"})
    (tmp_path / "mine.yaml").write_text(
        "CreateTransformJob:\n  TransformJobName: my-transform\n  TransformOutput: {S3OutputPath: 's3://answers/mine/'}\n"
    )
    client("s3").create_bucket(Bucket="answers")
    for name, label in (("cat/0.jpg", "cat"), ("dog/0.jpg", "dog")):
        body = json.dumps(prediction(label, 0.8)).encode()
        client("s3").put_object(Bucket="answers", Key=f"mine/{name}.out", Body=body)
    (data / "test" / "readme.txt").write_text("about the pictures")
    (data / "test" / "Thumbs.db").write_text("litter")
    done = run("transform", "--model", "./model.tar.gz", "--data", data / "test", "--request", "mine.yaml")
    assert done.code == 0, done.err
    (request,) = aws.sent("CreateTransformJob")
    assert request["TransformInput"]["ContentType"] == "image/jpeg"  # as byoc predict sends them
    assert "left out: 1 file that is no picture (readme.txt) and 1 entry that" in done.err
    assert sorted(sent(client, request)) == ["cat/0.jpg", "dog/0.jpg"]
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [(a["picture"], a["label"], a["probability"]) for a in answers] == [
        ("cat/0.jpg", "cat", 0.8),
        ("dog/0.jpg", "dog", 0.8),
    ]
    assert client("sagemaker").list_models()["Models"] == []
    assert run("watch", "my-transform").out.endswith("the answers are in s3://answers/mine/\n")


def test_answers_of_a_handler_of_ones_own_are_kept_as_they_are(
    run: Run, aws: FakeAws, data: Path, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    archive(tmp_path / "model.tar.gz", {"model.pth": b""})
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "inference.py").write_text("def model_fn(model_dir): ...")
    (tmp_path / "mine.yaml").write_text("CreateTransformJob: {TransformOutput: {S3OutputPath: 's3://answers/mine'}}")
    client("s3").create_bucket(Bucket="answers")
    for name, body in {"a.jpg": b"[[0.5, -1]]", "b.jpg": b"cat\n", "c.jpg": b"\x93NUMPY"}.items():
        client("s3").put_object(Bucket="answers", Key=f"mine/{name}.out", Body=body)
    (data / "test" / "dog" / "1.png").touch()
    command = ("transform", "--model", "./model.tar.gz", "--data", data / "test", "--request", "mine.yaml")
    done = run(*command, "--source", "handler")
    assert done.sentence == "launch.transform: 1 of 3 files have no answer; the lines above say why"
    assert "c.jpg: the handler's own answer is no text" in done.err
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert answers == [{"picture": "a.jpg", "answer": [[0.5, -1]]}, {"picture": "b.jpg", "answer": "cat\n"}]
    (request,) = aws.sent("CreateTransformJob")
    assert request["TransformInput"]["ContentType"] == "application/x-image"  # of a job's pictures, which are of two
    (request,) = aws.sent("CreateModel")
    bucket, _, key = request["PrimaryContainer"]["ModelDataUrl"][5:].partition("/")
    packed = io.BytesIO(client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    with tarfile.open(fileobj=packed) as tar:
        assert "code/inference.py" in tar.getnames()


def sent(client: Callable[[str], Any], request: dict[str, Any]) -> set[str]:
    """Return what a transform job reads, below its URI."""
    bucket, _, folder = request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"][5:].partition("/")
    objects = client("s3").list_objects_v2(Bucket=bucket, Prefix=folder)["Contents"]
    return {each["Key"].removeprefix(folder) for each in objects}


def test_a_transform_of_what_are_no_pictures_sends_all(
    run: Run, aws: FakeAws, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    archive(tmp_path / "model.tar.gz", {"model.json": b"{}"})
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays" / "one.csv").write_text("1,2")
    (tmp_path / "mine.yaml").write_text("CreateTransformJob: {TransformInput: {ContentType: text/csv}}")
    command = ("transform", "--model", "./model.tar.gz", "--data", "arrays", "--no-wait")
    assert run(*command).sentence == "launch.transform: arrays holds no pictures; give a folder that does"
    done = run(*command, "--request", "mine.yaml")
    assert done.code == 0, done.err
    (request,) = aws.sent("CreateTransformJob")
    assert sent(client, request) == {"one.csv"}


def test_answers_have_the_pictures_names_also_where_files_cannot(
    run: Run, aws: FakeAws, data: Path, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    archive(tmp_path / "model.tar.gz", {"model.json": b"{}"})
    (tmp_path / "mine.yaml").write_text("CreateTransformJob: {TransformOutput: {S3OutputPath: 's3://answers/mine'}}")
    client("s3").create_bucket(Bucket="answers")
    names = ["../a.jpg", "caf\\xe9.jpg", "cat/" + "x" * 255, "犬\u200d.jpg"]
    for name in names:
        body = json.dumps(prediction("cat", 0.8)).encode()
        client("s3").put_object(Bucket="answers", Key=f"mine/{name}.out", Body=body)
    done = run("transform", "--model", "./model.tar.gz", "--data", data / "test", "--request", "mine.yaml")
    assert done.code == 0, done.err
    answers = [json.loads(line)["picture"] for line in (tmp_path / "answers.jsonl").read_text("utf-8").splitlines()]
    assert answers == names


def test_a_refused_transform_leaves_no_model(
    run: Run, aws: FakeAws, data: Path, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    archive(tmp_path / "model.tar.gz", {"model.json": b"{}"})
    aws.script(
        "CreateTransformJob", Refusal("ResourceLimitExceeded", "The account-level service limit is 0 Instances.")
    )
    assert "Service Quotas" in run("transform", "--model", "./model.tar.gz", "--data", data).sentence
    assert client("sagemaker").list_models()["Models"] == []


def failed(source: str) -> dict[str, Any]:
    """Return what DescribeTransformJob says of a job that failed on the pictures at `source`."""
    return {
        "TransformJobStatus": "Failed",
        "FailureReason": "ClientError: See the logs",
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}}},
        "TransformOutput": {"S3OutputPath": "s3://answers/out/"},
    }


def test_a_transform_with_refused_files_keeps_the_answers(
    run: Run, aws: FakeAws, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    archive(tmp_path / "model.tar.gz", {"model.json": b"{}"})
    s3, logs = client("s3"), client("logs")
    s3.create_bucket(Bucket="answers")
    for number in range(4):
        s3.put_object(Bucket="answers", Key=f"in/cat/{number}.jpg", Body=b"picture")
        if number > 1:
            body = json.dumps(prediction("cat", 0.8)).encode()
            s3.put_object(Bucket="answers", Key=f"out/cat/{number}.jpg.out", Body=body)
    s3.put_object(Bucket="answers", Key="in/readme.txt", Body=b"text")
    group, stream = "/aws/sagemaker/TransformJobs", "my-transform/i-0/data-log"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    said = ["MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=SINGLE_RECORD"]
    said += [
        f"answers/in/{name}: {text}"
        for name, reason in (("cat/0.jpg", "no picture"), ("readme.txt", "not a picture that is read"))
        for text in ("ClientError: 415", "", "Message:", json.dumps({"error": reason}))
    ]
    events = [
        {"timestamp": int(time.time() * 1000) + i, "message": f"2026-11-27T01:02:03.004:[sagemaker logs]: {text}"}
        for i, text in enumerate(said)
    ]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    aws.script("DescribeTransformJob", failed("s3://answers/in/"))
    (tmp_path / "mine.yaml").write_text("CreateTransformJob: {TransformJobName: my-transform}")
    command = ("transform", "--model", "./model.tar.gz", "--data", "s3://answers/in/", "--request", "mine.yaml")
    done = run(*command)
    assert done.sentence == "launch.transform: 3 of 5 files have no answer; the lines above say why"
    assert "cat/0.jpg: no picture\ncat/1.jpg: the job's log says nothing of it\n" in done.err
    assert "readme.txt: not a picture that is read\n" in done.err
    assert "2 answers in answers.jsonl" in done.out
    answers = [json.loads(line)["picture"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert answers == ["cat/2.jpg", "cat/3.jpg"]
    assert "there is no room left for what is to be written" in run(*command, "--output", "/dev/full").sentence


def test_a_failed_transform_leaves_no_model(
    run: Run, aws: FakeAws, data: Path, tmp_path: Path, client: Callable[[str], Any]
) -> None:
    archive(tmp_path / "model.tar.gz", {"model.json": b"{}"})
    client("s3").create_bucket(Bucket="answers")
    aws.script("DescribeTransformJob", failed("s3://answers/in/"))
    said = run("transform", "--model", "./model.tar.gz", "--data", data).sentence
    assert "failed: ClientError: See the logs" in said
    assert client("sagemaker").list_models()["Models"] == []
