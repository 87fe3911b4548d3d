"""What the database itself says of incidents (§10): the domain's lifecycle, and a snapshot that never changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege, RaiseException
from psycopg.types.json import Jsonb

from wfops_pipelines.domain.approval import ApprovalStatus, allowed_approval_pairs
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import StoreError
from wfops_pipelines.domain.incident import IncidentStatus, allowed_pairs, forced_only_pairs
from wfops_pipelines.store.migrations.incidents import APPROVALS, FIRST, TERMINAL, TRANSITIONS
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.store.stores import NOON, new_environment

SNAPSHOT = {"workflows": [{"name": "Orders", "kind": "modified"}]}
ENDED = ("closed", "cancelled")


def new_incident(store: Store, context: Context, environment_id: UUID | None = None) -> UUID:
    """A detected incident, in an environment of its own."""
    incident_id = uuid4()
    environment_id = environment_id or new_environment(store, context, f"e{incident_id.hex[:8]}")
    with store.bookkeeping(context, "test.incident") as work:
        work.incidents.add(id=incident_id, environment_id=environment_id, status="detected", severity="low", title="Drift",
                           affected=1, drift_fingerprint="f", detected_at=NOON, last_seen_at=NOON,
                           expires_at=NOON + timedelta(hours=168), drift_snapshot=SNAPSHOT)
    return incident_id


@pytest.fixture
def app(store_urls: Urls, acme: Context) -> Iterator[psycopg.Connection]:
    """The application's own connection, as the tenant; nothing of it lasts."""
    with psycopg.connect(store_urls.app) as connection:
        connection.execute("SELECT set_config('wfops.tenant_id', %s, false)", (str(acme.tenant_id),))
        yield connection
        connection.rollback()


def move(connection: psycopg.Connection, incident_id: UUID, status: str, *, forced: bool = False) -> int:
    return connection.execute("UPDATE drift_incidents SET status = %s, forced = %s WHERE id = %s",
                              (status, forced, incident_id)).rowcount


def test_the_table_of_the_trigger_is_the_domains() -> None:
    assert sorted((before, after) for before, follow in TRANSITIONS.items() for after in follow) == allowed_pairs()
    assert sorted((before, after) for before, follow in APPROVALS.items() for after in follow) == allowed_approval_pairs()
    assert FIRST == IncidentStatus.DETECTED
    assert set(TERMINAL) == {str(status) for status in IncidentStatus if not status.is_open}


@pytest.mark.parametrize("forced", [False, True], ids=["regular", "forced"])
@pytest.mark.parametrize(("before", "after"), [(b, a) for b, a in product(IncidentStatus, IncidentStatus) if b is not a],
                         ids=str)
def test_the_database_allows_a_step_exactly_where_the_domain_does(
        store: Store, acme: Context, app: psycopg.Connection, before: IncidentStatus, after: IncidentStatus,
        forced: bool) -> None:
    incident_id = new_incident(store, acme)
    if before is not IncidentStatus.DETECTED:
        move(app, incident_id, before, forced=True)
    pairs = allowed_pairs() + (forced_only_pairs() if forced else [])
    if (str(before), str(after)) in pairs:
        assert move(app, incident_id, after, forced=forced) == 1
    else:
        with pytest.raises(CheckViolation, match=f"that is {before} cannot become {after}"):
            move(app, incident_id, after, forced=forced)


def test_a_step_that_was_forced_forces_no_later_one(store: Store, acme: Context) -> None:
    incident_id = new_incident(store, acme)
    with store.bookkeeping(acme, "test") as work:
        work.incidents.change(incident_id, status="stabilized", forced=True)
    with pytest.raises(StoreError, match="cannot become acknowledged"), store.bookkeeping(acme, "test") as work:
        work.incidents.change(incident_id, status="acknowledged")


@pytest.mark.parametrize("status", [status for status in IncidentStatus if status is not IncidentStatus.DETECTED])
def test_an_incident_begins_detected(store: Store, acme: Context, status: str) -> None:
    environment_id = new_environment(store, acme)
    with pytest.raises(StoreError, match="an incident begins detected"), store.bookkeeping(acme, "test") as work:
        work.incidents.add(id=uuid4(), environment_id=environment_id, status=status, severity="low", title="Drift", affected=1,
                           drift_fingerprint="f", detected_at=NOON, last_seen_at=NOON, expires_at=NOON)


def test_an_environment_has_at_most_one_open_incident(store: Store, acme: Context) -> None:
    environment_id = new_environment(store, acme)
    first = new_incident(store, acme, environment_id)
    with pytest.raises(StoreError, match="uq_drift_incidents_open"):
        new_incident(store, acme, environment_id)
    with store.bookkeeping(acme, "test") as work:
        work.incidents.change(first, status="closed", closed_at=NOON)
    new_incident(store, acme, environment_id)


@pytest.mark.parametrize("role", ["app", "owner"])
@pytest.mark.parametrize("status", ["detected", "acknowledged", "closed"])
@pytest.mark.parametrize("changed", [{"workflows": []}, None], ids=["changed", "removed"])
def test_a_snapshot_never_changes(store: Store, store_urls: Urls, acme: Context, role: str, status: str,
                                  changed: dict[str, Any] | None) -> None:
    incident_id = new_incident(store, acme)
    with psycopg.connect(getattr(store_urls, role)) as connection:
        connection.execute("SELECT set_config('wfops.tenant_id', %s, false)", (str(acme.tenant_id),))
        if status != "detected":
            move(connection, incident_id, status)
        with pytest.raises(InsufficientPrivilege, match="the snapshot of an incident never changes"):
            connection.execute("UPDATE drift_incidents SET drift_snapshot = %s WHERE id = %s",
                               (None if changed is None else Jsonb(changed), incident_id))
        connection.rollback()


