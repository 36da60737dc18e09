"""Runs rules over a job and says of each, in the service's words, how it came out."""

import inspect
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError, one_line
from byoc_vision.debugger.events import DamagedError
from byoc_vision.debugger.profile import Profile
from byoc_vision.debugger.rules import DEFAULT, PROFILER_RULES, TENSOR_RULES
from byoc_vision.debugger.rules.base import Finding, NotApplicableError, NotRecordedError, ParameterError, TensorRule
from byoc_vision.debugger.rules.classes import LabelRule
from byoc_vision.debugger.rules.initialization import PoorWeightInitialization
from byoc_vision.debugger.rules.profiling import ProfilerRule
from byoc_vision.debugger.trial import Trial

#: Findings a verdict shows; of the others it says the number.
SHOWN = 20

log = logging.getLogger(__name__)


class RulesError(UserError):
    """The choice of rules cannot be used."""


@dataclass(frozen=True)
class Configuration:
    """A rule that is to run, under a name of the user's choice."""

    name: str
    rule: str
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """How a rule came out: `status` is NoIssuesFound, IssuesFound, or Error (not judged: `details` says why).

    A rule about something the job did not have, such as a GPU, finds no issue and is not `applicable`; one that needs
    more steps or samples than there are finds none and has not `judged`.
    """

    configuration: Configuration
    status: str
    details: str
    findings: list[Finding] = field(default_factory=list)
    advice: str = ""
    applicable: bool = True
    judged: bool = True
    statistics: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as `describe_training_job` does, with the evidence."""
        content: dict[str, Any] = {
            "RuleConfigurationName": self.configuration.name,
            "Rule": self.configuration.rule,
            "RuleParameters": self.configuration.parameters,
            "RuleEvaluationStatus": self.status,
            "StatusDetails": self.details,
            "Applicable": self.applicable,
            "Judged": self.judged and self.applicable and self.status != "Error",
        }
        if self.findings:
            shown = [finding.as_dict() for finding in self.findings[:SHOWN]]
            content |= {"Advice": self.advice, "Findings": shown, "FindingsCount": len(self.findings)}
        if self.statistics:
            content["Statistics"] = self.statistics
        return content


def configurations(choice: str | None) -> list[Configuration]:
    """Return the rules to run: all of the service's tables, names with commas, or those of a JSON file.

    The file holds a list of rule configurations as CreateTrainingJob takes them: `RuleConfigurationName` and
    `RuleParameters` with `rule_to_invoke`. Raises `RulesError`.
    """
    if choice is None:
        return [Configuration(name, name) for name in DEFAULT]
    known = TENSOR_RULES | PROFILER_RULES
    if Path(choice).suffix == ".json" or os.path.isfile(choice):  # Path's own raises for many names.
        try:
            listed = json.loads(Path(choice).read_text(encoding="utf-8"))
            chosen = [_configuration(item) for item in listed]
        except OSError as error:
            raise RulesError(f"{choice} cannot be read ({error.strerror}); check the name") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RulesError(
                f"{choice} is no JSON list of objects with RuleConfigurationName and RuleParameters; write one"
            ) from error
    else:
        chosen = [Configuration(name.strip(), name.strip()) for name in choice.split(",") if name.strip()]
    for item in chosen:
        if item.rule not in known:
            raise RulesError(f"there is no rule {item.rule}; the rules are {', '.join(known)}")
    return chosen


def _configuration(item: dict[str, Any]) -> Configuration:
    parameters = {str(key): str(value) for key, value in (item.get("RuleParameters") or {}).items()}
    name = str(item["RuleConfigurationName"])
    return Configuration(name, parameters.pop("rule_to_invoke", name), parameters)


@dataclass(frozen=True)
class Material:
    """What the rules read: the recording, empty with the reason where there is none; the profile; each test picture's
    label and prediction; and whether the job trained all layers from pretrained weights.
    """

    trial: Trial
    no_trial: str
    profile: Profile
    labels: list[str]
    predicted: list[str]
    fine_tuned: bool = False


def evaluate(chosen: Iterable[Configuration], material: Material) -> list[Verdict]:
    """Return every rule's verdict; a rule that breaks off is an Error and no harm to the others."""
    return [_verdict(configuration, material) for configuration in chosen]


def _verdict(configuration: Configuration, material: Material) -> Verdict:
    try:
        if configuration.rule in TENSOR_RULES:
            return _tensor_verdict(configuration, material)
        return _profiler_verdict(configuration, material)
    except (NotRecordedError, ParameterError) as error:
        return Verdict(configuration, "Error", str(error))
    except NotApplicableError as error:
        return Verdict(configuration, "NoIssuesFound", f"Does not apply: {error}", applicable=False)
    except Exception as error:
        log.debug("%s broke off", configuration.name, exc_info=True)
        kind = "the recording is damaged" if isinstance(error, DamagedError | OSError) else type(error).__name__
        return Verdict(configuration, "Error", f"The rule broke off: {kind} ({one_line(error)}).")


def _made(rule: type[Any], configuration: Configuration, *arguments: object) -> Any:
    """Return the rule with its parameters, or raise `ParameterError` for one it does not have."""
    wanted = inspect.signature(rule).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values()):
        for name in configuration.parameters:
            if name not in wanted or name == "trial":
                names = ", ".join(known for known in wanted if known != "trial")
                raise ParameterError(f"{configuration.rule} has no parameter {name}; its parameters are {names}.")
    return rule(*arguments, **configuration.parameters)


def _tensor_verdict(configuration: Configuration, material: Material) -> Verdict:
    if configuration.rule == PoorWeightInitialization.__name__ and material.fine_tuned:
        # The layers of a trained network differ far more than those of a well initialised one.
        raise NotApplicableError("The weights were not initialised but pretrained.")
    rule: TensorRule = _made(TENSOR_RULES[configuration.rule], configuration, material.trial)
    for step in sorted(material.trial.steps):
        rule.invoke_at_step(step)
    note = ""
    if isinstance(rule, LabelRule) and not rule.seen and material.labels:
        rule.judge_table(material.labels, material.predicted)
        note = " Judged on the test split's predictions."
    if material.no_trial and not rule.seen:
        raise NotRecordedError(material.no_trial)
    rule.check()
    return _outcome(configuration, rule.findings, bool(rule.judged), rule.advice, note)


def _profiler_verdict(configuration: Configuration, material: Material) -> Verdict:
    rule: ProfilerRule = _made(PROFILER_RULES[configuration.rule], configuration)
    findings = list(rule.judge(material.profile))
    return _outcome(configuration, findings, rule.judged, rule.advice, statistics=rule.statistics)


def _outcome(
    configuration: Configuration,
    findings: list[Finding],
    judged: bool,
    advice: str,
    note: str = "",
    statistics: dict[str, Any] | None = None,
) -> Verdict:
    statistics = statistics or {}
    if findings:
        more = f" (the first of {len(findings):,})" if len(findings) > 1 else ""
        details = f"{sentence(findings[0])}{more}.{note}"
        return Verdict(configuration, "IssuesFound", details, findings, advice, statistics=statistics)
    details = f"Nothing found.{note}" if judged else "The job was too short to be judged."
    if statistics:
        details = "Statistics for the report; it never fires."
    return Verdict(configuration, "NoIssuesFound", details, judged=judged, statistics=statistics)


def sentence(finding: Finding) -> str:
    """Return a finding in words."""
    at = "" if finding.step is None else f" at step {finding.step:,}"
    limit = "" if abs(finding.threshold) == float("inf") else f"; threshold {finding.threshold:.4g}"
    return f"{finding.tensor}{at}: {finding.detail}{limit}"
