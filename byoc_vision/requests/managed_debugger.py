"""The fields that hand a training job to SageMaker's own Debugger and Profiler.

Only for accounts that had the managed Debugger when it closed to new customers; the images need it for nothing.
"""

from byoc_vision.contract.errors import UserError
from byoc_vision.engine import ACCOUNT, REGION
from byoc_vision.requests.operations import Request

RULES = ("VanishingGradient", "Overfit", "Overtraining", "PoorWeightInitialization", "LossNotDecreasing")
PROFILER_RULES = ("LowGPUUtilization", "CPUBottleneck", "IOBottleneck", "ProfilerReport")

#: Collections of tensors that the rules read, and the expression that finds the one smdebug has no name for.
_COLLECTIONS = {"losses": None, "gradients": None, "relu_input": ".*relu_input"}

#: Steps between two that are recorded.
_INTERVAL = 50

REFUSED = "this account has no managed Debugger; train without it: jobs write their own report"


def managed(region: str, output: str) -> Request:
    """Return the fields for CreateTrainingJob: hook, profiler, and both kinds of rules with the region's image."""
    image = _rule_image(region)
    collections = [
        {
            "CollectionName": name,
            "CollectionParameters": {"save_interval": str(_INTERVAL)} | ({"include_regex": regex} if regex else {}),
        }
        for name, regex in _COLLECTIONS.items()
    ]
    return {
        "DebugHookConfig": {"S3OutputPath": f"{output}/debugger", "CollectionConfigurations": collections},
        "DebugRuleConfigurations": [_rule(name, image) for name in RULES],
        "ProfilerConfig": {"S3OutputPath": f"{output}/profiler", "ProfilingIntervalInMilliseconds": 500},
        "ProfilerRuleConfigurations": [_rule(name, image) for name in PROFILER_RULES],
    }


def _rule(name: str, image: str) -> Request:
    return {"RuleConfigurationName": name, "RuleEvaluatorImage": image, "RuleParameters": {"rule_to_invoke": name}}


def _rule_image(region: str) -> str:
    if region == REGION:
        return f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sagemaker-debugger-rules:latest"
    from sagemaker.core.image_uris import retrieve  # seconds, so only here

    try:
        return str(retrieve("debugger", region))
    except ValueError:
        raise UserError(f"the managed Debugger is not offered in {region}; train without it") from None
