"""What clients are told: variables of the environment, and configuration files of AWS's clients and of the SDK."""

from pathlib import Path

from byoc_vision.contract.files import write_text
from byoc_vision.local.objects import Objects
from byoc_vision.local.store import ACCOUNT, REGION, Store

#: The bucket that the SDK takes where none is named; in AWS it has the same form.
BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"

#: Variables that would lead clients elsewhere.
UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")

_CONFIGURATION = f"""\
# The SageMaker SDK would ask STS at Amazon for the account, to name its bucket.
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
      Session:
        DefaultS3Bucket: {BUCKET}
"""

_CLIENTS = """\
# Clients of byoc service. Bodies do not leave this machine, and the connection has no certificate: by default a client
# would hash each of them twice, for its signature and for a checksum.
[default]
request_checksum_calculation = when_required
response_checksum_validation = when_required
s3 =
    payload_signing_enabled = false
"""


def prepare(store: Store) -> None:
    """Make the default bucket, and write the configuration files."""
    Objects(store).make_bucket(BUCKET)
    write_text(_file(store.root, "sagemaker.yaml"), _CONFIGURATION)
    write_text(_file(store.root, "aws.ini"), _CLIENTS)


def variables(root: Path, url: str, token: str | None) -> dict[str, str]:
    """Return the variables for clients of the service at `url`."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": token or "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(_file(root, "aws.ini")),
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(_file(root, "sagemaker.yaml")),
        "SAGEMAKER_ROLE": f"arn:aws:iam::{ACCOUNT}:role/local",
    }


def _file(root: Path, name: str) -> Path:
    return root / "service" / name
