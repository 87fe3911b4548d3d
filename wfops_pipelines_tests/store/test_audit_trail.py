"""The audit trail in the database (§19.3): append-only, chained, and proved; whoever tampers with it is found out where he did."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from wfops_pipelines.bootstrap import build_services
from wfops_pipelines.domain.audit import Anchor, Verdict, decode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.services.audit_trail import verify_tenant
from wfops_pipelines.settings import Settings
from wfops_pipelines.store.audit import READ_SIZE, AuditTrail
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.store.stores import new_tenant

EVENTS = 8
"""How many events :func:`story` leaves a tenant with."""


@pytest.fixture
def story(store: Store, acme: Context) -> Context:
    """A tenant with eight events, in units of work of one, two, and more."""
    for links in (1, 2, 3):
        with store.unit_of_work(acme, "test.story") as work:
            for number in range(links):
                work.record("mapping.linked", "workflow", f"w{links}-{number}", environment="prod", after="ab" * 32)
    with store.unit_of_work(acme, "test.story") as work:
        work.record("environment.synced", "environment", "prod")
    return acme


def verdict(store: Store, context: Context, anchor: Anchor | None = None) -> Verdict:
    return verify_tenant(build_services(Settings(home=Path("unused")), store), context, anchor)


def anchor_of(store: Store, context: Context) -> Anchor:
    with store.read(context) as work:
        return Anchor(context.tenant_id, *work.audit.head())


def tamper(urls: Urls, context: Context, *statements: str, **values: Any) -> None:
    """Do as an attacker with the owner's rights would: switch the trigger off, change rows, switch it on again."""
    with psycopg.connect(urls.owner) as owner:
        owner.execute("ALTER TABLE audit_events DISABLE TRIGGER append_only")
        for statement in statements:
            owner.execute(statement.encode(), {"tenant": context.tenant_id, **values})
        owner.execute("ALTER TABLE audit_events ENABLE TRIGGER append_only")


# -- what it holds -------------------------------------------------------------------------------------------------------


def test_an_event_carries_who_did_what_as_part_of_what(store: Store, acme: Context) -> None:
    operation_id = uuid4()
    context = replace(acme, impersonator="admin@example.com", operation_id=operation_id, run_id="run-1", step="sync")
    with store.unit_of_work(context, "test.unit") as work:
        work.record("mapping.linked", "workflow", "w1", environment="prod", before="aa" * 32, after="bb" * 32, by="hash")
    with store.read(acme) as work:
        [encoded] = work.audit.events(operation_id=operation_id)
    event = decode(encoded)
    assert (event.tenant_id, event.sequence, event.at) == (acme.tenant_id, 2, acme.now())
    assert (event.actor, event.impersonator) == ("local:ada", "admin@example.com")
    assert (event.operation_id, event.run_id, event.step) == (operation_id, "run-1", "sync")
    assert (event.action, event.subject_type, event.subject_id) == ("mapping.linked", "workflow", "w1")
    assert (event.environment, event.before_hash, event.after_hash) == ("prod", "aa" * 32, "bb" * 32)
    assert event.details == {"by": "hash"}


def test_events_are_listed_newest_first_by_action_operation_and_cursor(store: Store, story: Context) -> None:
    with store.read(story) as work:
        newest = [decode(e) for e in work.audit.events(limit=3)]
        older = [decode(e) for e in work.audit.events(before=newest[-1].sequence)]
        linked = [decode(e) for e in work.audit.events(action="mapping.linked")]
    assert [e.sequence for e in newest + older] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [e.sequence for e in linked] == [7, 6, 5, 4, 3, 2]


def test_an_event_that_cannot_be_encoded_fails_its_unit_of_work(store: Store, acme: Context) -> None:
    with pytest.raises(UsageError, match="details"), store.unit_of_work(acme, "test.unit") as work:
        work.record("mapping.linked", "workflow", "w1", thing=object())
    assert verdict(store, acme).events == 1


# -- append-only ---------------------------------------------------------------------------------------------------------

CHANGES = ["UPDATE audit_events SET actor = 'mallory'", "DELETE FROM audit_events", "TRUNCATE audit_events"]


@pytest.mark.parametrize("change", CHANGES)
def test_the_application_has_no_right_to_change_events(store_urls: Urls, story: Context, change: str) -> None:
    with psycopg.connect(store_urls.app) as app, pytest.raises(InsufficientPrivilege, match="permission denied"):
        app.execute("SELECT set_config('wfops.tenant_id', %s, true)", (str(story.tenant_id),))
        app.execute(change.encode())


