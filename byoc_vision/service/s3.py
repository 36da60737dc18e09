"""S3: which operation a request asks for, and errors as S3 gives them."""

from byoc_vision.local.store import ACCOUNT, REGION, ServiceError, Store
from byoc_vision.service import s3_buckets, s3_multipart, s3_objects, xml
from byoc_vision.service.message import Call, Reply
from byoc_vision.service.s3_content import ONLY_VERSION, Content

#: (method, what it is asked of, aspect) -> operation.
_OPERATIONS = s3_buckets.OPERATIONS | s3_objects.OPERATIONS | s3_multipart.OPERATIONS

_STATUS = {
    **dict.fromkeys(("NoSuchBucket", "NoSuchKey", "NoSuchUpload"), 404),
    **dict.fromkeys(("AccessDenied", "MissingAuthenticationToken", "InvalidClientTokenId"), 403),
    **{
        "BucketNotEmpty": 409,
        "PreconditionFailed": 412,
        "InvalidRange": 416,
        "InvalidPartNumber": 416,
        "InternalFailure": 500,
    },
    **{"NotImplemented": 501, "ServiceUnavailable": 503, "NotModified": 304},
}

#: S3's own names of errors that all services have.
_CODES = {
    "IncompleteSignature": "AuthorizationHeaderMalformed",
    "InvalidSignatureException": "AuthorizationHeaderMalformed",
    "MissingAuthenticationToken": "AccessDenied",
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "InternalFailure": "InternalError",
}

#: Names in a query that ask for something else than an object or a listing; of these there are some.
_ASPECTS = {"uploads", "uploadId", "delete", "location"}
_LISTING = {"prefix", "delimiter", "marker", "start-after", "continuation-token", "encoding-type", "max-keys"}
_LISTING |= {"key-marker", "version-id-marker"}


#: Headers, and how some begin, without which a request would do something else than it asks for; not done here.
_REFUSED_HEADERS = ("x-amz-tagging",)
_REFUSED = (
    *("x-amz-object-lock", "x-amz-website-redirect", "x-amz-server-side-encryption-customer"),
    *("x-amz-copy-source-server-side-encryption-customer", "x-amz-write-offset", "x-amz-if-match-"),
)

#: Headers with the account that a bucket must belong to.
_OWNERS = ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner")

_LEVELS = {"all": "all buckets", "bucket": "a bucket", "object": "an object"}


class S3:
    """The buckets of a store."""

    def __init__(self, store: Store) -> None:
        self._content = Content(store)

    def __call__(self, call: Call) -> Reply:
        """Answer a request."""
        bucket, key = call.parts
        level = "object" if key else "bucket" if bucket else "all"
        aspects = {name for name, value in call.query.items() if not value or name in _ASPECTS} - _LISTING
        if call.method == "PUT" and "x-amz-copy-source" in call.headers:
            aspects.add("copy")
        aspect = " ".join(sorted(aspects)) if aspects else ""
        operation = _OPERATIONS.get((call.method, level, aspect))
        if call.query.get("versionId", ONLY_VERSION) != ONLY_VERSION:
            raise ServiceError("NotImplemented", "S3 on this machine has no versions of objects.")
        if operation is None:
            asked = f"{call.method}{f' of ?{aspect}' if aspect else ''}"
            raise ServiceError("NotImplemented", f"S3 on this machine has no {asked} for {_LEVELS[level]}.")
        for name, value in call.headers.items():
            if name in _REFUSED_HEADERS or name.startswith(_REFUSED):
                raise ServiceError("NotImplemented", f"S3 on this machine has no {name}; leave it out.")
            if name in _OWNERS and value != ACCOUNT:
                raise ServiceError("AccessDenied", f"All buckets on this machine belong to the account {ACCOUNT}.")
        if (
            level == "bucket" and call.method != "PUT"
        ) or "uploadId" in call.query:  # of others the object is looked for
            self._content.objects.bucket(bucket)
        return operation(self._content, call, bucket, key)


def failure(error: ServiceError, call: Call) -> Reply:
    """Return the error as S3 gives it."""
    status = _STATUS.get(error.code, 400)
    content = {"Code": _CODES.get(error.code, error.code), "Message": str(error), "Resource": call.path}
    headers = {"Content-Type": "application/xml"}
    if error.code == "InvalidSignatureException":  # with the right region, clients try again
        content["Region"] = headers["x-amz-bucket-region"] = REGION
    body = b"" if status == 304 else xml.document("Error", content | {"RequestId": call.id})
    return Reply(status, body, headers)
