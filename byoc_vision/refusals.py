"""What the service and the network refuse, told in one sentence."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from typing import Any

from byoc_vision.contract.errors import UserError, one_line

_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError")

#: Words of the service's answer -> what to do about it. The first that match are taken.
_ADVICE = [
    (r"ResourceLimitExceeded|LimitExceeded", "ask for more under Service Quotas in the console, or take another type"),
    (r"ExpiredToken|InvalidClientTokenId|UnrecognizedClient|InvalidSignature", "renew the AWS credentials"),
    (r"NoSuchBucket", "the bucket does not exist; check its name"),
    (r"PermanentRedirect|AuthorizationHeaderMalformed", "the bucket is in another region than AWS_REGION names"),
    (
        r"[Cc]ould not find endpoint|Endpoint \S+ (of account \S+ )?not found",
        "check the name, and where it was made; byoc deploy makes one",
    ),
    (r"[Cc]ould not find", "check the name, and where it was made"),
    (r"[Rr]equested image .*not found|image .* does not exist", "run ./push.sh and try again"),
    (r"AssumeRole|assume the role|[Rr]ole .* (invalid|not exist)", "the role must trust sagemaker.amazonaws.com"),
    (r"AccessDenied|Forbidden|^403", "the credentials or the role lack that permission"),
    (r"already exist|ResourceInUse", "the name is in use; take another one"),
    (r"Throttling|TooManyRequests", "AWS asks for fewer requests; try again in a minute"),
]


class NoAccountError(UserError):
    """AWS was asked for, and nothing says which account or region."""


def names_no_account(error: Exception) -> bool:
    """Whether nothing says which account or region is meant, as where somebody meant this machine."""
    return isinstance(error, NoAccountError) or type(error).__name__ in _NO_CREDENTIALS


def code_of(error: Exception) -> str:
    """Return the service's code of a botocore `ClientError`, else nothing."""
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _not_found(error: Exception) -> bool:
    """Whether the service says that what was named does not exist: it has three codes for that."""
    return code_of(error) in ("ValidationException", "ResourceNotFound", "ResourceNotFoundException")


def unless_missing(call: Callable[..., Any], **arguments: str) -> dict[str, Any] | None:
    """Return the service's answer; None where it says that what the arguments name does not exist."""
    try:
        return dict(call(**arguments))
    except Exception as error:
        if not _not_found(error):
            raise
        return None


def _is_full(error: OSError) -> bool:
    """Whether there was no room; of a folder's copy only the text says so."""
    codes = (errno.ENOSPC, errno.EDQUOT)
    several = isinstance(error, shutil.Error) and any(f"[Errno {code}]" in str(error) for code in codes)
    return several or error.errno in codes


def sentence(error: Exception) -> str | None:
    """Return what `error` says to the user, in one sentence; None where it is not the user's to put right."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, BrokenPipeError):
        return "the program that read the output has ended"
    if isinstance(error, OSError) and _is_full(error):
        return f"there is no room left for {error.filename or 'what is to be written'}; make some and try again"
    if isinstance(error, FileNotFoundError) and error.filename is None:  # nothing else is asked for without a name
        return "the current folder is not there any more; change to another one"
    if isinstance(error, OSError) and error.filename:
        misnamed = isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError)
        return f"{error.filename}: {error.strerror}{'; check the name' if misnamed else ''}"
    kind, text = type(error).__name__, one_line(error, None)
    if not type(error).__module__.startswith(("botocore", "boto3", "s3transfer")):
        return None
    if kind in _NO_CREDENTIALS:
        return "there are no AWS credentials; set AWS_PROFILE, or log in as you do for the AWS command line"
    if kind in ("ProfileNotFound", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "LoginRefreshRequired"):
        return f"the AWS profile cannot be used ({text}); log in again, or set AWS_PROFILE"
    if kind in ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"):
        if os.environ.get("AWS_ENDPOINT_URL"):  # as in a shell that was led to a service which has ended since
            return f"AWS does not answer ({text}); byoc service start, or unset AWS_ENDPOINT_URL, which names it"
        return f"AWS does not answer ({text}); check the network and AWS_REGION"
    if kind == "InvalidRegionError":
        return f"the region cannot be one ({text}); set AWS_REGION to one such as us-east-1"
    if kind == "S3UploadFailedError":
        text = text.rpartition("An error occurred ")[2] or text
    code, message = code_of(error), getattr(error, "response", {}).get("Error", {}).get("Message") or text
    advice = next((advice for words, advice in _ADVICE if re.search(words, f"{code} {text}")), "nothing was changed")
    return f"{getattr(error, 'operation_name', 'the request')} was refused ({code}: {message.rstrip('.')}); {advice}"
