"""Models and endpoint configurations: remembered, and looked at when an endpoint or a transform job needs them."""

from typing import Any

from byoc_vision.local import containers, packages
from byoc_vision.local.files import locate
from byoc_vision.local.store import InvalidError, Request, Store, page, refuse

MODEL, CONFIG = "model", "endpoint-config"

#: Fields of a variant that would change what it does, and that are not done here.
_REFUSED = (
    *("AcceleratorType", "CoreDumpConfig", "ManagedInstanceScaling", "CapacityReservationConfig", "InstancePools"),
    *("EnableSSMAccess", "AcceleratorPartitionLayouts"),
)


def create_model(store: Store, request: Request) -> Request:
    """CreateModel."""
    if "PrimaryContainer" in request and "Containers" in request:
        raise InvalidError("A model has a PrimaryContainer or Containers; give one of them.")
    refuse(request, "InferenceExecutionConfig")
    definition = _only_container(store, request)
    refuse(definition, "AdditionalModelDataSources", "InferenceSpecificationName")
    refuse(definition.get("ModelDataSource", {}).get("S3DataSource", {}), "ManifestS3Uri")
    if definition.get("MultiModelConfig", {}).get("ModelCacheSetting", "Enabled") != "Enabled":
        raise InvalidError("The local engine keeps loaded models; it has no ModelCacheSetting.")
    if "Image" not in definition:
        raise InvalidError("PrimaryContainer needs an Image.")
    uri, compressed = data(definition)
    if is_multi(definition):
        if "ModelDataUrl" not in definition:
            raise InvalidError("A multi-model container needs a ModelDataUrl, a prefix.")
        locate(store, uri)  # models may come to it later
    elif uri and not (locate(store, uri).is_file() if compressed else locate(store, uri).is_dir()):
        raise InvalidError(f"Could not find model data at {uri}.")
    containers.require(definition["Image"])
    return {"ModelArn": _create(store, MODEL, request["ModelName"], request)}


def create_config(store: Store, request: Request) -> Request:
    """CreateEndpointConfig: each of its variants will be one container, whatever its number of instances."""
    refuse(request, "ExplainerConfig")
    shadows = request.get("ShadowProductionVariants", [])
    variants = request["ProductionVariants"] + shadows
    if shadows:
        _check_shadows(store, request, variants)
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) < len(names):
        raise InvalidError("Two production variants have one VariantName.")
    for variant in variants:
        _check_variant(store, variant)
    if any("ServerlessConfig" in variant for variant in variants):
        _check_serverless(request, variants)
    _check_async(store, request.get("AsyncInferenceConfig"), variants)
    if (capture := request.get("DataCaptureConfig", {})).get("EnableCapture"):
        refuse(request, "AsyncInferenceConfig")
        locate(store, capture["DestinationS3Uri"])
    return {"EndpointConfigArn": _create(store, CONFIG, request["EndpointConfigName"], request)}


def container(store: Store, model: str) -> Request:
    """Return the definition of the model's container; its image is there."""
    definition = _only_container(store, store.find(MODEL, model).request)
    containers.require(definition["Image"])
    return definition


def data(definition: Request) -> tuple[str, bool]:
    """Return the URI of a container's model, or nothing, and whether that is an archive rather than a folder."""
    source = definition.get("ModelDataSource", {}).get("S3DataSource", {})
    uri = definition.get("ModelDataUrl") or source.get("S3Uri", "")
    return uri, source.get("CompressionType", "Gzip") == "Gzip"


def is_multi(definition: Request) -> bool:
    """Whether a container loads models as they are asked for; its model's URI is a prefix of archives then."""
    return definition.get("Mode") == "MultiModel"


def _check_variant(store: Store, variant: Request) -> None:
    name = variant["VariantName"]
    refuse(variant, *_REFUSED)
    if "ModelName" not in variant:
        raise InvalidError(f"The variant {name} needs a ModelName; there are no components here.")
    store.find(MODEL, variant["ModelName"])
    if serverless := variant.get("ServerlessConfig"):
        if "InstanceType" in variant or "InitialInstanceCount" in variant:
            raise InvalidError(f"The variant {name} is serverless or on instances; give one of the two.")
        if serverless["MemorySizeInMB"] % 1024:
            raise InvalidError(f"MemorySizeInMB of {name} must be a multiple of 1024.")
    elif "InstanceType" not in variant or "InitialInstanceCount" not in variant:
        raise InvalidError(f"The variant {name} needs InstanceType and InitialInstanceCount, or a ServerlessConfig.")


