"""What belongs to deleted tenants and environments goes after the retention time (§2.7), and operations by age (§18)."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from wfops_pipelines import failpoints
from wfops_pipelines.domain.retention import KeepDays
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.services.incident_reports import show_incident
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.services.promotion_recovery import recover_environment
from wfops_pipelines.services.retention import RetentionRun, run_retention
from wfops_pipelines.store import purge
from wfops_pipelines.store.system import SystemReads
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, run, workflow
from wfops_pipelines_tests.services.incidents import (
    acknowledge,
    drifted,
    fleet_with_incidents,
    incident,
    one_incident,
    resolve,
)
from wfops_pipelines_tests.services.promotions import execute, promoting_fleet, request, told
from wfops_pipelines_tests.services.snapshots import snapshot

INVENTORY = ("workflow_env_map", "canonical_workflow_git_state", "workflow_drift", "drift_check_history", "known_listings",
             "snapshots")
CONTENTS = ("snapshots", "promoted_workflows", "runtime_journal", "payloads")


def retain(fleet: FleetUnderTest, **options: Any) -> RetentionRun:
    """What Dagster does daily."""
    return run_retention(fleet.services, actor="system:retention", **options)


def gone(run: RetentionRun) -> Counter[str]:
    """How many of each kind, of all tenants and environments."""
    assert not run.failed
    found: Counter[str] = Counter()
    for one in run.removed:
        found[one.what] += one.count
    return found


def rows(fleet: FleetUnderTest, table: str, condition: str = "true") -> int:
    """Rows of all tenants."""
    with psycopg.connect(fleet.urls.owner) as owner:
        found = owner.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchone()
    assert found is not None
    return int(found[0])


def secrets(fleet: FleetUnderTest) -> set[str]:
    """Names of secrets of all tenants."""
    with psycopg.connect(fleet.urls.owner) as owner:
        return {f"{slug} {name}" for slug, name in owner.execute(
            "SELECT t.slug, s.name FROM secrets s JOIN tenants t USING (tenant_id)").fetchall()}


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    """Two environments of which much is known."""
    fleet = new_fleet(("prod", "eu"))
    for slug in ("prod", "eu"):
        fleet[slug].in_sync(workflow("Orders"), workflow("Invoices"))
        snapshot(fleet[slug], name="before")
    return fleet


def prune(fleet: FleetUnderTest, *, environment: str | None = None) -> None:
    """A tenant, or one environment of it, is declared no more."""
    if environment is None:
        of_the_deleted = fleet.context.tenant_id
        fleet.document["tenants"] = []
        fleet.apply(prune=True)
        fleet._tenant_id = of_the_deleted  # whose rows are looked at
    else:
        fleet.tenant["environments"] = [each for each in fleet.tenant["environments"] if each["slug"] != environment]
        fleet.apply(prune=True)


def test_a_deleted_tenant_is_purged_after_its_time_and_its_story_stays(fleet: FleetUnderTest) -> None:
    prune(fleet)
    fleet.clock.pass_time(days=89)
    assert not {"secrets", "inventory", "payloads"} & gone(retain(fleet)).keys()
    assert secrets(fleet) == {"acme environment/prod/api_key", "acme environment/eu/api_key"}
    fleet.clock.pass_time(days=2)
    planned = gone(retain(fleet, dry_run=True))
    done = gone(retain(fleet))
    assert done["secrets"] == planned["secrets"] == 2 and done["inventory"] == planned["inventory"] > 6
    assert secrets(fleet) == set()
    assert [rows(fleet, table) for table in (*INVENTORY, "payloads")] == [0] * (len(INVENTORY) + 1)
    assert (rows(fleet, "tenants"), rows(fleet, "environments")) == (1, 2)
    assert {"tenant.deleted", "retention.removed"} <= set(fleet.actions()) and fleet.chain_verifies()
    told = len(fleet.events("retention.removed"))
    assert not gone(retain(fleet))
    assert len(fleet.events("retention.removed")) == told


def test_a_slug_that_was_declared_anew_keeps_what_is_its_own(fleet: FleetUnderTest) -> None:
    document = list(fleet.document["tenants"])
    prune(fleet)
    fleet.clock.pass_time(days=91)
    fleet.document["tenants"] = document
    fleet.apply()
    assert gone(retain(fleet))["secrets"] == 2
    assert secrets(fleet) == {"acme environment/prod/api_key", "acme environment/eu/api_key"}
    assert rows(fleet, "tenants", "deleted_at IS NULL") == 1


def test_other_tenants_keep_theirs(fleet: FleetUnderTest) -> None:
    elsewhere = [{**each, "folder": f"globex/{each['slug']}"} for each in fleet.tenant["environments"]]
    globex = {**fleet.tenant, "slug": "globex", "name": "globex", "environments": elsewhere}
    fleet.document["tenants"].append(globex)
    fleet.apply()
    fleet.document["tenants"] = [globex]
    fleet.apply(prune=True)
    fleet.clock.pass_time(days=1000)
    retain(fleet)
    assert secrets(fleet) == {"globex environment/prod/api_key", "globex environment/eu/api_key"}


def test_a_deleted_environment_is_purged_and_its_neighbours_are_not(fleet: FleetUnderTest) -> None:
    prune(fleet, environment="eu")
    fleet.clock.pass_time(days=91)
    done = retain(fleet)
    assert {(one.environment, one.what) for one in done.removed} >= {("eu", "inventory"), (None, "secrets")}
    assert not [one for one in done.removed if one.environment == "prod" and one.what == "inventory"]
    assert secrets(fleet) == {"acme environment/prod/api_key"}
    assert rows(fleet, "snapshots", "kind = 'manual_backup'") == 2  # what people took stays as long as the tenant
    assert len(fleet["prod"].mappings()) == 2 and fleet["prod"].check().status == "IN_SYNC"
    assert fleet.chain_verifies()
    prune(fleet)
    fleet.clock.pass_time(days=89)
    retain(fleet)
    assert rows(fleet, "snapshots", "kind = 'manual_backup'") == 2  # and for its time, as whatever was its own
    fleet.clock.pass_time(days=2)
    retain(fleet)
    assert rows(fleet, "snapshots") == 0


def test_an_environment_that_was_declared_anew_keeps_its_key(fleet: FleetUnderTest) -> None:
    declared = list(fleet.tenant["environments"])
    prune(fleet, environment="eu")
    fleet.clock.pass_time(days=91)
    fleet.tenant["environments"] = declared
    fleet.apply()
    assert gone(retain(fleet))["inventory"] > 0
    assert secrets(fleet) == {"acme environment/prod/api_key", "acme environment/eu/api_key"}


def test_secrets_wait_for_whoever_declares_the_tenant(fleet: FleetUnderTest) -> None:
    prune(fleet)
    fleet.clock.pass_time(days=91)
    with ThreadPoolExecutor(1) as threads:
        with fleet.services.store.system() as declaring:
            declaring.lock_slug("acme")
            done = threads.submit(retain, fleet)
            eventually(lambda: rows(fleet, "pg_locks", "locktype = 'advisory' AND NOT granted") > 0)
            assert len(secrets(fleet)) == 2
        assert gone(done.result(60))["secrets"] == 2


def test_a_purge_that_is_cut_off_is_gone_on_with(fleet: FleetUnderTest) -> None:
    prune(fleet)
    fleet.clock.pass_time(days=91)
    planned = gone(retain(fleet, dry_run=True))
    failpoints.arm("retention.batch.after_commit=raise@4")
    with pytest.raises(FailpointReached):
        retain(fleet, batch_size=1)
    failpoints.disarm()
    done = gone(retain(fleet, batch_size=3))
    assert (done["secrets"], done["inventory"]) == (planned["secrets"], planned["inventory"] - 4)
    assert secrets(fleet) == set() and rows(fleet, "workflow_env_map") == 0 and fleet.chain_verifies()


def test_the_record_of_promotions_outlives_the_tenant(new_fleet: NewFleet) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"))
    fleet["dev"].create_in_n8n(workflow("Orders"))
    number = request(fleet).number
    execute(fleet, number)
    prune(fleet)
    fleet.clock.pass_time(days=1000)
    assert gone(retain(fleet))["inventory"] > 0
    gone(retain(fleet))
    assert told(fleet, number).status == "completed" and fleet.chain_verifies()
    assert [rows(fleet, table) for table in CONTENTS] == [0] * len(CONTENTS)


def test_the_contents_of_a_deleted_environment_go_though_it_was_promoted_to_last(new_fleet: NewFleet) -> None:
    """Nobody rolls anything back where nothing is."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"))
    fleet["dev"].create_in_n8n(workflow("Orders"))
    number = request(fleet).number
    execute(fleet, number)
    fleet.tenant["pipelines"] = []
    prod = fleet["prod"].row.id
    prune(fleet, environment="prod")
    fleet.clock.pass_time(days=91)
    assert gone(retain(fleet))["inventory"] > 0
    assert [rows(fleet, table, f"environment_id = '{prod}'") for table in CONTENTS if table != "payloads"] == [0, 0, 0]
    assert told(fleet, number).status == "completed" and fleet.chain_verifies()


