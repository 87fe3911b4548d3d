"""Contents stored by digest (design decision 4), and what else n8n and Git may hold that PostgreSQL does not take as it is."""

from __future__ import annotations

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Broken, StoreError
from wfops_pipelines.services.hashing import encoded
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.store.stores import NOON, new_environment, new_operation
from wfops_pipelines_tests.store.test_unit_of_work import mapping_row, somebody_waits

ODD = "a\x00b \ud83d c \udfff 😀 שלום"
SHOWN = "a\ufffdb \ufffd c \ufffd 😀 שלום"

json_values = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
                           lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
                           max_leaves=8)


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


# -- payloads ------------------------------------------------------------------------------------------------------------


def test_a_workflow_comes_back_byte_for_byte_whatever_its_texts_hold(store: Store, acme: Context) -> None:
    content = {"name": ODD, "nodes": [{"name": ODD, "type": "n8n-nodes-base.set", "parameters": {ODD: [ODD, None, 1.5]}}],
               "connections": {}, "settings": {}}
    stored = encoded(content)
    with store.bookkeeping(acme, "test.save") as work:
        work.payloads.save({stored.digest: stored.body})
    with store.read(acme) as work:
        assert work.payloads.load([stored.digest]) == {stored.digest: stored.body}


@given(st.lists(st.binary(max_size=2000), max_size=5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_come_back(store: Store, acme: Context, bodies: list[bytes]) -> None:
    by_digest = {sha(body): body for body in bodies}
    with store.bookkeeping(acme, "test.save") as work:
        work.payloads.save(by_digest)
        assert work.payloads.load(by_digest) == by_digest


def test_five_megabytes_are_stored_small(store: Store, store_urls: Urls, acme: Context) -> None:
    body = b'{"name": "large"}' * 300_000
    with store.bookkeeping(acme, "test.save") as work:
        work.payloads.save({sha(body): body})
        assert work.payloads.load([sha(body)]) == {sha(body): body}
    with psycopg.connect(store_urls.owner) as owner:
        row = owner.execute("SELECT size, octet_length(body) FROM payloads WHERE digest = %s", (sha(body),)).fetchone()
    assert row is not None
    assert row[0] == len(body)
    assert row[1] < len(body) / 100


def test_a_body_is_stored_once(store: Store, store_urls: Urls, acme: Context) -> None:
    def rows() -> list[Any]:
        with psycopg.connect(store_urls.owner) as owner:
            return owner.execute("SELECT digest, xmin::text, ctid::text FROM payloads WHERE tenant_id = %s ORDER BY 1",
                                 (acme.tenant_id,)).fetchall()

    with store.bookkeeping(acme, "test.save") as work:
        work.payloads.save({"a": b"1", "b": b"2"})
    before = rows()
    with store.bookkeeping(acme, "test.save") as work:
        work.payloads.save({"a": b"1", "b": b"2"})
    assert rows() == before
    assert len(before) == 2


def test_digests_that_are_not_stored_are_left_out(store: Store, acme: Context) -> None:
    with store.bookkeeping(acme, "test.save") as work:
        work.payloads.save({})
        work.payloads.save({"a": b"1"})
        assert work.payloads.load(["a", "b", "a"]) == {"a": b"1"}
        assert work.payloads.load([]) == {}


def test_a_damaged_body_is_named(store: Store, store_urls: Urls, acme: Context) -> None:
    with store.bookkeeping(acme, "test.save") as work:
        work.payloads.save({"a": b"1"})
    with psycopg.connect(store_urls.owner) as owner:
        owner.execute("UPDATE payloads SET body = '\\x00' WHERE tenant_id = %s", (acme.tenant_id,))
    with pytest.raises(Broken, match="payload a is damaged"), store.read(acme) as work:
        work.payloads.load(["a"])


def test_tenants_store_equal_bodies_apart(store: Store, acme: Context, globex: Context) -> None:
    with store.bookkeeping(acme, "test.save") as work:
        work.payloads.save({"a": b"1"})
    with store.read(globex) as work:
        assert work.payloads.load(["a"]) == {}


def test_writers_of_the_same_digests_wait_for_each_other_and_do_not_deadlock(store: Store, store_urls: Urls,
                                                                             acme: Context) -> None:
    """Two environments of one tenant hold the same workflows, and are synced at once."""
    bodies = {sha(bytes([n])): bytes([n]) for n in range(40)}
    backwards = dict(reversed(bodies.items()))

    def save(given: dict[str, bytes]) -> None:
        with store.bookkeeping(acme, "test.second") as work:
            work.payloads.save(given)

    with ThreadPoolExecutor(1) as pool:
        with store.bookkeeping(acme, "test.first") as work:
            work.payloads.save(dict(itertools.islice(bodies.items(), 20)))
            second = pool.submit(save, backwards)
            eventually(lambda: somebody_waits(store_urls))
        second.result()
    with ThreadPoolExecutor(4) as pool:
        for number in range(5):
            fresh = {sha(bytes([number, n])): bytes([number, n]) for n in range(40)}
            list(pool.map(save, [fresh, dict(reversed(fresh.items()))] * 2))
    with store.read(acme) as work:
        assert work.payloads.load(bodies) == bodies


# -- texts and JSON for people -------------------------------------------------------------------------------------------


def test_names_of_any_origin_are_made_storable(store: Store, acme: Context) -> None:
    environment_id, canonical_id = new_environment(store, acme), uuid4()
    operation_id = new_operation(store, acme, environment_id)
    with store.bookkeeping(acme, "test.names") as work:
        work.payloads.save({"d1": b"{}"})
        work.mappings.save_canonicals({canonical_id: ODD}, NOON)
        work.mappings.save([mapping_row(environment_id, canonical_id, name=ODD, tags=[ODD, "plain"])])
        work.git_states.save([{
            "environment_id": environment_id, "path": "wörkflows/a b.json", "canonical_id": canonical_id, "blob": "b",
            "commit": "c", "workflow_id": ODD, "name": ODD, "digest": "d1", "content_hash": "h", "portable_hash": "h",
            "normalizer_version": 1, "has_references": False, "wants_active": None, "tags": [ODD], "read_only": False,
            "changed_at": NOON, "deleted_at": None}])
        work.git_states.save_errors(environment_id, [{"path": "x", "blob": "b", "reason": "r", "message": ODD, "since": NOON}])
        work.drift.replace(environment_id, [{"subject": "w1", "name": ODD, "kind": "modified", "kinds": ["modified"]}])
        work.fleet.set_environment(environment_id, drift_error=ODD)
        work.operations.start(operation_id, run_id=None, now=NOON)
    with store.read(acme) as work:
        [mapping] = work.mappings.of_environment(environment_id)
        assert (mapping.name, mapping.tags) == (SHOWN, [SHOWN, "plain"])
        assert work.mappings.canonicals()[canonical_id].name == SHOWN
        [state] = work.git_states.of_environment(environment_id)
        assert (state.path, state.name, state.tags) == ("wörkflows/a b.json", SHOWN, [SHOWN])
        assert list(work.git_states.by_workflow(environment_id, [ODD, "other"])) == [SHOWN]
        assert [row.message for row in work.git_states.errors(environment_id)] == [SHOWN]
        assert [row.name for row in work.drift.of_environment(environment_id)] == [SHOWN]
        assert work.fleet.environment(environment_id).drift_error == SHOWN


def test_json_of_any_origin_is_made_storable(store: Store, acme: Context) -> None:
    environment_id = new_environment(store, acme)
    diff = {"changes": [{ODD: ODD, "n": 2**70, "id": environment_id, "at": NOON, "f": [1.5, float("nan"), float("inf")]}]}
    with store.bookkeeping(acme, "test.json") as work:
        work.drift.replace(environment_id, [{"subject": "w1", "name": "n", "kind": "modified", "kinds": [], "diff": diff}])
        [row] = work.drift.of_environment(environment_id)
    [change] = row.diff["changes"]
    assert change[SHOWN] == SHOWN
    assert (change["n"], change["id"], change["f"]) == (float(2**70), str(environment_id), [1.5, None, None])


@given(st.lists(json_values, max_size=3))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_stored(store: Store, acme: Context, values: list[Any]) -> None:
    operation_id = new_operation(store, acme)
    with store.bookkeeping(acme, "test.json") as work:
        work.operations.checkpoint(operation_id, {"values": values, "plain": ["\\u0000", 1, None, "ä"]})
        row = work.operations.get(operation_id)
    assert row is not None
    assert row.checkpoint["plain"] == ["\\u0000", 1, None, "ä"]
    assert len(row.checkpoint["values"]) == len(values)


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_a_key_that_postgresql_does_not_take_is_refused_in_our_words(store: Store, acme: Context, text: str) -> None:
    with pytest.raises(StoreError, match=r"NUL|surrogates"), store.bookkeeping(acme, "test.key") as work:
        work.fleet.save_secret(text, "value")
