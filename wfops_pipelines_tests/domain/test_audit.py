"""The audit chain (§19.3): reproducible bytes, and every way to tamper with it found where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wfops_pipelines.domain.audit import (
    GENESIS,
    Anchor,
    AuditEvent,
    chain_hash,
    contradictions,
    decode,
    encode,
    verify,
)
from wfops_pipelines.domain.errors import Broken, UsageError
from wfops_pipelines.domain.mapping import MappingStatus

KEY = b"k" * 32
TENANT, OTHER_TENANT = UUID(int=7), UUID(int=8)
NOON = datetime(2026, 11, 21, 12, 0, 0, 5, tzinfo=UTC)

Row = tuple[int, str, str, bytes]


def event(sequence: int, **changed: Any) -> AuditEvent:
    fields: dict[str, Any] = {
        "tenant_id": TENANT, "sequence": sequence, "id": UUID(int=1000 + sequence), "at": NOON, "actor": "local:ada",
        "action": "mapping.linked", "subject_type": "workflow", "subject_id": f"w{sequence}",
        "details": {"number": sequence},
    }
    return AuditEvent(**{**fields, **changed})


def chain(length: int, *, key: bytes = KEY, start: int = 0, head: str = GENESIS, tenant: UUID = TENANT) -> list[Row]:
    rows = []
    for sequence in range(start + 1, start + length + 1):
        encoded = encode(event(sequence, tenant_id=tenant))
        previous, head = head, chain_hash(key, head, encoded)
        rows.append((sequence, previous, head, encoded))
    return rows


def anchor_at(rows: list[Row], sequence: int) -> Anchor:
    return Anchor(TENANT, sequence, next((row[2] for row in rows if row[0] == sequence), GENESIS))


# -- encoding ------------------------------------------------------------------------------------------------------------

# Any code point, lone surrogates and NUL too; and many surrogates, so that some make a character.
any_text = st.text(max_size=20) | st.text(st.characters(categories=["Cs", "Ll", "Cc"]), max_size=5)


def events_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[AuditEvent]:
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8,
    )
    return st.builds(
        AuditEvent, tenant_id=st.uuids(), sequence=st.integers(1, 2**53), id=st.uuids(),
        at=st.datetimes(min_value=datetime(1000, 1, 2), max_value=datetime(9998, 1, 1),
                        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
        actor=texts, action=texts, subject_type=texts, subject_id=texts, impersonator=st.none() | texts,
        environment=st.none() | texts, operation_id=st.none() | st.uuids(), run_id=st.none() | texts,
        step=st.none() | texts, before_hash=st.none() | texts, after_hash=st.none() | texts,
        details=st.dictionaries(texts, json_values, max_size=3),
    )


def as_json_reads_it(text: str) -> str:
    """Two surrogates that make a character are that character: what JSON is read as never has such a pair."""
    return str(json.loads(json.dumps(text)))


events = events_of(any_text)


@given(events_of(any_text.map(as_json_reads_it)))
def test_an_event_comes_back_from_its_bytes(original: AuditEvent) -> None:
    assert decode(encode(original)) == original


@given(events)
@example(event(1, details={"\ud800\udc00": 1, "\ue000": 2}))  # as one character it comes after the other key
@example(event(1, details={"\ud800\udc00": 1, "\U00010000": 2}))
def test_an_event_that_was_read_has_the_same_bytes_again(original: AuditEvent) -> None:
    encoded = encode(original)
    assert encode(decode(encoded)) == encoded


@given(events)
def test_the_bytes_are_ascii_on_one_line(original: AuditEvent) -> None:
    encoded = encode(original)
    assert encoded.isascii()
    assert b"\n" not in encoded


def test_a_time_is_the_same_in_every_zone() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=-8)))
    assert encode(event(1, at=there)) == encode(event(1, at=NOON))
    assert json.loads(encode(event(1)))["at"] == "2026-11-21T12:00:00.000005Z"


def test_a_whole_second_still_has_microseconds() -> None:
    assert json.loads(encode(event(1, at=NOON.replace(microsecond=0))))["at"] == "2026-11-21T12:00:00.000000Z"


def test_the_order_of_details_makes_no_difference() -> None:
    assert encode(event(1, details={"a": 1, "b": 2})) == encode(event(1, details={"b": 2, "a": 1}))


def test_ids_times_and_enums_in_details_are_text() -> None:
    details = {"id": TENANT, "at": NOON, "status": MappingStatus.LINKED, "all": (TENANT,)}
    assert json.loads(encode(event(1, details=details)))["details"] == {
        "id": str(TENANT), "at": "2026-11-21T12:00:00.000005Z", "status": "linked", "all": [str(TENANT)],
    }


@pytest.mark.parametrize("details", [
    {"raw": b"bytes"}, {"set": {1}}, {1: "a key that is a number"}, {"deep": [object()]}, {"nan": float("nan")},
])
def test_details_that_are_no_json_are_refused(details: dict[Any, Any]) -> None:
    with pytest.raises(UsageError):
        encode(event(1, details=details))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="zone"):
        encode(event(1, at=datetime(2026, 1, 1)))


@pytest.mark.parametrize("encoded", [b"", b"{}", b"[]", b"\xff", b'{"operation_id": null}'])
def test_other_bytes_are_no_event(encoded: bytes) -> None:
    with pytest.raises(Broken):
        decode(encoded)


# -- the chain -----------------------------------------------------------------------------------------------------------

def test_a_whole_chain_verifies() -> None:
    rows = chain(5)
    verdict = verify(KEY, rows, anchor_at(rows, 3), head=anchor_at(rows, 5), tenant_id=TENANT)
    assert (verdict.ok, verdict.events, verdict.head, verdict.problem) == (True, 5, rows[-1][2], None)


def test_an_empty_chain_verifies() -> None:
    verdict = verify(KEY, [])
    assert (verdict.ok, verdict.events, verdict.head) == (True, 0, GENESIS)


def test_a_long_chain_is_read_one_row_at_a_time() -> None:
    consumed = []

    def rows() -> Iterator[Row]:
        for row in chain(50):
            consumed.append(row[0])
            yield (row[0], row[1], row[2], row[3] if row[0] != 10 else b"changed")

    assert verify(KEY, rows()).sequence == 10
    assert consumed[-1] <= 11


def test_another_key_verifies_nothing() -> None:
    verdict = verify(b"other" * 8, chain(3))
    assert not verdict.ok
    assert verdict.sequence == 1
    assert "key" in (verdict.problem or "")


tampered_chain = st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@given(tampered_chain, st.binary(max_size=40))
def test_a_changed_event_is_named(where: tuple[int, int], content: bytes) -> None:
    length, sequence = where
    rows = chain(length)
    _, previous, stored, _ = rows[sequence - 1]
    rows[sequence - 1] = (sequence, previous, stored, content)
    verdict = verify(KEY, rows)
    assert (verdict.ok, verdict.sequence, verdict.events) == (False, sequence, sequence - 1)


@given(tampered_chain)
def test_an_event_that_was_written_anew_without_the_key_is_named(where: tuple[int, int]) -> None:
    length, sequence = where
    rows = chain(length)
    head = rows[sequence - 1][1]
    for i in range(sequence, length + 1):  # the whole rest, consistently, with a key that was guessed
        encoded = encode(event(i, actor="local:mallory"))
        previous, head = head, chain_hash(b"guess", head, encoded)
        rows[i - 1] = (i, previous, head, encoded)
    verdict = verify(KEY, rows)
    assert (verdict.ok, verdict.sequence) == (False, sequence)


@given(tampered_chain)
def test_a_removed_event_is_named_unless_it_was_the_last(where: tuple[int, int]) -> None:
    length, sequence = where
    rows = chain(length)
    anchor = anchor_at(rows, length)
    del rows[sequence - 1]
    verdict = verify(KEY, rows, anchor)
    assert (verdict.ok, verdict.sequence) == (False, sequence)
    assert ("cut off" if sequence == length else "missing") in (verdict.problem or "")


@given(tampered_chain)
def test_a_removed_event_is_found_when_the_rest_was_renumbered(where: tuple[int, int]) -> None:
    length, sequence = where
    whole = chain(length)
    rows = [(i, *row[1:]) for i, row in enumerate((r for r in whole if r[0] != sequence), start=1)]
    verdict = verify(KEY, rows, anchor_at(whole, length))
    assert (verdict.ok, verdict.sequence) == (False, sequence)


@given(tampered_chain)
def test_an_inserted_event_is_found_though_the_rest_was_renumbered(where: tuple[int, int]) -> None:
    length, sequence = where
    rows = chain(length)
    forged = encode(event(sequence, actor="local:mallory"))
    previous = rows[sequence - 1][1]
    inserted = (sequence, previous, chain_hash(b"guess", previous, forged), forged)
    renumbered = [*rows[:sequence - 1], inserted, *((n + 1, p, h, e) for n, p, h, e in rows[sequence - 1:])]
    verdict = verify(KEY, renumbered)
    assert (verdict.ok, verdict.sequence) == (False, sequence)


def test_an_event_that_stands_twice_is_named() -> None:
    rows = chain(3)
    verdict = verify(KEY, [*rows, rows[1]])
    assert (verdict.ok, verdict.sequence) == (False, 2)
    assert "twice" in (verdict.problem or "")


@given(st.permutations(list(range(5))))
def test_reordered_events_are_found(order: list[int]) -> None:
    rows = chain(5)
    assert verify(KEY, [rows[i] for i in order]).ok == (order == sorted(order))


@given(st.permutations(list(range(5))))
def test_events_that_swapped_their_numbers_are_found(order: list[int]) -> None:
    rows = chain(5)
    swapped = [(n + 1, *rows[i][1:]) for n, i in enumerate(order)]
    assert verify(KEY, swapped).ok == (order == sorted(order))


def test_an_event_written_with_the_key_under_another_number_is_found() -> None:
    encoded = encode(event(2))
    verdict = verify(KEY, [(1, GENESIS, chain_hash(KEY, GENESIS, encoded), encoded)])
    assert "renumbered" in (verdict.problem or "")


def test_a_chain_of_another_tenant_is_found() -> None:
    rows = chain(3, tenant=OTHER_TENANT)
    assert verify(KEY, rows).ok
    assert verify(KEY, rows, tenant_id=TENANT).sequence == 1


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_a_cut_off_end_shows_against_an_anchor_that_it_cuts(where: tuple[int, int]) -> None:
    length, kept = where
    rows = chain(length)
    for anchored in range(length + 1):
        verdict = verify(KEY, rows[:kept], anchor_at(rows, anchored))
        assert verdict.ok == (anchored <= kept)
    assert verify(KEY, rows[:kept]).ok, "without an anchor nobody can know"


def test_a_chain_written_anew_with_the_key_does_not_hold_the_anchor() -> None:
    rows = chain(4)
    other = [*chain(2)]
    head = other[-1][2]
    for sequence in (3, 4):
        encoded = encode(event(sequence, actor="local:mallory"))
        previous, head = head, chain_hash(KEY, head, encoded)
        other.append((sequence, previous, head, encoded))
    assert verify(KEY, other).ok
    assert verify(KEY, other, anchor_at(rows, 2)).ok
    assert verify(KEY, other, anchor_at(rows, 3)).sequence == 3


def test_the_chain_must_end_where_the_store_says_its_head_is() -> None:
    rows = chain(4)
    assert verify(KEY, rows, head=anchor_at(rows, 4)).ok
    assert verify(KEY, rows[:3], head=anchor_at(rows, 4)).sequence == 4
    assert verify(KEY, rows, head=anchor_at(rows, 3)).sequence == 4
    assert not verify(KEY, rows, head=Anchor(TENANT, 4, GENESIS)).ok
    assert not verify(KEY, rows[:0], head=Anchor(TENANT, 0, "f" * 64)).ok


@settings(max_examples=50)
@given(st.integers(2, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.integers(0, 8))
def test_after_retention_the_chain_starts_behind_what_it_left(where: tuple[int, int], anchored: int) -> None:
    length, purged = where
    whole = chain(length)
    start, rest = anchor_at(whole, purged), whole[purged:]
    verdict = verify(KEY, rest, anchor_at(whole, min(anchored, length)), head=anchor_at(whole, length), start=start)
    assert (verdict.ok, verdict.events, verdict.head) == (True, length, whole[-1][2])
    if rest:
        assert not verify(KEY, rest).ok, "without the anchor the beginning is missing"
        assert not verify(KEY, rest, start=Anchor(TENANT, purged, "0" * 63 + "1")).ok
        assert verify(KEY, rest[1:], start=start, head=anchor_at(whole, length)).sequence == purged + 1


def test_an_exported_anchor_at_the_start_must_be_the_one_that_retention_left() -> None:
    whole = chain(4)
    assert not verify(KEY, whole[2:], Anchor(TENANT, 2, "a" * 64), start=anchor_at(whole, 2)).ok


# -- anchors and copies --------------------------------------------------------------------------------------------------

def test_an_anchor_survives_json() -> None:
    anchor = anchor_at(chain(3), 3)
    assert Anchor.from_json(json.loads(json.dumps({**anchor.to_json(), "exported_at": "now"}))) == anchor


@pytest.mark.parametrize("document", [
    None, [], {}, {"tenant_id": str(TENANT), "events": -1, "head": GENESIS},
    {"tenant_id": str(TENANT), "events": True, "head": GENESIS},
    {"tenant_id": str(TENANT), "events": 1, "head": "short"},
    {"tenant_id": str(TENANT), "events": 1, "head": "G" * 64},
    {"tenant_id": "acme", "events": 1, "head": GENESIS},
])
def test_what_is_no_anchor_is_refused(document: object) -> None:
    with pytest.raises(UsageError, match="anchor"):
        Anchor.from_json(document)


def test_a_column_that_says_other_than_the_event_is_named() -> None:
    encoded = encode(event(1))
    columns = {"actor": "local:ada", "action": "mapping.linked", "at": NOON, "environment": None}
    assert contradictions(encoded, columns) == []
    assert contradictions(encoded, {**columns, "actor": "local:bob", "environment": "prod"}) == ["actor", "environment"]
