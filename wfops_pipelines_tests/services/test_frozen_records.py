"""What the application's own role cannot do by plain SQL to promotions, decisions, deployments and snapshots that the use
cases made (§11.2, §11.3, §12, §13, §19): approve without those who have to, and change what has been decided or done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege, UniqueViolation

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Blocked, Denied, WfopsError
from wfops_pipelines.services.retention import run_retention
from wfops_pipelines_tests.services.deployments import cancel as cancel_deployment
from wfops_pipelines_tests.services.deployments import deploy, later, schedule
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.promotions import (
    by_name,
    cancel,
    decide,
    execute,
    promote,
    request,
    roll_back,
    told,
)
from wfops_pipelines_tests.services.snapshots import snapshot

Refused = (CheckViolation, InsufficientPrivilege, UniqueViolation)
P = "UPDATE promotions SET {} WHERE number = %(number)s"


def each_status(new_fleet: NewFleet) -> FleetUnderTest:
    """A promotion of each status, by what people do; two have to approve those to staging, nobody those to prod. And a
    deployment of each end, and snapshots."""
    fleet = new_fleet(("dev", "staging", "prod"))
    fleet.declared("prod")["allow_production"] = True
    fleet.tenant["pipelines"] = [
        {"name": "tried", "stages": [{"source": "dev", "target": "staging", "approvers": 2}]},
        {"name": "run", "stages": [{"source": "dev", "target": "prod"}]}]
    fleet.apply()
    dev, prod = fleet["dev"], fleet["prod"]
    (one,) = dev.create_in_n8n(workflow("One"))
    numbers = {"completed": promote(fleet).number}
    dev.edit_in_n8n(one, "better")
    numbers["rolled_back"] = roll_back(fleet, promote(fleet).number or 0).number
    numbers["cancelled"] = cancel(fleet, request(fleet).number or 0).number
    assert deploy(fleet, schedule(fleet)).status == "completed"
    cancel_deployment(fleet, schedule(fleet, at=later(fleet, hours=1)))
    prod.edit_in_n8n(by_name(prod)["One"], "by hand")
    dev.edit_in_n8n(one, "best")
    numbers["blocked"] = request(fleet).number
    assert deploy(fleet, schedule(fleet)).status == "failed"
    prod.edit_in_n8n(by_name(prod)["One"], "better")
    numbers["approved once"] = request(fleet, target="staging").number
    decide(fleet, numbers["approved once"] or 0)
    numbers["rejected"] = request(fleet, target="staging").number
    decide(fleet, numbers["rejected"] or 0, approve=False, reason="no")
    for status in ("approved", "running"):
        numbers[status] = request(fleet, target="staging").number
        for actor in ("local:grace", "local:linus"):
            decide(fleet, numbers[status] or 0, actor=actor)
    fleet["staging"].sandbox.faults.add("status", method="POST", path=r"/workflows$", status=400)
    failpoints.arm("promotion.failed.before_commit=raise")
    with pytest.raises(failpoints.FailpointReached):
        execute(fleet, numbers["running"])
    failpoints.disarm()
    snapshot(prod)
    dev.create_in_n8n(workflow("Two", active=True))
    asked = request(fleet)
    for method, path in (("POST", r"/publish$"), ("DELETE", r"/workflows/[^/]+$")):
        prod.sandbox.faults.add("status", method=method, path=path, status=400)
    with pytest.raises(WfopsError, match="could not be restored"):
        execute(fleet, asked.number)
    prod.sandbox.faults.clear()
    numbers["failed"] = asked.number
    _numbers.update(numbers)
    for name, number in numbers.items():
        assert told(fleet, number or 0).status == ("pending_approval" if name == "approved once" else name), name
    return fleet


_numbers: dict[str, int | None] = {}
"""The promotions of the scene by what they are."""


def not_refused(fleet: FleetUnderTest, statements: Sequence[str], values: Mapping[str, Any], *, first: str = "") -> list[str]:
    """Which of the statements the application may execute; each is tried by itself, after ``first``, and touches a row."""
    done = []
    with psycopg.connect(fleet.urls.app) as app:
        app.execute("SELECT set_config('wfops.tenant_id', %s, true)", (str(fleet.context.tenant_id),))
        for statement in statements:
            with app.transaction(force_rollback=True):
                if first:
                    assert app.execute(first.encode(), values).rowcount == 1
                try:
                    with app.transaction():
                        touched = app.execute(statement.encode(), values).rowcount
                except Refused:
                    continue
                done.append(f"{statement}: {touched}")
    return done


# -- approving ---------------------------------------------------------------------------------------------------------

DECIDE = ("INSERT INTO promotion_decisions (tenant_id, id, promotion_id, decided_by, decided_through, checksum, approve,"
          " decided_at) SELECT tenant_id, gen_random_uuid(), id, {by}, {through}, {checksum}, {approve}, now()"
          " FROM promotions WHERE number = %(number)s")


def decision(by: str, through: str | None = None, *, checksum: str = "checksum", approve: bool = True) -> str:
    return DECIDE.format(by=f"'{by}'", through="null" if through is None else f"'{through}'", checksum=checksum,
                         approve=approve)


APPROVED = "status = 'approved', approved_checksum = checksum"


def test_a_promotion_is_not_approved_by_fewer_than_its_stage_asks_for(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(each_status)
    values = {"number": _numbers["approved once"]}
    tries = [P.format(changes) for changes in (
        APPROVED, "status = 'approved'", "status = 'running'", f"{APPROVED}, approvers = 0", f"{APPROVED}, approvers = 1",
        "approvers = 0", "approved_checksum = checksum", "status = 'approved', approved_checksum = 'other', checksum = 'other'")]
    assert not_refused(fleet, tries, values) == []
    # What is refused for want of one approval is possible with it, but for another plan than the approved one.
    second = decision("local:linus")
    assert not_refused(fleet, [P.format(APPROVED)], values, first=second) == [f"{P.format(APPROVED)}: 1"]
    assert not_refused(fleet, [P.format("status = 'approved', approved_checksum = 'other'"),
                               P.format("status = 'approved'")], values, first=second) == []
    # A second word that says no is no approval.
    assert not_refused(fleet, tries, values, first=decision("local:linus", approve=False)) == []


def test_a_decision_is_somebody_elses_made_once_and_about_this_plan(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(each_status)
    values = {"number": _numbers["approved once"]}
    assert not_refused(fleet, [
        decision("local:ada"), decision(" LOCAL:Ada\t"), decision("local:mallory", "local:ada"),  # who asked for it
        decision("local:grace"), decision("Local:Grace "), decision("local:mallory", "local:grace"),  # who decided already
        decision("local:grace", approve=False), decision("local:linus", checksum="'other'"),
        "UPDATE promotion_decisions SET approve = true", "DELETE FROM promotion_decisions",
        "UPDATE promotion_decisions SET decided_by = 'local:linus'"], values) == []
    assert not_refused(fleet, [decision("local:linus"), decision("local:ada", approve=False)], values) != []


@pytest.mark.parametrize("status", ["approved", "running", "completed", "rolled_back", "failed", "blocked", "rejected",
                                    "cancelled"])
def test_nothing_is_decided_of_what_waits_for_no_decision(new_fleet: NewFleet, status: str) -> None:
    fleet = new_fleet.as_left_by(each_status)
    assert not_refused(fleet, [decision("local:mallory"), decision("local:mallory", approve=False)],
                       {"number": _numbers[status]}) == []


def test_a_promotion_takes_what_its_stage_asks_for_whoever_writes_the_row(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(each_status)
    copied = ("INSERT INTO promotions (tenant_id, id, number, kind, source_environment_id, target_environment_id, status,"
              " requested_by, requested_at, changed_at, checksum, {}) SELECT tenant_id, gen_random_uuid(), 99, kind,"
              " source_environment_id, target_environment_id, 'pending', 'local:mallory', now(), now(), checksum, {}"
              " FROM promotions WHERE number = %(number)s")
    values = {"number": _numbers["approved once"]}
    assert not_refused(fleet, [copied.format("approved_checksum", "checksum")], values) == []
    forged = [P.format(APPROVED).replace("%(number)s", "99"), P.format("approvers = 0").replace("%(number)s", "99")]
    assert not_refused(fleet, forged, values, first=copied.format("approvers", "0")) == []


def test_people_are_told_by_the_use_case_what_the_database_would_refuse(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(each_status)
    number = _numbers["approved once"] or 0
    with pytest.raises(Denied, match="nobody approves what he or she asked for"):
        decide(fleet, number, actor="Local:ADA")
    with pytest.raises(Blocked, match="has decided about this plan"):
        decide(fleet, number, actor="LOCAL:grace")
    fleet.tenant["pipelines"][0]["stages"][0]["approvers"] = 1  # asked for were two
    fleet.apply()
    assert decide(fleet, number, actor="local:linus").status == "approved"


def test_fewer_approvers_later_do_not_let_through_what_was_asked_for_before(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(each_status)
    asked = request(fleet, target="staging")
    fleet.tenant["pipelines"][0]["stages"][0]["approvers"] = 1
    fleet.apply()
    assert decide(fleet, asked.number or 0).notes == ["1 of 2 approvals are there"]


# -- what was planned, and what has ended ------------------------------------------------------------------------------

FIXED = ["checksum = 'other'", "plan = jsonb_set(plan, '{checksum}', '\"other\"')", "plan = null", "pipeline = 'other'",
         "approvers = approvers + 1", "requested_by = 'local:mallory'", "requested_through = 'local:mallory'",
         "source_environment_id = target_environment_id", "target_environment_id = source_environment_id", "kind = 'restore'",
         "number = 99", "options = '{\"prune\": true}'", "requested_at = now()", "gates = '{}'", "gates = null",
         "results = '{\"workflows\": []}'"]


@pytest.mark.parametrize("status", ["approved once", "approved", "running", "completed", "rolled_back", "failed", "blocked",
                                    "rejected", "cancelled"])
def test_what_was_asked_for_and_planned_never_changes(new_fleet: NewFleet, status: str) -> None:
    fleet = new_fleet.as_left_by(each_status)
    assert not_refused(fleet, [P.format(each) for each in FIXED], {"number": _numbers[status]}) == []


OTHER = "(SELECT o.id FROM {0} o WHERE o.id IS DISTINCT FROM promotions.{1} LIMIT 1)"
ENDED = ["reason = 'something else'", "approved_checksum = 'other'", "run_id = 'other'",
         *(f"{column} = {OTHER.format(table, column)}" for table, column in (
             ("operations", "operation_id"), ("snapshots", "pre_snapshot_id"), ("snapshots", "post_snapshot_id"))),
         "started_at = now()", "ended_at = now()", "rollback_incomplete = not rollback_incomplete",
         "results = jsonb_set(coalesce(results, '{}'), '{verification}', '[\"fine\"]')",
         "results = coalesce(results, '{}') || '{\"promoted_before\": {}, \"more\": 1}'",
         "status = 'running'", "status = 'pending'", "status = 'approved'"]
STILL = ["git_status = 'failed'", "git_commit = 'abc'", "git_pull_request = 'https://x'", "git_error = 'no'",
         "results = coalesce(results, '{}') || '{\"drift_status\": \"IN_SYNC!\"}'", "changed_at = now()"]


@pytest.mark.parametrize("status", ["completed", "rolled_back", "failed", "blocked", "rejected", "cancelled"])
def test_of_a_promotion_that_has_ended_only_what_follows_from_its_end_changes(new_fleet: NewFleet, status: str) -> None:
    fleet = new_fleet.as_left_by(each_status)
    values = {"number": _numbers[status]}
    assert not_refused(fleet, [P.format(each) for each in ENDED], values) == []
    wrote = status in ("completed", "rolled_back")
    if status == "failed":  # it is not restored yet, and that is what it is restored to
        assert not_refused(fleet, [P.format("pre_snapshot_id = null")], values) == []
    allowed = not_refused(fleet, [P.format(each) for each in STILL], values)
    assert len(allowed) == (len(STILL) if wrote else 0), allowed


def test_a_rollback_changes_what_became_of_workflows_and_nothing_that_led_to_it(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(each_status)
    for status in ("completed", "failed"):
        tries = [P.format(f"status = 'rolled_back', {each}") for each in (
            *FIXED[:-1], "operation_id = null", "started_at = now()", "git_commit = 'abc'",
            "results = coalesce(results, '{}') || '{\"promoted_before\": {\"a\": 1}}'")]
        assert not_refused(fleet, tries, {"number": _numbers[status]}) == [], status
    assert not_refused(fleet, [P.format("status = 'rolled_back', rollback_incomplete = true")],
                       {"number": _numbers["completed"]}) == []


def test_a_running_promotion_keeps_what_it_began_with(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(each_status)
    assert not_refused(fleet, [P.format(each) for each in (
        "pre_snapshot_id = null", "operation_id = null", "started_at = now() + interval '1 day'",
        "approved_checksum = 'other'", "status = 'completed', plan = '{}'", "status = 'failed', pre_snapshot_id = null")],
        {"number": _numbers["running"]}) == []


# -- deployments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_deployment_that_has_ended_stays_as_it_ended(new_fleet: NewFleet, status: str) -> None:
    fleet = new_fleet.as_left_by(each_status)
    changes = ("message = 'other'", "run_id = 'other'", "starts_at = now()", "started_at = now()", "heartbeat_at = now()",
               "ended_at = now()", "promotion_id = (SELECT id FROM promotions WHERE number = 3)", "batch_member = 'x'",
               "batch_waves = '{}'", "status = 'scheduled'", "status = 'completed', message = 'fine'", "wave = 3")
    of_it = "SELECT id FROM deployments WHERE status = %(status)s"
    assert not_refused(fleet, [
        *(f"UPDATE deployments SET {each} WHERE status = %(status)s" for each in changes),
        "INSERT INTO deployment_workflows (tenant_id, deployment_id, key, name, action, status, message, at)"
        f" SELECT tenant_id, id, 'k', 'n', 'update', 'success', '', now() FROM deployments WHERE id IN ({of_it})",
        "DELETE FROM deployments WHERE status = %(status)s", "DELETE FROM deployment_workflows",
    ], {"status": status}) == []
    if status == "completed":
        assert not_refused(fleet, ["UPDATE deployment_workflows SET status = 'failed', message = 'x'"
                                   f" WHERE deployment_id IN ({of_it})"], {"status": status}) == []


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_what_a_snapshot_holds_never_changes(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(each_status)
    assert not_refused(fleet, [
        "UPDATE snapshots SET address = 'other'", "UPDATE snapshots SET taken_at = now()", "UPDATE snapshots SET name = 'x'",
        "UPDATE payloads SET body = '\\x00'", "UPDATE payloads SET digest = 'x' || digest",
        "DELETE FROM snapshots WHERE kind = 'manual_backup'",
        "DELETE FROM snapshots s WHERE taken_at = (SELECT max(taken_at) FROM snapshots o WHERE"
        " o.environment_id = s.environment_id)"], {}) == []


def test_retention_removes_snapshots_and_the_promotions_forget_them(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(each_status)
    fleet.clock.pass_time(days=1000)
    done = run_retention(fleet.services, actor="system:retention")
    assert done.failed == {} and sum(each.count for each in done.removed if each.what == "snapshots") > 0
    row = fleet.reading(lambda work: work.promotions.by_number(_numbers["rolled_back"]))
    assert (row.pre_snapshot_id, row.post_snapshot_id) == (None, None)
