"""What comes over the socket: signatures, broken HTTP, strangers; and the small services."""

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from byoc_vision.local import containers
from byoc_vision.local.store import ACCOUNT
from tests.cloud.service.conftest import BUCKET, ROLE, SIGNED, Service, keys, refused


def test_a_request_must_be_signed_by_someone_for_this_region(service: Service) -> None:
    assert b"AccessDenied" in service.ask("GET", "/", service=None)[1]
    target = {"x_amz_target": "SageMaker.ListModels"}
    assert b"MissingAuthenticationToken" in service.ask("POST", "/", b"{}", service=None, **target)[1]
    for broken in (
        "AWS4-HMAC-SHA256 Credential=a",
        "Bearer a",
        SIGNED.format(service="sagemaker")[:-1],
        "\xff",
        "a" * 9999,
    ):
        status, body = service.ask("POST", "/", b"{}", service=None, authorization=broken, **target)
        assert (status, json.loads(body)["__type"]) == (400, "IncompleteSignature")
    with refused("InvalidSignatureException", "signed for .*eu-west-1"):
        service.client("sagemaker", "eu-west-1").list_models()
    with refused("AuthorizationHeaderMalformed", "signed for .*eu-west-1"):
        service.client("s3", "eu-west-1").list_buckets()
    for version in ("s3", "s3v4"):
        client = boto3.client("s3", "us-east-1", **service.access, config=Config(signature_version=version))
        url = urlsplit(client.generate_presigned_url("list_buckets"))
        assert service.ask("GET", f"{url.path}?{url.query}", service=None)[0] == 200


def test_a_url_is_good_for_its_time(s3: Any, service: Service) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    for version in ("s3", "s3v4"):
        client = boto3.client("s3", "us-east-1", **service.access, config=Config(signature_version=version))
        for seconds, status in ((60, 200), (-60, 403)):
            url = urlsplit(client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "a"}, seconds))
            found = service.ask("GET", f"{url.path}?{url.query}", service=None)
            assert (found[0], b"expired" in found[1]) == (status, status == 403)
        if version == "s3v4":
            longer = client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "a"}, 604_801)
            assert b"less than a week" in service.ask("GET", f"{url.path}?{urlsplit(longer).query}", service=None)[1]
        query = url.query.replace("Expires=", "Expires=x")
        assert b"AuthorizationHeaderMalformed" in service.ask("GET", f"{url.path}?{query}", service=None)[1]


def test_a_page_in_a_browser_is_refused(service: Service) -> None:
    for host in ("evil.example", "localhost.evil.example", "a.evil.example:80", "evillocalhost"):
        assert service.ask("GET", "/", host=host)[0] == 403
    form = {"content_type": "multipart/form-data; boundary=a"}
    assert b"presign a PUT" in service.ask("POST", f"/{BUCKET}", b"--a--", service=None, **form)[1]


def test_a_bucket_may_be_the_hosts_name(s3: Any, service: Service) -> None:
    assert service.ask("PUT", "/a%20b/c", b"x", host=f"{BUCKET}.localhost:{service.port}")[0] == 200
    assert b"a b/c" in service.ask("GET", "/?list-type=2", host=f"{BUCKET}.localhost")[1]
    assert service.ask("GET", "/", host="...localhost")[0] == 404


def test_elsewhere_a_token_is_wanted(tmp_path: Path) -> None:
    running = Service(tmp_path / "root", "0.0.0.0", "secret")
    try:
        with refused("InvalidClientTokenId"):
            running.client("sagemaker").list_models()
        assert running.client("sagemaker", aws_access_key_id="secret").list_models()["Models"] == []
    finally:
        running.close()


def test_a_time_out_of_range_is_refused(service: Service) -> None:
    for wrong in (b"1e30", b"-1e300", b"NaN", b'"yesterday"'):
        body = b'{"CreationTimeAfter": %b}' % wrong
        status, answer = service.ask("POST", "/", body, "sagemaker", x_amz_target="SageMaker.ListModels")
        assert (status, json.loads(answer)["__type"]) == (400, "ValidationException"), wrong


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'"a"', b"[" * 100_000])
def test_what_is_not_json_is_refused(service: Service, body: bytes) -> None:
    status, answer = service.ask("POST", "/", body, "sagemaker", x_amz_target="SageMaker.ListModels")
    assert (status, json.loads(answer)["__type"]) == (400, "SerializationException")


def test_what_is_not_http_does_no_harm(s3: Any, service: Service) -> None:
    put = f"PUT /pictures/a HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {SIGNED.format(service='s3')}\r\n"
    for text in (
        "GET  / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET " + "a" * 70_000,
        f"{put}Content-Length: -5\r\n\r\n",
        f"{put}Content-Length: {'9' * 5000}\r\n\r\n",
        f"{put}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        f"{put}Host: evil.example\r\nContent-Length: 1\r\nConnection: close\r\n\r\na",
        f"{put}Transfer-Encoding: chunked\r\n\r\nzz\r\nffff\r\n",
    ):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(text.encode())
            connection.settimeout(10)
            answer = b"".join(iter(lambda: connection.recv(10_000), b""))  # to the connection's end
            assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 414", b"HTTP/1.1 505"), answer
    assert keys(s3) == []