@pytest.mark.parametrize("change", [*CHANGES, "TRUNCATE tenants CASCADE",
                                    "INSERT INTO audit_events SELECT * FROM audit_events"
                                    " ON CONFLICT (tenant_id, sequence) DO UPDATE SET actor = 'mallory'"])
def test_a_trigger_stops_even_the_owner(store_urls: Urls, story: Context, change: str) -> None:
    with psycopg.connect(store_urls.owner) as owner, pytest.raises(InsufficientPrivilege, match="audit_events is append-only"):
        owner.execute(change.encode())


def test_the_application_cannot_remove_a_chains_head(store_urls: Urls, story: Context) -> None:
    with psycopg.connect(store_urls.app) as app, pytest.raises(InsufficientPrivilege, match="permission denied"):
        app.execute("SELECT set_config('wfops.tenant_id', %s, true)", (str(story.tenant_id),))
        app.execute("DELETE FROM audit_heads")


# -- what is proved ------------------------------------------------------------------------------------------------------


def test_an_untouched_chain_holds(store: Store, story: Context) -> None:
    anchor = anchor_of(store, story)
    assert verdict(store, story) == verdict(store, story, anchor) == Verdict(True, EVENTS, anchor.head)


def test_a_chain_that_went_on_still_holds_against_an_older_anchor(store: Store, story: Context) -> None:
    anchor = anchor_of(store, story)
    with store.unit_of_work(story, "test.more") as work:
        work.record("environment.synced", "environment", "prod")
    assert verdict(store, story, anchor).ok
    assert verdict(store, story).events == EVENTS + 1


def test_a_tenant_without_events_has_an_empty_chain(store: Store, acme: Context) -> None:
    nobody = replace(acme, tenant_id=uuid4(), tenant_slug="nobody")
    assert verdict(store, nobody) == Verdict(True, 0, "0" * 64)


def test_a_chain_of_several_slices_holds_and_breaks(store: Store, store_urls: Urls, acme: Context) -> None:
    with store.unit_of_work(acme, "test.many") as work:
        for number in range(2 * READ_SIZE):
            work.record("mapping.linked", "workflow", f"w{number}")
    assert verdict(store, acme).events == 2 * READ_SIZE + 1
    tamper(store_urls, acme, "DELETE FROM audit_events WHERE tenant_id = %(tenant)s AND sequence = 1500")
    assert verdict(store, acme).sequence == 1500


def test_names_that_postgresql_does_not_hold_are_proved_all_the_same(store: Store, acme: Context) -> None:
    context = replace(acme, actor="local:\udce9ve")
    with store.unit_of_work(context, "test.names") as work:
        work.record("mapping.linked", "workflow", "a\x00b\ud800", name="\x00\udfff😀")
    with store.read(acme) as work:
        [encoded] = work.audit.events(action="mapping.linked")
    assert decode(encoded).subject_id == "a\x00b\ud800"
    assert decode(encoded).details == {"name": "\x00\udfff😀"}
    assert verdict(store, acme).ok


def test_a_name_of_two_surrogates_is_the_character_they_make(store: Store, acme: Context) -> None:
    with store.unit_of_work(acme, "test.names") as work:
        work.record("mapping.linked", "workflow", "a\ud83d\ude00", name="\ud83d\ude00")
    with store.read(acme) as work:
        [encoded] = work.audit.events(subject=("workflow", "a😀"))
    assert decode(encoded).details == {"name": "😀"}
    assert verdict(store, acme).ok


# -- what tampering shows ------------------------------------------------------------------------------------------------

OF = "WHERE tenant_id = %(tenant)s AND sequence"
SHIFT = [f"UPDATE audit_events SET sequence = sequence + 1000 {OF} > 3",
         f"UPDATE audit_events SET sequence = sequence - 999 {OF} > 1000"]
COPY = ("INSERT INTO audit_events SELECT (jsonb_populate_record(e, jsonb_build_object('sequence', {to}, 'id', gen_random_uuid()))).*"
        f" FROM audit_events e {OF} = 3")
REWRITE = ("encoded = convert_to(replace(convert_from(encoded, 'UTF8'), 'local:ada', 'local:bob'), 'UTF8'),"
           " actor = 'local:bob'")


