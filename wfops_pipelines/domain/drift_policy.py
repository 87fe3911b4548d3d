"""Drift policies (§10.8): what a tenant and an environment said, what then holds, and what follows from it.

A policy is stored as what was said, field by field (:class:`DriftPolicySpec` without what was not said). An environment's
fields override the tenant's; within ``severity_ttls`` each severity does so by itself; what nobody said has its default. A
change of policy is for incidents opened later: the end of an open one's TTL moves only by extension and rising severity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import BaseModel, ValidationError

from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.errors import Blocked, DocumentProblem, InvalidFields
from wfops_pipelines.domain.fleet_fields import DriftHandlingMode, EnvironmentClass
from wfops_pipelines.domain.fleet_problems import dotted, of_schema
from wfops_pipelines.domain.fleet_specs import DriftPolicySpec
from wfops_pipelines.domain.incident import IncidentStatus, Severity

Stored = Mapping[str, Any]
"""A policy as the store holds it: only the fields that were said."""

Origin = Literal["environment", "tenant", "default"]

DEFAULT_TTLS: Final[Mapping[Severity, int]] = MappingProxyType({
    Severity.CRITICAL: 24, Severity.HIGH: 48, Severity.MEDIUM: 72, Severity.LOW: 168,
})
"""Hours until an incident is overdue (§10.3)."""

DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType({
    "enforce_ttl": False,
    "enforce_sla": True,
    "auto_create_incidents": False,
    "auto_create_for_production_only": True,
    "block_on_active_drift": False,
    "require_approval_for": [],
    "closed_incident_retention_days": 365,
    "reconciliation_artifact_retention_days": 180,
    "snapshot_retention_days": 90,
})
"""What holds where nobody said anything: drift is shown, and followed up as an incident only where a policy says so. Then
for production alone: a staging environment drifts for a living."""


@dataclass(frozen=True, slots=True)
class DriftPolicy:
    """What holds for one environment. TTLs are hours, retention is days.

    ``enforce_ttl``: an incident past its TTL blocks promotions. ``enforce_sla``: each escalation notifies.
    ``block_on_active_drift``: any open incident blocks them. ``require_approval_for``: steps that somebody else approves.
    """

    environment_class: EnvironmentClass
    drift_handling_mode: DriftHandlingMode
    severity_ttls: Mapping[Severity, int]
    enforce_ttl: bool
    enforce_sla: bool
    auto_create_incidents: bool
    auto_create_for_production_only: bool
    block_on_active_drift: bool
    require_approval_for: frozenset[ApprovalKind]
    closed_incident_retention_days: int
    reconciliation_artifact_retention_days: int
    snapshot_retention_days: int

    def as_json(self) -> dict[str, Any]:
        """Every field as plain JSON, in one order (``wfops policy show --json``, audit events)."""
        return {
            "environment_class": str(self.environment_class), "drift_handling_mode": str(self.drift_handling_mode),
            "severity_ttls": {str(severity): self.severity_ttls[severity] for severity in reversed(Severity)},
            **{name: getattr(self, name) for name in DEFAULTS},
            "require_approval_for": [str(kind) for kind in ApprovalKind if kind in self.require_approval_for],
        }


def check_policy(document: Mapping[str, Any], *, whose: str = "drift policy") -> dict[str, Any]:
    """The policy in the form in which it is stored; :class:`InvalidFields` names every field that does not fit, and begins
    each line with ``whose`` (``drift policy of acme/prod``). A null says nothing, like a field that is left out."""
    try:
        spec = DriftPolicySpec.model_validate(dict(document))
    except ValidationError as error:
        raise invalid_fields(whose, error, DriftPolicySpec) from None
    said = spec.model_dump(mode="json", exclude_none=True)
    if "require_approval_for" in said:
        said["require_approval_for"] = [str(kind) for kind in ApprovalKind if kind in said["require_approval_for"]]
    if said.get("severity_ttls") == {}:
        del said["severity_ttls"]
    return said


def effective(tenant_policy: Stored | None, environment_override: Stored | None, environment_class: EnvironmentClass | str,
              drift_handling_mode: DriftHandlingMode | str) -> DriftPolicy:
    """What holds for an environment. The stored policies are checked again; :class:`InvalidFields` as in
    :func:`check_policy`."""
    tenant = check_policy(tenant_policy or {}, whose="drift policy of the tenant")
    override = check_policy(environment_override or {}, whose="drift policy of the environment")
    values: dict[str, Any] = {**DEFAULTS, **tenant, **override}
    ttls = {str(severity): hours for severity, hours in DEFAULT_TTLS.items()}
    for said in (tenant, override):
        ttls |= said.get("severity_ttls", {})
    values["severity_ttls"] = MappingProxyType({Severity(name): hours for name, hours in ttls.items()})
    values["require_approval_for"] = frozenset(map(ApprovalKind, values["require_approval_for"]))
    return DriftPolicy(environment_class=EnvironmentClass(environment_class),
                       drift_handling_mode=DriftHandlingMode(drift_handling_mode), **values)


def origins(tenant_policy: Stored | None, environment_override: Stored | None) -> dict[str, Origin]:
    """Who said each field of the effective policy: ``severity_ttls.high``, ``enforce_ttl``, …"""
    tenant, override = _flat(check_policy(tenant_policy or {})), _flat(check_policy(environment_override or {}))
    names = [*(f"severity_ttls.{severity}" for severity in reversed(Severity)), *DEFAULTS]
    return {name: "environment" if name in override else "tenant" if name in tenant else "default" for name in names}


class OpeningReason(StrEnum):
    """Why an incident is opened, or is not; the words are stable (metrics, check history)."""

    OPENED = "opened"
    NO_DRIFT = "no_drift"
    ALREADY_OPEN = "already_open"
    DEVELOPMENT = "development"
    NO_FEATURE = "no_feature"
    SWITCHED_OFF = "switched_off"
    OUT_OF_SCOPE = "out_of_scope"


_SAID: Final = {
    OpeningReason.OPENED: "drift was found and the policy says to follow it up",
    OpeningReason.NO_DRIFT: "there is no drift",
    OpeningReason.ALREADY_OPEN: "the environment has an open incident: this drift belongs to it",
    OpeningReason.DEVELOPMENT: "in a dev environment n8n is the source of truth: it does not drift",
    OpeningReason.NO_FEATURE: "the tenant's plan has no drift incidents (drift_incidents)",
    OpeningReason.SWITCHED_OFF: "the policy does not open incidents by itself (auto_create_incidents)",
    OpeningReason.OUT_OF_SCOPE: "the policy opens incidents for production only (auto_create_for_production_only)",
}


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether a check opens an incident, and why; ``message`` says it to people."""

    opens: bool
    reason: OpeningReason

    @property
    def message(self) -> str:
        """The reason as a sentence."""
        return _SAID[self.reason]


