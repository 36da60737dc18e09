"""`--request FILE.yaml`: any field of the API, under its operation's name, laid over what a launcher builds.

    CreateTrainingJob:
      VpcConfig: {Subnets: [subnet-0123], SecurityGroupIds: [sg-0123]}

Mappings are merged; channels and variants are matched by their names; any other list or value replaces the one there,
and `null` removes it. One file can serve several launchers: each takes the operations that it sends.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError, one_line
from byoc_vision.requests.operations import Request

OPERATIONS = (
    "CreateTrainingJob",
    "CreateHyperParameterTuningJob",
    "CreateModel",
    "CreateEndpointConfig",
    "CreateEndpoint",
    "UpdateEndpoint",
    "CreateTransformJob",
)

#: Lists whose items have a name to match them by.
_NAMED = {"InputDataConfig": "ChannelName", "ProductionVariants": "VariantName"}


def load(files: Iterable[str | Path]) -> dict[str, Request]:
    """Return what the request files say: operation -> fields; of two files the later one has the last word."""
    requests: dict[str, Request] = {}
    for file in files:
        for operation, fields in read_yaml(Path(file)).items():
            if operation not in OPERATIONS:
                raise UserError(f"{file}: there is no operation {operation!r}; give {', '.join(OPERATIONS)}")
            if not isinstance(fields, dict):
                raise UserError(f"{file}: {operation} holds no fields; write them indented below it, as name: value")
            requests[operation] = merged(requests.get(operation, {}), fields, keep_null=True)
    return requests


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the mapping that a YAML or JSON file holds; a name that has two values is refused."""
    import yaml  # here, since most runs need none

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for name, _ in node.value:
                if isinstance(name.value, str) and name.value in seen:
                    raise yaml.MarkedYAMLError(None, None, f"{name.value} is given twice", name.start_mark)
                seen.add(str(name.value))
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as YAML: {one_line(error, None)}") from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{file} does not hold name: value pairs")
    return content


def merged(base: Request, over: Request, keep_null: bool = False) -> Request:
    """Return `base` with the fields of `over` laid over it. Neither is changed."""
    result = dict(base)
    for name, value in over.items():
        there = result.get(name)
        if value is None and not keep_null:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(there if isinstance(there, dict) else {}, value, keep_null)
        elif name in _NAMED and isinstance(value, list):
            result[name] = _merged_items(there or [], value, _NAMED[name], keep_null)
        else:
            result[name] = value
    return result


def role(overrides: dict[str, Request]) -> str | None:
    """Return the execution role that the request files name, if any."""
    for fields in overrides.values():
        definition = fields.get("TrainingJobDefinition")
        for place in (fields, definition if isinstance(definition, dict) else {}):
            if arn := place.get("RoleArn") or place.get("ExecutionRoleArn"):
                return str(arn)
    return None


def _merged_items(base: list[Any], over: list[Any], key: str, keep_null: bool) -> list[Any]:
    result = list(base)
    for item in over:
        name = item.get(key) if isinstance(item, dict) else None
        places = [i for i, there in enumerate(result) if there.get(key) == name]
        if places:
            result[places[0]] = merged(result[places[0]], item, keep_null)
        else:
            result.append(item)
    return result