def test_a_number_of_any_length_is_one_or_is_refused(s3: Any, service: Service) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="b")["UploadId"]
    long = "9" * 5000
    signed = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/20260101/us-east-1/s3/aws4_request&X-Amz-Signature=0"
    for path, more in (
        (f"?max-keys={long}", {}),
        (f"?continuation-token={long}&list-type=2", {}),
        ("/a", {"range": f"bytes={long}-"}),
        ("/a", {"range": f"bytes=-{long}"}),
        (f"/a?{signed}&X-Amz-Date=20260101T000000Z&X-Amz-Expires={long}", {}),
        (f"/a?{signed}&X-Amz-Date=20260101T000000Z&X-Amz-Expires={long[:400]}", {}),
        (f"/b?partNumber={long}&uploadId={upload}", {}),
    ):
        service_name = None if "Signature" in path else "s3"
        status, answer = service.ask("PUT" if upload in path else "GET", f"/{BUCKET}{path}", b"", service_name, **more)
        assert status < 500 and b"ValueError" not in answer, (path[:30], answer)


def test_an_upload_that_is_refused_is_not_sent(service: Service) -> None:
    head = f"PUT /none/a HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {SIGNED.format(service='s3')}\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\nContent-Length: {5 << 30}\r\n\r\n".encode())
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 404")


def test_the_images_of_a_repository(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        json.dumps(
            {"ID": f"sha256:{i * 64}", "Repository": "mine", "Tag": t, "CreatedAt": "2026-01-01 00:00:00 +0000 UTC"}
        )
        for i, t in (("a", "latest"), ("a", "v1"), ("b", "old"), ("c", "<none>"))
    ]
    monkeypatch.setattr(containers, "answered", lambda *_: "\n".join(lines))
    ecr = service.client("ecr")
    details = ecr.describe_images(repositoryName="mine")["imageDetails"]
    assert [image["imageTags"] for image in details] == [["latest", "v1"], ["old"]]
    assert details[0]["imagePushedAt"].year == 2026
    for identity in ({"imageTag": "v1"}, {"imageDigest": details[0]["imageDigest"]}):
        assert ecr.describe_images(repositoryName="mine", imageIds=[identity])["imageDetails"] == details[:1]
    with refused("ImageNotFoundException", "no image mine:v2"):
        ecr.describe_images(repositoryName="mine", imageIds=[{"imageTag": "v2"}])
    with refused("RepositoryNotFoundException"):
        ecr.describe_images(repositoryName="other")
    assert ecr.describe_images(repositoryName="mine", filter={"tagStatus": "UNTAGGED"})["imageDetails"] == []
    with refused("RepositoryNotFoundException", "registry 000000000000 only"):
        ecr.describe_images(repositoryName="mine", registryId="1" * 12)


def test_the_small_services(service: Service) -> None:
    assert service.client("sts").get_caller_identity()["Account"] == ACCOUNT
    assert service.client("iam").get_role(RoleName="any")["Role"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/any"
    permitted = service.client("iam").simulate_principal_policy(PolicySourceArn=ROLE, ActionNames=["a:b", "c:d"])
    assert [result["EvalDecision"] for result in permitted["EvaluationResults"]] == ["allowed"] * 2
    credentials = service.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="me")["Credentials"]
    assert credentials["Expiration"].year > 2026
    token = service.client("ecr").get_authorization_token()["authorizationData"][0]
    assert token["proxyEndpoint"].startswith(f"https://{ACCOUNT}.")
    for call in (
        service.client("iam").list_users,
        service.client("ecr").describe_registry,
        service.client("logs").describe_queries,
        service.client("sagemaker").list_domains,
        service.client("dynamodb").list_tables,
    ):
        with refused("UnknownOperationException"):
            call()
    status, body = service.ask("POST", "/", b"{}", "sagemaker", x_amz_target="SageMaker.Nonsense")
    assert (status, json.loads(body)["__type"]) == (400, "UnknownOperationException")


@pytest.mark.parametrize(
    ("name", "operation"),
    [  # one of each of the protocols that AWS's services speak
        ("application-autoscaling", "describe_scalable_targets"),
        ("lambda", "list_functions"),
        ("sns", "list_topics"),
        ("sqs", "list_queues"),
        ("ec2", "describe_vpcs"),
        ("cloudwatch", "describe_alarms"),
        ("sagemaker-featurestore-runtime", "batch_get_record"),
    ],
)
def test_a_service_that_is_not_here_says_so_to_its_client(service: Service, name: str, operation: str) -> None:
    request = {
        "describe_scalable_targets": {"ServiceNamespace": "sagemaker"},
        "batch_get_record": {"Identifiers": [{"FeatureGroupName": "a", "RecordIdentifiersValueAsString": ["b"]}]},
    }.get(operation, {})
    said = "[Tt]his machine .*(only|list|have no)|no feature store and no metrics"
    with refused("UnknownOperationException", said):
        getattr(service.client(name), operation)(**request)


def test_a_region_that_is_not_here_is_said_in_each_form(service: Service) -> None:
    with refused("InvalidSignatureException", "signed for .*eu-west-1"):
        service.client("sts", "eu-west-1").get_caller_identity()
    with refused("InvalidSignatureException", "signed for .*eu-west-1"):
        service.client("sagemaker-runtime", "eu-west-1").invoke_endpoint(EndpointName="a", Body=b"x")