def _check_serverless(request: Request, variants: list[Request]) -> None:
    """Raise `ServiceError` for what the service does not do at serverless endpoints."""
    if len(variants) > 1:
        raise InvalidError("A serverless endpoint has one variant.")
    for field in ("VpcConfig", "EnableNetworkIsolation"):
        if request.get(field):
            raise InvalidError(f"A serverless endpoint cannot have {field}; leave it out.")
    if request.get("DataCaptureConfig", {}).get("EnableCapture"):
        raise InvalidError("A serverless endpoint captures no data; leave DataCaptureConfig out.")
    serverless = variants[0]["ServerlessConfig"]
    if serverless.get("ProvisionedConcurrency", 0) > serverless["MaxConcurrency"]:
        raise InvalidError("ProvisionedConcurrency must not be above MaxConcurrency.")


def _check_shadows(store: Store, request: Request, variants: list[Request]) -> None:
    if len(variants) != 2:
        raise InvalidError("A shadow variant stands beside one production variant, and alone.")
    if "AsyncInferenceConfig" in request or any("ServerlessConfig" in variant for variant in variants):
        raise InvalidError("A shadow variant needs a real-time endpoint on instances.")
    for variant in variants:
        if "ModelName" in variant and is_multi(_only_container(store, store.find(MODEL, variant["ModelName"]).request)):
            raise InvalidError("A shadow variant cannot be at a multi-model endpoint.")


def _check_async(store: Store, config: Request | None, variants: list[Request]) -> None:
    if config is None:
        return
    output = config["OutputConfig"]
    refuse(output, "NotificationConfig")
    if len(variants) != 1 or "ServerlessConfig" in variants[0]:
        raise InvalidError("An asynchronous endpoint has one variant, on instances.")
    if "S3OutputPath" not in output:
        raise InvalidError("The local engine needs the S3OutputPath of AsyncInferenceConfig.")
    for field in ("S3OutputPath", "S3FailurePath"):
        if field in output:
            locate(store, output[field])


def _only_container(store: Store, request: Request) -> Request:
    """Return the definition of a model's container, with what it has of a model package."""
    definitions = request.get("Containers") or [request.get("PrimaryContainer", {})]
    if package := definitions[0].get("ModelPackageName"):
        own = definitions[0].get("Environment", {})
        definitions = packages.containers(store, package) + definitions[1:]
        definitions[0] = definitions[0] | {"Environment": definitions[0].get("Environment", {}) | own}
    if len(definitions) != 1:
        raise InvalidError("The local engine runs one container of a model.")
    return dict(definitions[0])


def _create(store: Store, kind: str, name: str, request: Request) -> str:
    record, lock = store.create(kind, name, request, used="ValidationException")
    lock.release()
    return record.arn


def _describe(kind: str, field: str) -> Any:
    def describe(store: Store, request: Request) -> Request:
        record = store.find(kind, request[field])
        return {
            "EnableNetworkIsolation": False,
            **record.request,
            **record.status,
            field.replace("Name", "Arn"): record.arn,
        }

    return describe


def _list(kind: str, field: str, key: str) -> Any:
    def list_all(store: Store, request: Request) -> Request:
        descriptions = list(store.told(kind, lambda record: _describe(kind, field)(store, {field: record.name})))
        return page(descriptions, request, key, "", field)

    return list_all


def _delete(kind: str, field: str) -> Any:
    def delete(store: Store, request: Request) -> Request:
        store.find(kind, request[field]).remove()
        return {}

    return delete


OPERATIONS = {
    "CreateModel": create_model,
    "DescribeModel": _describe(MODEL, "ModelName"),
    "ListModels": _list(MODEL, "ModelName", "Models"),
    "DeleteModel": _delete(MODEL, "ModelName"),
    "CreateEndpointConfig": create_config,
    "DescribeEndpointConfig": _describe(CONFIG, "EndpointConfigName"),
    "ListEndpointConfigs": _list(CONFIG, "EndpointConfigName", "EndpointConfigs"),
    "DeleteEndpointConfig": _delete(CONFIG, "EndpointConfigName"),
}