@pytest.mark.parametrize(("statements", "sequence"), [
    pytest.param([f"UPDATE audit_events SET {REWRITE} {OF} = 3"], 3, id="what an event says"),
    pytest.param([f"UPDATE audit_events SET encoded = '\\x00' {OF} = 3"], 3, id="an event that is none"),
    pytest.param([f"UPDATE audit_events SET actor = 'local:bob' {OF} = 3"], 3, id="the actor beside it"),
    pytest.param([f"UPDATE audit_events SET action = 'mapping.unlinked' {OF} = 3"], 3, id="the action beside it"),
    pytest.param([f"UPDATE audit_events SET at = at + interval '1 microsecond' {OF} = 3"], 3, id="the time beside it"),
    pytest.param([f"UPDATE audit_events SET subject_type = 'file' {OF} = 3"], 3, id="the type of the subject beside it"),
    pytest.param([f"UPDATE audit_events SET subject_id = 'w9' {OF} = 3"], 3, id="the subject beside it"),
    pytest.param([f"UPDATE audit_events SET environment = NULL {OF} = 3"], 3, id="the environment beside it"),
    pytest.param([f"UPDATE audit_events SET operation_id = id {OF} = 3"], 3, id="the operation beside it"),
    pytest.param([f"UPDATE audit_events SET run_id = 'r' {OF} = 3"], 3, id="the run beside it"),
    pytest.param([f"UPDATE audit_events SET id = gen_random_uuid() {OF} = 3"], 3, id="the id beside it"),
    pytest.param([f"UPDATE audit_events SET actor = 'local:bob' {OF} = 8"], 8, id="the actor beside the last one"),
    pytest.param([f"UPDATE audit_events SET hash = repeat('ab', 32) {OF} = 3"], 3, id="a hash"),
    pytest.param([f"UPDATE audit_events SET previous = repeat('ab', 32) {OF} = 3"], 3, id="the hash before"),
    pytest.param([f"DELETE FROM audit_events {OF} = 3"], 3, id="one removed"),
    pytest.param([f"DELETE FROM audit_events {OF} = 1"], 1, id="the first removed"),
    pytest.param([f"DELETE FROM audit_events {OF} = 3", f"UPDATE audit_events SET sequence = 3 {OF} = 4"], 3,
                 id="one removed and the next one renumbered"),
    pytest.param([*SHIFT, COPY.format(to=4)], 4, id="one inserted"),
    pytest.param([COPY.format(to=9)], 9, id="one appended"),
    pytest.param([f"UPDATE audit_events SET sequence = 1000 {OF} = 3", f"UPDATE audit_events SET sequence = 3 {OF} = 4",
                  f"UPDATE audit_events SET sequence = 4 {OF} = 1000"], 3, id="two exchanged"),
    pytest.param([f"DELETE FROM audit_events {OF} = 8"], 8, id="the end cut off"),
    pytest.param(["UPDATE audit_heads SET head = repeat('ab', 32) WHERE tenant_id = %(tenant)s"], 8, id="the head's hash"),
    pytest.param(["UPDATE audit_heads SET events = 9 WHERE tenant_id = %(tenant)s"], 9, id="the head counts one more"),
    pytest.param(["UPDATE audit_heads SET events = 7 WHERE tenant_id = %(tenant)s"], 7, id="the head counts one less"),
    pytest.param(["DELETE FROM audit_heads WHERE tenant_id = %(tenant)s"], 1, id="the head removed"),
])
def test_tampering_is_found_at_its_sequence(store: Store, store_urls: Urls, story: Context, statements: list[str],
                                            sequence: int) -> None:
    tamper(store_urls, story, *statements)
    found = verdict(store, story)
    assert (found.ok, found.sequence) == (False, sequence), found.problem
    assert found.problem


def test_the_first_of_several_breaks_is_named(store: Store, store_urls: Urls, story: Context) -> None:
    tamper(store_urls, story, f"UPDATE audit_events SET actor = 'local:bob' {OF} = 5", f"DELETE FROM audit_events {OF} = 3")
    assert verdict(store, story).sequence == 3
    tamper(store_urls, story, f"UPDATE audit_events SET actor = 'local:bob' {OF} = 2")
    assert verdict(store, story).sequence == 2


CUT = [f"DELETE FROM audit_events {OF} > 5",
       "UPDATE audit_heads h SET events = 5, head = e.hash FROM audit_events e"
       " WHERE h.tenant_id = %(tenant)s AND e.tenant_id = h.tenant_id AND e.sequence = 5"]
ERASE = ["DELETE FROM audit_events WHERE tenant_id = %(tenant)s", "DELETE FROM audit_heads WHERE tenant_id = %(tenant)s"]


