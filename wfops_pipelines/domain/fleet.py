"""fleet.yaml (§2.6): what tenants, environments, repositories, pipelines and policies there should be.

A document is read whole or not at all: each problem is reported with line and field, and no message repeats a value.
The models are in ``fleet_specs`` and are to be imported from here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import ValidationError

from wfops_pipelines.domain import fleet_problems
from wfops_pipelines.domain.errors import DocumentProblem
from wfops_pipelines.domain.fleet_fields import (
    DriftHandlingMode,
    EnvironmentClass,
    NotificationEvent,
    Plan,
    SecretReference,
    WriteMode,
)
from wfops_pipelines.domain.fleet_rules import broken_rules
from wfops_pipelines.domain.fleet_specs import (
    DEFAULT_REPOSITORY,
    CredentialNameSpec,
    CredentialSpec,
    DriftPolicySpec,
    EnvironmentSpec,
    Fleet,
    GitHubAppSpec,
    GitPlace,
    NotificationSpec,
    RepositorySpec,
    SeverityTtls,
    TenantSpec,
)
from wfops_pipelines.domain.pipeline_specs import GateSpec, PipelineSpec, StageSpec, VerificationSpec
from wfops_pipelines.domain.yaml_lines import invalid, read_yaml

__all__ = [
    "DEFAULT_REPOSITORY",
    "CredentialNameSpec",
    "CredentialSpec",
    "DriftHandlingMode",
    "DriftPolicySpec",
    "EnvironmentClass",
    "EnvironmentSpec",
    "Fleet",
    "GateSpec",
    "GitHubAppSpec",
    "GitPlace",
    "NotificationEvent",
    "NotificationSpec",
    "PipelineSpec",
    "Plan",
    "RepositorySpec",
    "SecretReference",
    "SeverityTtls",
    "StageSpec",
    "TenantSpec",
    "VerificationSpec",
    "WriteMode",
    "fleet_json_schema",
    "load_fleet",
]


def load_fleet(text: str, *, file: str, providers: Collection[str] | None = None) -> Fleet:
    """Read a fleet. ``providers`` are the engines that are known; none: not checked.

    :class:`InvalidDocument` with file, line and dotted field (``tenants[0].environments[1].url``) of the first problem,
    and all of them in ``problems``: those of YAML, else those of the schema, else those between fields. No
    message repeats a value.
    """
    document = read_yaml(text, file=file)
    try:
        fleet = Fleet.model_validate(document.value)
    except ValidationError as error:
        found = fleet_problems.of_schema(error, Fleet)
    else:
        found = list(broken_rules(fleet, providers))
    if found:
        raise invalid(file, [
            DocumentProblem(message, document.line_of(path), fleet_problems.dotted(path)) for path, message in found
        ])
    return fleet


def fleet_json_schema() -> dict[str, Any]:
    """The JSON Schema of fleet.yaml, as ``wfops schema fleet`` prints it."""
    schema = Fleet.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "WorkflowOps fleet"}
