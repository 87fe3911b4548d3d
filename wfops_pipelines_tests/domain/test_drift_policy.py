"""Drift policies (§10.8): what was said, what holds, and what follows."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.drift_policy import (
    DEFAULT_TTLS,
    DEFAULTS,
    DriftPolicy,
    OpeningReason,
    check_policy,
    check_touch,
    effective,
    opens_incident,
    origins,
)
from wfops_pipelines.domain.errors import Blocked, InvalidFields, UsageError
from wfops_pipelines.domain.fleet_fields import DriftHandlingMode, EnvironmentClass
from wfops_pipelines.domain.fleet_specs import DriftPolicySpec
from wfops_pipelines.domain.incident import IncidentStatus, Severity
from wfops_pipelines_tests.domain.workflow_strategies import law

DEV, STAGING, PRODUCTION = EnvironmentClass


def policy(tenant: dict[str, Any] | None = None, override: dict[str, Any] | None = None,
           environment_class: EnvironmentClass = PRODUCTION, mode: str = "warn_only") -> DriftPolicy:
    return effective(tenant, override, environment_class, mode)


def test_what_nobody_said_has_its_default() -> None:
    found = policy()
    assert dict(found.severity_ttls) == {"critical": 24, "high": 48, "medium": 72, "low": 168}
    assert found.as_json() == {
        "environment_class": "production", "drift_handling_mode": "warn_only",
        "severity_ttls": {"critical": 24, "high": 48, "medium": 72, "low": 168},
        "enforce_ttl": False, "enforce_sla": True, "auto_create_incidents": False,
        "auto_create_for_production_only": True, "block_on_active_drift": False, "require_approval_for": [],
        "closed_incident_retention_days": 365, "reconciliation_artifact_retention_days": 180, "snapshot_retention_days": 90,
    }


def test_every_field_of_the_policy_has_a_default() -> None:
    assert {*DEFAULTS, "severity_ttls"} == set(DriftPolicySpec.model_fields)
    assert set(DEFAULT_TTLS) == set(Severity)


def test_an_environment_overrides_field_by_field_and_severity_by_severity() -> None:
    found = policy({"enforce_ttl": True, "block_on_active_drift": True, "severity_ttls": {"critical": 12, "low": 100}},
                   {"block_on_active_drift": False, "severity_ttls": {"critical": 4}})
    assert (found.enforce_ttl, found.block_on_active_drift) == (True, False)
    assert dict(found.severity_ttls) == {"critical": 4, "high": 48, "medium": 72, "low": 100}


def test_an_environment_can_take_every_approval_away() -> None:
    assert policy({"require_approval_for": ["close", "reconcile"]}).require_approval_for == {
        ApprovalKind.CLOSE, ApprovalKind.RECONCILE}
    assert policy({"require_approval_for": ["close"]}, {"require_approval_for": []}).require_approval_for == frozenset()


def test_null_says_nothing() -> None:
    assert check_policy({"enforce_ttl": None, "severity_ttls": {"low": None}}) == {}
    assert policy({"enforce_ttl": True}, {"enforce_ttl": None}).enforce_ttl


def test_who_said_what_can_be_told() -> None:
    found = origins({"enforce_ttl": True, "enforce_sla": False, "severity_ttls": {"low": 9, "high": 9}},
                    {"enforce_sla": True, "severity_ttls": {"high": 5}})
    assert found["enforce_ttl"] == "tenant"
    assert found["enforce_sla"] == "environment"
    assert found["block_on_active_drift"] == "default"
    assert [found[f"severity_ttls.{s}"] for s in ("critical", "high", "low")] == ["default", "environment", "tenant"]


@pytest.mark.parametrize(("document", "said"), [
    ({"enforce_tll": True}, "enforce_tll: is no field here (did you mean enforce_ttl?)"),
    ({"severity_ttls": {"low": 0}}, "severity_ttls.low: should be greater than 0"),
    ({"severity_ttls": {"low": "10"}}, "severity_ttls.low: should be a whole number"),
    ({"severity_ttls": {"urgent": 10}}, "severity_ttls.urgent: is no field here"),
    ({"require_approval_for": ["close", "open"]}, "require_approval_for[1]: should be 'acknowledge'"),
    ({"closed_incident_retention_days": -3}, "closed_incident_retention_days: should be greater than 0"),
    ({"auto_create_incidents": "perhaps"}, "auto_create_incidents: should be true or false"),
])
def test_what_does_not_fit_is_refused_by_its_name(document: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        check_policy(document, whose="drift policy of acme/prod")
    assert isinstance(refused.value, UsageError)
    assert str(refused.value).startswith(f"drift policy of acme/prod: {said}")


def test_all_mistakes_are_named_at_once_and_no_value_is_repeated() -> None:
    with pytest.raises(InvalidFields) as refused:
        check_policy({"enforce_ttl": "hunter2", "severity_ttls": {"low": "hunter2"}})
    assert [problem.field for problem in refused.value.problems] == ["severity_ttls.low", "enforce_ttl"]
    assert "hunter2" not in str(refused.value)


documents = st.fixed_dictionaries({}, optional={
    **{name: st.booleans() for name, value in DEFAULTS.items() if isinstance(value, bool)},
    "severity_ttls": st.dictionaries(st.sampled_from([str(s) for s in Severity]), st.integers(1, 8760), max_size=4),
    "require_approval_for": st.lists(st.sampled_from([str(kind) for kind in ApprovalKind]), max_size=6),
    "closed_incident_retention_days": st.integers(1, 10_000),
})


@law
@given(documents, documents)
def test_each_field_comes_from_the_first_who_said_it(tenant: dict[str, Any], override: dict[str, Any]) -> None:
    found, by = policy(tenant, override).as_json(), origins(tenant, override)
    for name in DEFAULTS:
        said = {"environment": override, "tenant": tenant, "default": DEFAULTS}[by[name]][name]
        assert found[name] == said if name != "require_approval_for" else set(found[name]) == set(said)
        assert by[name] == ("environment" if name in override else "tenant" if name in tenant else "default")


@law
@given(documents)
def test_the_stored_form_says_the_same_and_is_stable(document: dict[str, Any]) -> None:
    stored = check_policy(document)
    assert check_policy(stored) == stored
    assert policy(stored) == policy(document) == policy(None, document)


# -- opening an incident ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("affected", "already", "feature", "on", "production_only", "environment_class"), list(product(
    [0, 3], [False, True], [False, True], [False, True], [False, True], EnvironmentClass)))
def test_an_incident_is_opened_only_where_everything_says_so(affected: int, already: bool, feature: bool, on: bool,
                                                             production_only: bool,
                                                             environment_class: EnvironmentClass) -> None:
    chosen = policy({"auto_create_incidents": on, "auto_create_for_production_only": production_only}, None,
                    environment_class)
    found = opens_incident(chosen, has_feature=feature, affected=affected, has_open_incident=already)
    in_scope = environment_class is PRODUCTION or (environment_class is STAGING and not production_only)
    assert found.opens is (affected > 0 and not already and feature and on and in_scope)
    assert found.opens is (found.reason is OpeningReason.OPENED)
    assert found.message


@pytest.mark.parametrize(("changed", "reason"), [
    ({}, "opened"), ({"affected": 0}, "no_drift"), ({"has_open_incident": True}, "already_open"),
    ({"has_feature": False}, "no_feature"),
])
def test_the_reason_is_the_first_that_holds(changed: dict[str, Any], reason: str) -> None:
    arguments: dict[str, Any] = {"has_feature": True, "affected": 1, "has_open_incident": False, **changed}
    assert opens_incident(policy({"auto_create_incidents": True}), **arguments).reason == reason


def test_the_policy_keeps_staging_dev_and_what_is_switched_off_apart() -> None:
    def reason(said: dict[str, Any], environment_class: EnvironmentClass) -> str:
        return opens_incident(policy({"auto_create_incidents": True} | said, None, environment_class), has_feature=True, affected=1,
                              has_open_incident=False).reason

    assert reason({}, STAGING) == "out_of_scope"
    assert reason({"auto_create_for_production_only": False}, STAGING) == "opened"
    assert reason({"auto_create_for_production_only": False}, DEV) == "development"
    assert reason({"auto_create_incidents": False}, PRODUCTION) == "switched_off"
    assert opens_incident(policy(), has_feature=True, affected=1, has_open_incident=False).reason == "switched_off"


def test_what_somebody_opens_by_hand_asks_neither_policy_nor_scope() -> None:
    quiet = policy({"auto_create_incidents": False}, None, STAGING)
    assert opens_incident(quiet, has_feature=True, affected=1, has_open_incident=False, by_hand=True).opens
    assert not opens_incident(quiet, has_feature=True, affected=0, has_open_incident=False, by_hand=True).opens


# -- touching a drifted environment ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", list(DriftHandlingMode))
def test_an_environment_in_sync_can_always_be_touched(mode: DriftHandlingMode) -> None:
    check_touch(replace(policy(), drift_handling_mode=mode), drifted=False, incident=None, incident_reason=None)


def test_warn_only_never_blocks() -> None:
    check_touch(policy(), drifted=True, incident=None, incident_reason=None)


def test_manual_override_wants_an_admins_reason() -> None:
    chosen = policy(mode="manual_override")
    with pytest.raises(Blocked, match="admin can override"):
        check_touch(chosen, drifted=True, incident=IncidentStatus.ACKNOWLEDGED, incident_reason="known", override_reason=" ")
    check_touch(chosen, drifted=True, incident=None, incident_reason=None, override_reason="the hotfix goes with it")


@pytest.mark.parametrize("incident", [None, *IncidentStatus])
@pytest.mark.parametrize("reason", [None, " ", "known"])
def test_attestation_wants_an_acknowledged_incident_with_a_reason(incident: IncidentStatus | None, reason: str | None) -> None:
    chosen = policy(mode="require_attestation")
    if incident in {"acknowledged", "stabilized", "reconciled"} and reason == "known":
        check_touch(chosen, drifted=True, incident=incident, incident_reason=reason)
        return
    with pytest.raises(Blocked, match="require_attestation"):
        check_touch(chosen, drifted=True, incident=incident, incident_reason=reason, override_reason="I am an admin")
