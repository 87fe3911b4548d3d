"""Whether the credentials of the table are in each n8n, and what workflows use beside (§11.5)."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.domain.errors import Refused, Unreachable
from wfops_pipelines.n8n.sandbox.records import Credential
from wfops_pipelines.services.credential_checks import CredentialCheck, check_credentials
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, run, with_credential, workflow

BASIC = "httpBasicAuth"


def row(key: str, kind: str = BASIC, **environments: Any) -> dict[str, Any]:
    return {"key": key, "type": kind, "environments": environments}


def made(environment: Environment, name: str, kind: str = BASIC) -> str:
    """Somebody makes a credential in n8n; its id."""
    state = environment.sandbox.state
    with state.lock:
        credential = Credential(state.free_id(), name, kind, "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z")
        state.credentials[credential.id] = credential
    return credential.id


def check(fleet: FleetUnderTest, *slugs: str) -> list[CredentialCheck]:
    rows = fleet.services.environments(fleet.context, list(slugs))
    return run(check_credentials(fleet.services, fleet.context, rows))


def presences(found: CredentialCheck) -> dict[str, str | None]:
    return {each.use.key: None if each.presence is None else str(each.presence) for each in found.credentials}


def test_each_credential_of_the_table_is_looked_for_by_id_and_by_type_and_name(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    prod = fleet["prod"]
    renamed = made(prod, "renamed")
    for name in ("there", "twice", "twice"):
        made(prod, name)
    made(prod, "of another type", "httpHeaderAuth")
    fleet.tenant["credentials"] = [
        row("by-name", prod={"name": "there"}), row("by-id", prod={"name": "old name", "id": renamed}),
        row("stale-id", "httpHeaderAuth", prod={"name": "of another type", "id": "gone"}),
        row("absent", prod={"name": "nowhere"}), row("other-type", prod={"name": "of another type"}),
        row("unclear", prod={"name": "twice"})]
    fleet.apply()
    (found,) = check(fleet, "prod")
    assert presences(found) == {"by-name": "present", "by-id": "present", "stale-id": "present", "absent": "absent",
                                "other-type": "absent", "unclear": "ambiguous"}
    assert (found.missing, found.error, found.not_listed) == (True, None, None)


def test_what_workflows_use_is_named_with_and_without_a_key(new_fleet: NewFleet) -> None:
    fleet = new_fleet(credentials=[row("stripe", prod={"name": "stripe-live"})])
    prod = fleet["prod"]
    made(prod, "stripe-live")
    _, _, archived, _ = prod.create_in_n8n(with_credential("Pay", "stripe-live"), with_credential("Mail", "smtp"),
                                           with_credential("Old", "forgotten"), workflow("None"))
    prod.archive_in_n8n(archived)
    assert check(fleet)[0].synced_at is None
    prod.sync()
    (found,) = check(fleet)
    assert [(use.type, use.name, use.used_by) for use in found.unmapped] == [(BASIC, "smtp", ("Mail",))]
    assert found.credentials[0].use.used_by == ("Pay",)
    assert found.missing and found.synced_at is not None
    shown = found.as_json()
    assert shown["credentials"] == [{"key": "stripe", "type": BASIC, "name": "stripe-live", "id": None,
                                     "used_by": ["Pay"], "presence": "present"}]
    assert shown["unmapped"] == [{"type": BASIC, "name": "smtp", "used_by": ["Mail"]}]


def test_a_key_that_is_used_where_a_stage_leads_here_from_needs_a_name_here(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging", "prod"), pipelines=[{"name": "standard", "stages": [
        {"source": "dev", "target": "staging"}, {"source": "staging", "target": "prod"}]}], credentials=[
        row("stripe", dev={"name": "stripe"}), row("unused", dev={"name": "unused"}),
        row("mail", dev={"name": "smtp"}, staging={"name": "smtp-stg"})])
    fleet["dev"].create_in_n8n(with_credential("Pay", "stripe"), with_credential("Mail", "smtp"))
    for slug in ("dev", "staging", "prod"):
        fleet[slug].sync()
    made(fleet["staging"], "smtp-stg")
    staging, prod = check(fleet, "staging", "prod")
    assert staging.as_json()["expected"] == [{"key": "stripe", "type": BASIC, "used_by": ["Pay (dev)"]}]
    assert staging.missing
    assert (prod.expected, prod.missing) == ([], False)  # nothing in staging uses one


def test_an_environment_where_all_is_there_misses_nothing(new_fleet: NewFleet) -> None:
    fleet = new_fleet(credentials=[row("stripe", prod={"name": "stripe-live"})])
    made(fleet["prod"], "stripe-live")
    fleet["prod"].create_in_n8n(with_credential("Pay", "stripe-live"))
    fleet["prod"].sync()
    assert not check(fleet)[0].missing


def test_1x_does_not_tell_and_what_cannot_be_told_is_not_missing(new_fleet: NewFleet) -> None:
    fleet = new_fleet(generation=1, credentials=[row("stripe", prod={"name": "stripe-live", "id": "7"})])
    (found,) = check(fleet)
    assert (presences(found), found.not_listed, found.missing) == ({"stripe": None}, "n8n 1.x does not list credentials", False)


def test_a_key_without_the_scope_is_said_and_a_refused_one_is_an_error(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), credentials=[row("stripe", prod={"name": "stripe-live"})])
    made(fleet["prod"], "stripe-live")
    fleet["prod"].sandbox.faults.add("forbid", path="/credentials")
    (found,) = check(fleet, "prod")
    assert "does not allow" in str(found.not_listed) and presences(found) == {"stripe": None} and found.error is None
    fleet["prod"].sandbox.faults.clear()
    fleet["prod"].sandbox.faults.add("refuse", path="/credentials")
    (found,) = check(fleet, "prod")
    assert isinstance(found.error, Refused)


@pytest.mark.parametrize("fault", ["status", "reset"])
def test_an_environment_that_cannot_be_asked_does_not_keep_others_from_it(new_fleet: NewFleet, fault: str) -> None:
    fleet = new_fleet(("staging", "prod"), credentials=[
        row("stripe", staging={"name": "stripe-stg"}, prod={"name": "stripe-live"})])
    made(fleet["prod"], "stripe-live")
    fleet["staging"].sandbox.faults.add(fault)
    staging, prod = check(fleet)
    assert isinstance(staging.error, Unreachable) and presences(staging) == {"stripe": None}
    assert presences(prod) == {"stripe": "present"}