def opens_incident(policy: DriftPolicy, *, has_feature: bool, affected: int, has_open_incident: bool,
                   by_hand: bool = False) -> Opening:
    """Whether drift opens an incident (§10.1): the first reason against it that holds, or ``opened``.

    ``affected`` is the number of workflows that drift, without what ignore rules hide. What somebody opens ``by_hand`` asks
    neither the policy nor its scope.
    """
    rows = (
        (affected == 0, OpeningReason.NO_DRIFT),
        (has_open_incident, OpeningReason.ALREADY_OPEN),
        (policy.environment_class is EnvironmentClass.DEV, OpeningReason.DEVELOPMENT),
        (not has_feature, OpeningReason.NO_FEATURE),
        (not policy.auto_create_incidents and not by_hand, OpeningReason.SWITCHED_OFF),
        (policy.auto_create_for_production_only and policy.environment_class is not EnvironmentClass.PRODUCTION
         and not by_hand, OpeningReason.OUT_OF_SCOPE),
    )
    reason = next((reason for holds, reason in rows if holds), OpeningReason.OPENED)
    return Opening(reason is OpeningReason.OPENED, reason)


def check_touch(policy: DriftPolicy, *, drifted: bool, incident: IncidentStatus | None, incident_reason: str | None,
                override_reason: str | None = None) -> None:
    """Pass when the environment may be written to although it drifted (§10.7); :class:`Blocked` says what is needed.

    ``incident`` and ``incident_reason`` are those of the open one, if any; ``override_reason`` is an admin's: the caller has
    checked the role. It overrides ``manual_override`` alone.
    """
    mode = policy.drift_handling_mode
    if not drifted or mode is DriftHandlingMode.WARN_ONLY:
        return
    if mode is DriftHandlingMode.MANUAL_OVERRIDE:
        if not _given(override_reason):
            raise Blocked("the environment has drifted", fix="an admin can override this with a reason (manual_override)")
        return
    if incident is None or not incident.is_acknowledged:
        raise Blocked("the environment has drifted, and nobody has acknowledged it" if incident is not None else
                      "the environment has drifted, and no incident follows it",
                      fix="acknowledge its incident with a reason first (require_attestation)")
    if not _given(incident_reason):
        raise Blocked("the environment's incident was acknowledged without a reason",
                      fix="say the reason in the incident first (require_attestation)")


def invalid_fields(what: str, error: ValidationError, model: type[BaseModel]) -> InvalidFields:
    """What pydantic found, in the words of fleet.yaml's errors, without the values that were given."""
    return InvalidFields(what, [DocumentProblem(message, None, dotted(path)) for path, message in of_schema(error, model)])


def _flat(said: Stored) -> set[str]:
    return {*said, *(f"severity_ttls.{name}" for name in said.get("severity_ttls", {}))}


def _given(reason: str | None) -> bool:
    return bool((reason or "").strip())