def test_a_snapshot_that_is_written_as_it_was_is_no_change(store: Store, acme: Context, app: psycopg.Connection) -> None:
    incident_id = new_incident(store, acme)
    done = app.execute("UPDATE drift_incidents SET drift_snapshot = %s, severity = 'high' WHERE id = %s",
                       (Jsonb(SNAPSHOT), incident_id))
    assert done.rowcount == 1


@pytest.mark.parametrize("status", [status for status in IncidentStatus if status.is_open])
def test_nothing_is_purged_of_an_open_incident(store: Store, acme: Context, app: psycopg.Connection, status: str) -> None:
    incident_id = new_incident(store, acme)
    if status != "detected":
        move(app, incident_id, status, forced=True)
    with pytest.raises(InsufficientPrivilege):
        app.execute("UPDATE drift_incidents SET drift_snapshot = NULL, payload_purged_at = now() WHERE id = %s",
                    (incident_id,))


@pytest.mark.parametrize("status", ENDED)
def test_retention_purges_an_ended_incident_once_and_stamps_it(store: Store, acme: Context, status: str) -> None:
    environment_id = new_environment(store, acme)
    incident_id = new_incident(store, acme, environment_id)
    with store.bookkeeping(acme, "test") as work:
        work.incidents.change(incident_id, status=status, closed_at=NOON)
    with store.bookkeeping(acme, "test") as work:
        later = NOON + timedelta(days=400)
        assert work.incidents.purgeable(environment_id, NOON, limit=10) == []
        assert [row.id for row in work.incidents.purgeable(environment_id, later, limit=10)] == [incident_id]
        work.incidents.purge([incident_id], later)
        assert work.incidents.purgeable(environment_id, later, limit=10) == []
    with store.read(acme) as work:
        row = work.incidents.by_id(incident_id)
    assert row is not None and (row.drift_snapshot, row.payload_purged_at, row.status) == (None, later, status)


def test_what_was_purged_does_not_come_back(store: Store, acme: Context, app: psycopg.Connection) -> None:
    incident_id = new_incident(store, acme)
    move(app, incident_id, "closed")
    app.execute("UPDATE drift_incidents SET drift_snapshot = NULL, payload_purged_at = now() WHERE id = %s", (incident_id,))
    with pytest.raises(InsufficientPrivilege):
        app.execute("UPDATE drift_incidents SET drift_snapshot = %s, payload_purged_at = NULL WHERE id = %s",
                    (Jsonb(SNAPSHOT), incident_id))


@pytest.mark.parametrize(("column", "value"), [
    ("number", 99), ("detected_at", NOON + timedelta(days=1)), ("id", uuid4()), ("environment_id", uuid4())])
def test_what_identifies_an_incident_never_changes(store: Store, acme: Context, app: psycopg.Connection, column: str,
                                                   value: object) -> None:
    incident_id = new_incident(store, acme)
    with pytest.raises((InsufficientPrivilege, RaiseException), match="never change"):
        app.execute(f"UPDATE drift_incidents SET {column} = %s WHERE id = %s", (value, incident_id))


@pytest.mark.parametrize("table", ["drift_incidents", "drift_approvals", "drift_ignore_rules", "tenant_counters"])
def test_the_application_deletes_none_of_it(app: psycopg.Connection, table: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        app.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize(("before", "after"), [(b, a) for b, a in product(ApprovalStatus, ApprovalStatus) if b is not a],
                         ids=str)
def test_the_database_decides_on_approvals_as_the_domain_does(
        store: Store, acme: Context, app: psycopg.Connection, before: ApprovalStatus, after: ApprovalStatus) -> None:
    incident_id, approval_id = new_incident(store, acme), uuid4()
    app.execute("INSERT INTO drift_approvals (tenant_id, id, incident_id, kind, status, requested_by, requested_at)"
                " VALUES (%s, %s, %s, 'close', 'pending', 'local:ada', now())", (acme.tenant_id, approval_id, incident_id))
    change = "UPDATE drift_approvals SET status = %s, decided_by = 'local:grace' WHERE id = %s"
    through = {ApprovalStatus.EXECUTED: [ApprovalStatus.APPROVED, ApprovalStatus.EXECUTED]}
    for status in through.get(before, [] if before is ApprovalStatus.PENDING else [before]):
        app.execute(change, (status, approval_id))
    if (str(before), str(after)) in allowed_approval_pairs():
        assert app.execute(change, (after, approval_id)).rowcount == 1
    else:
        with pytest.raises(CheckViolation, match=f"that is {before} cannot become {after}"):
            app.execute(change, (after, approval_id))


def test_an_approval_begins_pending(store: Store, acme: Context, app: psycopg.Connection) -> None:
    incident_id = new_incident(store, acme)
    with pytest.raises(CheckViolation, match="an approval begins pending"):
        app.execute("INSERT INTO drift_approvals (tenant_id, id, incident_id, kind, status, requested_by, requested_at)"
                    " VALUES (%s, %s, %s, 'close', 'approved', 'local:ada', now())", (acme.tenant_id, uuid4(), incident_id))


def test_nobody_approves_what_they_asked_for(store: Store, acme: Context, app: psycopg.Connection) -> None:
    incident_id, approval_id = new_incident(store, acme), uuid4()
    app.execute("INSERT INTO drift_approvals (tenant_id, id, incident_id, kind, status, requested_by, requested_at)"
                " VALUES (%s, %s, %s, 'close', 'pending', 'local:ada', now())", (acme.tenant_id, approval_id, incident_id))
    with pytest.raises(CheckViolation, match="someone_else"):
        app.execute("UPDATE drift_approvals SET status = 'approved', decided_by = 'local:ada' WHERE id = %s", (approval_id,))