def test_what_nobody_can_end_any_more_does_not_stay_for_ever(new_fleet: NewFleet) -> None:
    """An open incident keeps contents, and a webhook's delivery waits for a run."""
    fleet = one_incident(new_fleet)
    with psycopg.connect(fleet.urls.owner) as owner:
        owner.execute("INSERT INTO webhook_deliveries (tenant_id, id, repository_id, delivery_id, event, body_digest, status,"
                      " received_at) SELECT tenant_id, id, id, 'd', 'push', 'd', 'received', %s FROM repositories",
                      (fleet.clock.now(),))
    prune(fleet)
    fleet.clock.pass_time(days=89)
    retain(fleet, keep=KeepDays(deliveries=100))
    assert (rows(fleet, "drift_incidents", "drift_snapshot IS NOT NULL"), rows(fleet, "webhook_deliveries")) == (1, 1)
    fleet.clock.pass_time(days=2)
    planned = gone(retain(fleet, dry_run=True))
    assert (planned["incident_payloads"], planned["webhook_deliveries"]) == (1, 1)
    assert gone(retain(fleet))["payloads"] == 2
    assert (rows(fleet, "drift_incidents", "drift_snapshot IS NOT NULL"), rows(fleet, "webhook_deliveries")) == (0, 0)
    assert (rows(fleet, "payloads"), fleet.chain_verifies()) == (0, True)
    assert not gone(retain(fleet))