@pytest.mark.parametrize(("statements", "left"), [pytest.param(CUT, 5, id="the end"), pytest.param(ERASE, 0, id="all of it")])
def test_an_end_cut_off_together_with_the_head_shows_against_an_exported_anchor(
        store: Store, store_urls: Urls, story: Context, statements: list[str], left: int) -> None:
    anchor = Anchor.from_json(anchor_of(store, story).to_json())
    tamper(store_urls, story, *statements)
    assert verdict(store, story).ok, "within the database nothing shows it"
    found = verdict(store, story, anchor)
    assert (found.ok, found.events, found.sequence) == (False, left, left + 1)
    assert "cut off" in str(found.problem)


def test_an_end_cut_off_and_written_anew_shows_against_an_exported_anchor(store: Store, store_urls: Urls,
                                                                           story: Context) -> None:
    """Somebody restores an old backup, and work goes on."""
    anchor = anchor_of(store, story)
    tamper(store_urls, story, *CUT)
    with store.unit_of_work(story, "test.again") as work:
        for number in range(4):
            work.record("mapping.linked", "workflow", f"other{number}")
    assert verdict(store, story).ok
    found = verdict(store, story, anchor)
    assert (found.ok, found.sequence) == (False, EVENTS)
    assert "anew" in str(found.problem)


def test_a_chain_of_another_tenant_is_no_substitute(store: Store, store_urls: Urls, story: Context, globex: Context) -> None:
    for table in ("audit_events", "audit_heads"):
        tamper(store_urls, story, f"DELETE FROM {table} WHERE tenant_id = %(tenant)s",
               f"INSERT INTO {table} SELECT (jsonb_populate_record(e, jsonb_build_object('tenant_id', %(tenant)s::text))).*"
               f" FROM {table} e WHERE tenant_id = %(other)s", other=globex.tenant_id)
    found = verdict(store, story)
    assert (found.ok, found.sequence) == (False, 1)
    assert "belongs to tenant" in str(found.problem)
    assert verdict(store, globex).ok


def test_without_the_key_a_rewritten_chain_does_not_fit(store: Store, store_urls: Urls, acme: Context) -> None:
    """An attacker who computes hashes the way the source says still lacks the key."""
    with store.bookkeeping(acme, "test.unit") as work:
        forged = AuditTrail(work.connection, acme, os.urandom(32))
        forged.add("mapping.linked", "workflow", "w1", environment=None, before=None, after=None, details={})
        forged.flush()
    assert verdict(store, acme).sequence == 2


# -- several at once -----------------------------------------------------------------------------------------------------


def test_units_of_work_at_once_make_one_chain_without_gaps(store: Store, acme: Context) -> None:
    def work_on(number: int) -> None:
        for turn in range(5):
            with store.unit_of_work(acme, "test.turn") as work:
                for event in range(3):
                    work.record("mapping.linked", "workflow", f"{number}-{turn}-{event}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work_on, range(4)))
    assert verdict(store, acme).events == 1 + 4 * 5 * 3
    with store.read(acme) as work:
        events = [decode(e) for e in reversed(work.audit.events(limit=100))]
    assert [e.sequence for e in events] == list(range(1, 62))
    subjects = [e.subject_id for e in events[1:]]
    assert [subjects[i:i + 3] for i in range(0, 60, 3)] == [
        [f"{s[:-2]}-{n}" for n in range(3)] for s in subjects[::3]], "the events of one unit of work stand together"


def test_two_first_events_at_once_make_one_chain(store: Store, store_urls: Urls, acme: Context) -> None:
    tenants: list[UUID] = [uuid4() for _ in range(5)]
    with psycopg.connect(store_urls.owner) as owner:  # no event yet, hence no head row to lock
        for tenant in tenants:
            owner.execute("INSERT INTO tenants (tenant_id, slug, name) VALUES (%s, %s, 'New')", (tenant, f"t{tenant.hex}"))

    def record(tenant: UUID) -> None:
        with store.unit_of_work(replace(acme, tenant_id=tenant), "test.first") as work:
            work.record("tenant.created", "tenant", "new")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(record, [tenant for tenant in tenants for _ in range(4)]))
    for tenant in tenants:
        assert verdict(store, replace(acme, tenant_id=tenant)).events == 4


def test_tenants_have_chains_of_their_own(store: Store, story: Context) -> None:
    other = new_tenant(store)
    assert (verdict(store, story).events, verdict(store, other).events) == (EVENTS, 1)
