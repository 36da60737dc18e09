"""STS and IAM: who the caller is, and what a role is called. Here everyone is one account, and any role exists."""

import json
from collections.abc import Callable
from urllib.parse import quote

from byoc_vision.local.store import ACCOUNT, ServiceError
from byoc_vision.service import xml
from byoc_vision.service.message import Call, Reply

_STS = "https://sts.amazonaws.com/doc/2011-06-15/"
_IAM = "https://iam.amazonaws.com/doc/2010-05-08/"

#: Who may take a role.
_TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}

_Fields = dict[str, str]


def answer(call: Call) -> Reply:
    """Answer a request."""
    form = call.form()
    operation = form.get("Action", "")
    if operation not in _OPERATIONS:
        raise ServiceError("UnknownOperationException", f"STS and IAM on this machine have no {operation!r}.")
    namespace, function = _OPERATIONS[operation]
    content = {f"{operation}Result": function(form), "ResponseMetadata": {"RequestId": call.id}}
    return Reply(200, xml.document(f"{operation}Response", content, namespace), {"Content-Type": "text/xml"})


def failure(error: ServiceError, call: Call, status: int) -> Reply:
    """Return the error as these services give it."""
    content = {"Error": {"Type": "Sender", "Code": error.code, "Message": str(error)}, "RequestId": call.id}
    return Reply(status, xml.document("ErrorResponse", content), {"Content-Type": "text/xml"})


def _identity(form: _Fields) -> _Fields:
    return {"Arn": f"arn:aws:iam::{ACCOUNT}:user/local", "UserId": "local", "Account": ACCOUNT}


def _assumed(form: _Fields) -> dict[str, _Fields]:
    role = form.get("RoleArn", "").rpartition("/")[2]
    name = form.get("RoleSessionName", "local")
    keys = {
        "AccessKeyId": "local",
        "SecretAccessKey": "local",
        "SessionToken": "local",
        "Expiration": "2099-12-31T00:00:00Z",
    }
    user = {"Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}", "AssumedRoleId": f"local:{name}"}
    return {"Credentials": keys, "AssumedRoleUser": user}


def _allowed(form: _Fields) -> dict[str, object]:
    actions = [value for name, value in form.items() if name.startswith("ActionNames.member.")]
    results = [{"EvalActionName": action, "EvalResourceName": "*", "EvalDecision": "allowed"} for action in actions]
    return {"EvaluationResults": {"member": results}, "IsTruncated": False}


def _role(form: _Fields) -> dict[str, _Fields]:
    name = form.get("RoleName", "")
    role = {
        "Path": "/",
        "RoleName": name,
        "RoleId": name,
        "Arn": f"arn:aws:iam::{ACCOUNT}:role/{name}",
        "CreateDate": "2026-01-01T00:00:00Z",
        "AssumeRolePolicyDocument": quote(json.dumps({"Version": "2012-10-17", "Statement": [_TRUST]})),
    }
    return {"Role": role}


_OPERATIONS: dict[str, tuple[str, Callable[[_Fields], object]]] = {
    "GetCallerIdentity": (_STS, _identity),
    "AssumeRole": (_STS, _assumed),
    "GetRole": (_IAM, _role),
    "SimulatePrincipalPolicy": (_IAM, _allowed),
}