def test_while_everything_is_paused_nothing_of_deleted_tenants_goes(fleet: FleetUnderTest) -> None:
    pause(fleet.services, "acme", actor="local:ada")  # for ever: nobody resumes what is no more
    prune(fleet)
    fleet.clock.pass_time(days=91)
    pause(fleet.services, None, actor="local:ada")
    for dry_run in (True, False):
        run = retain(fleet, dry_run=dry_run)
        assert (run.total, run.paused) == (0, ["acme"])
    resume(fleet.services, None, actor="local:ada")
    assert gone(retain(fleet))["secrets"] == 2


def test_who_declares_one_tenant_for_long_keeps_nobody_elses_waiting(fleet: FleetUnderTest,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "_WAIT_A_WHILE", text("SET LOCAL lock_timeout = '200ms'"))
    elsewhere = [{**each, "folder": f"globex/{each['slug']}"} for each in fleet.tenant["environments"]]
    fleet.document["tenants"].append({**fleet.tenant, "slug": "globex", "name": "globex", "environments": elsewhere})
    fleet.apply()
    prune(fleet)
    fleet.clock.pass_time(days=91)
    with fleet.services.store.system() as declaring:
        declaring.lock_slug("acme")
        run = retain(fleet)
    assert {slug: error.kind for slug, error in run.failed.items()} == {"acme": "store_busy"}
    assert secrets(fleet) == {"acme environment/prod/api_key", "acme environment/eu/api_key"}
    assert gone(retain(fleet))["secrets"] == 2 and secrets(fleet) == set()


