"""The engine that is AWS: boto3's clients, and what they tell of the account. See `byoc_vision.engine.Engine`."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from botocore.config import Config

from byoc_vision.aws import cloudwatch, images, s3
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import expanded
from byoc_vision.engine import ACCOUNT, PICTURE, REGION, ROLE, THIS_MACHINE, Content, LogKind, Target
from byoc_vision.refusals import NoAccountError, code_of, sentence

_log = logging.getLogger(__name__)

#: For the one question that a dry run asks.
_IMPATIENT = Config(retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=5)

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")

#: What a role may be called.
_ROLE_NAME = re.compile(r"[\w+=,.@-]{0,64}", re.ASCII)


def _named_role() -> str:
    """Return SAGEMAKER_ROLE: a role's name, its ARN, or nothing."""
    named = os.environ.get("SAGEMAKER_ROLE", "")
    if not _ROLE_NAME.fullmatch(named) and not _ROLE.fullmatch(named):
        raise UserError(
            f"SAGEMAKER_ROLE is {named!r}; give a role's name, or its ARN, arn:aws:iam::123456789012:role/NAME"
        )
    return named


class Cloud:
    """AWS, as the environment's credentials and region describe it. Nothing is asked of it before it is needed."""

    option = ""
    known = True
    longest_pause = 10.0  # more often, and the service throttles

    def sketch(self) -> "Cloud":
        """Return this engine where the account answers, else a `Sketch`; say why, once."""
        return self._sketch

    @cached_property
    def _sketch(self) -> "Cloud":
        region = REGION
        try:
            region = self.region
            self._caller = dict(self._session.client("sts", config=_IMPATIENT).get_caller_identity())
        except Exception as error:
            if (said := sentence(error)) is None:
                raise
            _log.info("%s; until then placeholders such as %s stand for what only the account knows", said, ACCOUNT)
            return Sketch(region)
        return self

    @cached_property
    def _session(self) -> Any:
        session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)  # which boto3 does not read
        if session.region_name is None:
            raise NoAccountError("no region is chosen; set AWS_REGION, for example to us-east-1")
        return session

    def client(self, service: str) -> Any:
        """Return boto3's client of `service`."""
        return self._session.client(service, config=Config(retries={"mode": "standard", "max_attempts": 5}))

    @property
    def region(self) -> str:
        """The region's name."""
        return str(self._session.region_name)

    @property
    def where(self) -> str:
        """The region, in the words of a sentence."""
        return f"in {self.region}"

    @cached_property
    def _caller(self) -> dict[str, str]:
        return dict(self.client("sts").get_caller_identity())

    @property
    def account(self) -> str:
        """The account's number."""
        return self._caller["Account"]

    @cached_property
    def sagemaker(self) -> Any:
        """boto3's client of SageMaker."""
        return self.client("sagemaker")

    @cached_property
    def runtime(self) -> Any:
        """boto3's client of SageMaker's endpoints."""
        return self.client("sagemaker-runtime")

    @cached_property
    def _s3(self) -> Any:
        return self.client("s3")

    def role(self) -> str:
        """Return the ARN that SAGEMAKER_ROLE names, or, inside SageMaker, that of the role this runs under."""
        named = _named_role()
        if _ROLE.fullmatch(named):
            return named
        if not named:
            running = re.search(r":assumed-role/([^/]+)/", self._caller["Arn"])
            if not running:
                raise UserError("no execution role is named; set SAGEMAKER_ROLE to the name or ARN of a SageMaker role")
            named = running[1]
        try:
            role = self.client("iam").get_role(RoleName=named)["Role"]
        except Exception as error:
            if code_of(error) != "NoSuchEntity":
                raise
            raise UserError(f"there is no role {named!r} in account {self.account}; check SAGEMAKER_ROLE") from None
        if "sagemaker.amazonaws.com" not in json.dumps(role["AssumeRolePolicyDocument"]):
            name = role["RoleName"]
            raise UserError(f"SageMaker may not assume the role {name}; set SAGEMAKER_ROLE to one that trusts it")
        return str(role["Arn"])

    def image(self, target: Target) -> str:
        """Return the URI, with digest, that push.sh recorded for this account and region; `byoc service` needs none."""
        if self.account == THIS_MACHINE:
            return f"byoc-vision-{target}:latest"
        return images.uri(self.account, self.region, f"byoc-vision-{target}")

    def instance_type(self, wanted: str) -> str:
        """Return `wanted`; raises `UserError` where that is this machine."""
        if wanted.startswith("local"):
            raise UserError(f"{wanted} is no instance type of SageMaker's; add --local to stay on this machine")
        return wanted

    def output(self) -> str:
        """Return a folder of the bucket that SageMaker's SDK uses, too."""
        return f"s3://sagemaker-{self.region}-{self.account}/byoc-vision"

    def place(self, source: str, under: str, *, send: bool, pictures: bool = False) -> str:
        """Return an S3 URI for `source`: itself, once something was found there, or the one it was uploaded to."""
        if send:
            self._open_bucket(under)
        if "://" in source or source.startswith("s3:"):
            bucket, key = s3.split(source)
            if send and not any(True for _ in s3.listing(self._s3, bucket, key)):
                raise UserError(f"there is nothing at {source}; check the URI")
            return source
        path = expanded(source)
        if not path.exists():
            raise UserError(f"{source} does not exist; give a folder, a file or an S3 URI")
        uri = s3.destination(path, under)
        if send:
            s3.send(self._s3, path, uri, pictures)
        return uri

    def fetch(self, uri: str, folder: Path) -> list[Path]:
        """Copy what is at the S3 URI into `folder`."""
        return s3.fetch(self._s3, uri, folder)

    def contents(self, uri: str) -> Iterator[tuple[str, bytes]]:
        """Yield the keys below the S3 URI and the objects' content."""
        return s3.contents(self._s3, uri)

    def logs(self, kind: LogKind, name: str) -> Callable[[], list[str]]:
        """Return a function that reads on in CloudWatch's log."""
        return cloudwatch.CloudWatch(self.client("logs"), kind, name).new_lines

    def refused(self, job: str) -> dict[str, str]:
        """Return what the job's data log says of each object that was to be answered and was not."""
        described = self.sagemaker.describe_transform_job(TransformJobName=job)
        bucket, asked = s3.split(described["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
        place, prefix = s3.split(described["TransformOutput"]["S3OutputPath"])
        answered = {item["Key"].removeprefix(prefix).lstrip("/") for item in s3.listing(self._s3, place, prefix)}
        said = cloudwatch.data_log(self.logs("transform", job)(), bucket)
        if not (answered or said):  # the container did not start, of which the job's own reason says more
            return {}
        folder = asked[: asked.rfind("/") + 1]
        keys = [item["Key"] for item in s3.listing(self._s3, bucket, asked) if not item["Key"].endswith("/")]
        return {
            name: said.get(key, "the job's log says nothing of it")
            for key in keys
            if f"{(name := key.removeprefix(folder))}.out" not in answered
        }

    def curl(self, endpoint: str, content: Content = PICTURE) -> str:
        """Return a command line whose request curl signs; the keys come from the environment when it runs."""
        lines = (
            f'curl --aws-sigv4 "aws:amz:{self.region}:sagemaker" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"',
            # One word, and only where there is a token: curl signs an empty header, too, and then does not send it.
            '${AWS_SESSION_TOKEN:+-H"x-amz-security-token: $AWS_SESSION_TOKEN"} '
            f'--header "Content-Type: {content.media_type}"',
            f"--data-binary @{content.file} {self.runtime.meta.endpoint_url}/endpoints/{quote(endpoint)}/invocations",
        )
        return " \\\n    ".join(lines)

    def _open_bucket(self, uri: str) -> None:
        """Create the bucket of `uri` where it is missing and the account's default; complain of any other that is."""
        bucket, _ = s3.split(uri)
        default = bucket == f"sagemaker-{self.region}-{self.account}"
        try:
            # Anyone may have taken the default's name, and would be sent the data.
            self._s3.head_bucket(Bucket=bucket, **({"ExpectedBucketOwner": self.account} if default else {}))
        except Exception as error:
            if code_of(error) != "404":
                raise
            if not default:
                raise UserError(f"the bucket {bucket} does not exist; check its name") from None
            if self.region == "us-east-1":  # the one region that may not be named
                self._s3.create_bucket(Bucket=bucket)
            else:
                self._s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": self.region})


class Sketch(Cloud):
    """AWS without an account, for dry runs: nothing is asked, and requests hold placeholders for what is not known."""

    known = False
    region = REGION
    account = ACCOUNT

    def __init__(self, region: str) -> None:
        self.region = region

    def role(self) -> str:
        """Return SAGEMAKER_ROLE's ARN."""
        named = _named_role() or ROLE
        return named if _ROLE.fullmatch(named) else f"arn:aws:iam::{ACCOUNT}:role/{named}"

    def image(self, target: Target) -> str:
        """Return the URI that the image would have."""
        return f"{ACCOUNT}.dkr.ecr.{self.region}.amazonaws.com/byoc-vision-{target}:latest"
