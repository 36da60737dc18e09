"""What a request's signature says: which service it is for. Any key is accepted; no secret is checked.

All requests must be signed none the less: no page in a browser can sign one, so none can start containers here.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from byoc_vision.local.store import REGION, ServiceError

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<scope>[^, ]+), *SignedHeaders=[a-z0-9;_.-]+, *Signature=[0-9a-f]{64} *"
)
_SCOPE = re.compile(r"(?P<key>[^/]+)/\d{8}/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request")

#: The longest that a URL is good, in seconds.
_WEEK = 7 * 24 * 60 * 60


@dataclass(frozen=True)
class Signature:
    """Who signed a request (the access key's id), and for which service."""

    key: str
    service: str


def read(headers: Mapping[str, str], query: Mapping[str, str]) -> Signature:
    """Return what the request's signature, in its headers or its URL, says; raise `ServiceError` where it is broken."""
    if header := headers.get("authorization"):
        match = _HEADER.fullmatch(header)
        scope = match["scope"] if match else ""
    elif query.get("X-Amz-Signature") and query.get("X-Amz-Algorithm") == "AWS4-HMAC-SHA256":
        scope = query.get("X-Amz-Credential", "")
        _check_time(lambda: _seconds(query["X-Amz-Date"]) + _duration(query["X-Amz-Expires"]))
    elif query.get("AWSAccessKeyId") and query.get("Signature"):  # Version 2, which boto3 still takes for S3's URLs
        _check_time(lambda: int(query["Expires"]))
        return Signature(query["AWSAccessKeyId"], "s3")
    else:
        raise ServiceError("MissingAuthenticationToken", "The request is not signed; sign it with any key.")
    return _in_scope(scope)


def _check_time(end: Callable[[], float]) -> None:
    """Raise `ServiceError` where the time of a URL, given in seconds since 1970, is over or broken."""
    try:
        over = end() < time.time()
    except (KeyError, ValueError, OverflowError):
        raise ServiceError("IncompleteSignature", "The URL does not say in numbers how long it is good.") from None
    if over:
        raise ServiceError("AccessDenied", "Request has expired: the URL's time is over; sign another one.")


def _duration(text: str) -> int:
    if (seconds := int(text)) > _WEEK:
        reason = f"X-Amz-Expires must be less than a week (in seconds), {_WEEK}."
        raise ServiceError("AuthorizationQueryParametersError", reason)
    return seconds


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


@lru_cache(1 << 10)
def _in_scope(scope: str) -> Signature:
    parts = _SCOPE.fullmatch(scope)
    if not parts:
        raise ServiceError("IncompleteSignature", "The request's signature is not one of AWS Signature Version 4.")
    if parts["region"] != REGION and parts["service"] != "iam":
        reason = (
            f"The request is signed for the region {parts['region']}, and this machine is {REGION}; set AWS_REGION."
        )
        raise ServiceError("InvalidSignatureException", reason)
    return Signature(parts["key"], parts["service"])