def test_a_tenant_that_is_deleted_meanwhile_keeps_nobody_elses_waiting(fleet: FleetUnderTest,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.clock.pass_time(days=91)
    listed = SystemReads.tenants

    def and_then_deleted(self: SystemReads, **which: Any) -> Any:
        rows = listed(self, **which)
        monkeypatch.setattr(SystemReads, "tenants", listed)
        prune(fleet)
        return rows

    monkeypatch.setattr(SystemReads, "tenants", and_then_deleted)
    assert gone(retain(fleet))["operations"] > 0 and not fleet.document["tenants"]


# -- operations ----------------------------------------------------------------------------------------------------------


def test_operations_go_by_age_with_their_steps_and_the_last_of_an_environment_stays(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("prod",))
    for _ in range(3):
        fleet["prod"].sync()
    *old, last = (row.id for row in fleet.operations())
    fleet.clock.pass_time(days=91)
    assert gone(retain(fleet, keep=KeepDays(operations=100))) == Counter()
    assert gone(retain(fleet)) == Counter(operations=len(old)) and len(old) >= 2
    assert [row.id for row in fleet.operations()] == [last]
    assert rows(fleet, "operation_steps", f"operation_id <> '{last}'") == 0
    assert fleet["prod"].sync().seen == 0 and fleet.chain_verifies()


def test_operations_that_something_tells_of_stay(new_fleet: NewFleet) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"))
    fleet["dev"].create_in_n8n(workflow("Orders"))
    execute(fleet, request(fleet).number)
    snapshot(fleet["prod"], name="by hand")
    fleet.clock.pass_time(days=91)
    retain(fleet)
    left = {str(row.kind) for row in fleet.operations()}
    assert {"promotion", "snapshot"} <= left
    with psycopg.connect(fleet.urls.owner) as owner:
        dangling = owner.execute(
            "SELECT operation_id FROM (SELECT operation_id FROM promotions UNION ALL SELECT operation_id FROM snapshots"
            " UNION ALL SELECT operation_id FROM drift_check_history) t WHERE operation_id IS NOT NULL"
            " AND operation_id NOT IN (SELECT id FROM operations)").fetchall()
    assert dangling == []


def test_the_story_of_an_incident_that_is_open_for_long_stays_whole(new_fleet: NewFleet) -> None:
    fleet = fleet_with_incidents(new_fleet)
    prod = fleet["prod"]
    number, _ = drifted(prod, workflow("Orders"), workflow("Invoices"))
    acknowledge(prod, number)
    failpoints.arm("runtime.record.after_commit=raise@1")
    with pytest.raises(FailpointReached):
        resolve(prod, number, "revert")
    failpoints.disarm()
    fleet.nobody_beats()
    run(recover_environment(fleet.services, fleet.context, prod.row))
    before = show_incident(fleet.services, fleet.context, number)["timeline"]
    assert "runtime.undone" in {event["action"] for event in before}
    for _ in range(4):
        fleet.clock.pass_time(days=91)
        prod.check("scheduled")
        retain(fleet)
    after = show_incident(fleet.services, fleet.context, number)["timeline"]
    assert [event["action"] for event in after[:len(before)]] == [event["action"] for event in before]
    opened = incident(prod, number).opened_by_operation
    assert opened is not None and opened in {row.id for row in fleet.operations()}
