"""Causes of drift (§10): which kind, who, when, and how sure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.cause import (
    Bounds,
    CauseKind,
    Confidence,
    DriftFacts,
    FileCommit,
    PublishEvent,
    Version,
    cause_of,
    read_publish_event,
    read_time,
    read_version,
)
from wfops_pipelines.domain.drift import DriftKind

TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)
BOUNDS = Bounds(TEN, TEN + timedelta(minutes=30))


def at(minutes: int) -> datetime:
    return TEN + timedelta(minutes=minutes)


def version(minutes: int, authors: str | None = "Ada Lovelace", version_id: str = "v1") -> Version:
    return Version(version_id, at(minutes), authors)


def commit(minutes: int, author: str = "Grace Hopper", subject: str = "Better report") -> FileCommit:
    return FileCommit("0123456789abcdef", author, at(minutes), subject)


def drift(kind: DriftKind = DriftKind.MODIFIED, bounds: Bounds = BOUNDS, **facts: Any) -> DriftFacts:
    return DriftFacts(kind, bounds, **facts)


M, ADDED, GONE, ACT = DriftKind.MODIFIED, DriftKind.ADDED_IN_RUNTIME, DriftKind.MISSING_IN_RUNTIME, DriftKind.ACTIVATION


@pytest.mark.parametrize(("facts", "kind", "confidence"), [
    (drift(M, runtime_changed=True, git_changed=False), "edited_in_n8n", "certain"),
    (drift(M, runtime_changed=False, git_changed=True), "not_deployed", "certain"),
    (drift(M, runtime_changed=True, git_changed=True), "changed_on_both_sides", "certain"),
    (drift(M, runtime_changed=False, git_changed=False), "unknown", "unknown"),
    (drift(M, versions=(version(5),)), "edited_in_n8n", "likely"),
    (drift(M, commit=commit(5)), "not_deployed", "likely"),
    (drift(M, versions=(version(5),), commit=commit(6)), "changed_on_both_sides", "possible"),
    (drift(M, versions=(version(-60),), commit=commit(-60)), "unknown", "unknown"),
    (drift(M, updated_at=at(7)), "edited_in_n8n", "possible"),
    (drift(M, updated_at=at(-60)), "unknown", "unknown"),
    (drift(M, runtime_changed=False, updated_at=at(7)), "unknown", "unknown"),
    (drift(M, Bounds(None, at(30)), versions=(version(5),), updated_at=at(5)), "unknown", "unknown"),
    (drift(M, Bounds(None, at(30))), "unknown", "unknown"),
    (drift(ADDED, was_in_git=False, runtime_changed=True), "created_in_n8n", "certain"),
    (drift(ADDED, was_in_git=False), "created_in_n8n", "likely"),
    (drift(ADDED), "created_in_n8n", "possible"),
    (drift(ADDED, was_in_git=True, git_changed=True), "removed_from_git", "certain"),
    (drift(ADDED, was_in_git=True), "removed_from_git", "likely"),
    (drift(GONE, was_in_runtime=True, runtime_changed=True), "deleted_in_n8n", "certain"),
    (drift(GONE, was_in_runtime=True), "deleted_in_n8n", "likely"),
    (drift(GONE, archived=True), "archived_in_n8n", "certain"),
    (drift(GONE, was_in_runtime=True, runtime_changed=False, git_changed=True), "not_deployed", "certain"),
    (drift(GONE, was_in_runtime=False), "not_deployed", "likely"),
    (drift(GONE, commit=commit(5)), "not_deployed", "possible"),
    (drift(GONE), "unknown", "unknown"),
    (drift(ACT, active=True, runtime_changed=True, git_changed=False), "activated_in_n8n", "certain"),
    (drift(ACT, active=False, runtime_changed=True, git_changed=False), "deactivated_in_n8n", "certain"),
    (drift(ACT, active=True, runtime_changed=False, git_changed=True), "not_deployed", "certain"),
    (drift(ACT, active=True, publish_events=(PublishEvent(True, at(5)),)), "activated_in_n8n", "likely"),
    (drift(ACT, active=True, updated_at=at(5)), "unknown", "unknown"),  # activation does not move updatedAt
])
def test_the_facts_decide_the_kind_and_how_sure_it_is(facts: DriftFacts, kind: str, confidence: str) -> None:
    cause = cause_of(facts)
    assert (cause.kind, cause.confidence) == (CauseKind(kind), Confidence(confidence))


def test_versions_inside_the_bounds_tell_who_and_narrow_when() -> None:
    cause = cause_of(drift(runtime_changed=True, git_changed=False, versions=(
        version(-60, "Eve"), version(10, "Ada"), version(12, "Bob"), version(40, "Eve"))))
    assert (cause.who, cause.earliest, cause.latest) == ("Ada, Bob", at(10), at(12))


def test_without_a_trace_the_bounds_stand() -> None:
    cause = cause_of(drift(runtime_changed=True, git_changed=False))
    assert (cause.who, cause.earliest, cause.latest) == (None, BOUNDS.last_without, BOUNDS.first_with)


def test_updated_at_is_shown_and_narrows_nothing() -> None:
    cause = cause_of(drift(runtime_changed=True, git_changed=False, updated_at=at(7)))
    assert (cause.earliest, cause.latest) == (BOUNDS.last_without, BOUNDS.first_with)
    assert any("updatedAt" in evidence.text and evidence.at == at(7) for evidence in cause.evidence)


def test_a_commit_older_than_the_bounds_still_tells_who() -> None:
    cause = cause_of(drift(runtime_changed=False, git_changed=True, commit=commit(-600)))
    assert (cause.who, cause.earliest) == ("Grace Hopper", BOUNDS.last_without)


def test_what_was_saved_just_before_the_last_check_is_it_only_where_nothing_newer_is() -> None:
    older, newer = version(-1, "Grace Hopper", "v0"), version(5)
    assert cause_of(drift(M, runtime_changed=True, git_changed=False, versions=(newer, older))).who == "Ada Lovelace"
    assert cause_of(drift(M, runtime_changed=True, git_changed=False, versions=(older,))).who == "Grace Hopper"


def test_who_archived_a_workflow_saved_its_last_version() -> None:
    cause = cause_of(drift(GONE, archived=True, versions=(version(20, "Grace Hopper"), version(5))))
    assert (cause.kind, cause.who, cause.earliest, cause.latest) == (
        CauseKind.ARCHIVED_IN_N8N, "Grace Hopper", at(20), at(20))


def test_a_clock_that_is_a_little_off_stays_inside_the_bounds() -> None:
    cause = cause_of(drift(runtime_changed=True, git_changed=False, versions=(version(31),)))
    assert (cause.who, cause.earliest, cause.latest) == ("Ada Lovelace", BOUNDS.first_with, BOUNDS.first_with)


@pytest.mark.parametrize("nobody", ["", "import", "undefined undefined", "Unknown", None])
def test_an_author_that_is_nobody_is_not_named(nobody: str | None) -> None:
    raw = {"versionId": "v", "createdAt": "2026-01-01T10:05:00.000Z", "authors": nobody}
    found = read_version(raw)
    assert found is not None and found.authors is None and found.created_at == at(5)


def test_versions_and_publish_events_are_read_as_n8n_writes_them() -> None:
    raw = {"versionId": "v", "workflowId": "w", "authors": "O W", "name": None, "createdAt": "2026-01-01T10:05:00.000Z"}
    assert read_version(raw) == Version("v", at(5), "O W")
    assert read_publish_event({"id": 1, "event": "activated", "createdAt": "2026-01-01T10:05:00.000Z"}) == PublishEvent(True, at(5))
    assert read_publish_event({"event": "renamed", "createdAt": "2026-01-01T10:05:00.000Z"}) is None


@pytest.mark.parametrize("text", [None, 5, "", "yesterday", "2026-01-01T10:00:00", "9999-99-99T00:00:00Z"])
def test_what_is_no_time_is_none(text: Any) -> None:
    assert read_time(text) is None


def test_the_words_name_kind_person_and_time() -> None:
    cause = cause_of(drift(runtime_changed=True, git_changed=False, versions=(version(10),)))
    assert cause.words() == "edited in n8n by Ada Lovelace, at 2026-01-01 10:10 UTC"
    assert cause_of(drift(ADDED)).words() == (
        "possibly created by hand in n8n, between 2026-01-01 10:00 and 2026-01-01 10:30 UTC".replace("10:00 and", "10:00 UTC and"))
    assert cause_of(drift(M, Bounds(None, at(30)))).words() == "cause not known, before 2026-01-01 10:30 UTC"


def test_evidence_is_masked_and_on_one_line() -> None:
    cause = cause_of(drift(git_changed=True, runtime_changed=False, commit=commit(
        5, "Eve\x1b[31m\nX", "key ghp_0123456789abcdefghijABCDEFGHIJ012345\nmore")))
    text = json.dumps(cause.as_json())
    assert "ghp_" not in text and "\\u001b" not in text and "\\n" not in text


times = st.integers(-100, 100).map(at)


@given(st.builds(
    DriftFacts, st.sampled_from([M, ADDED, GONE, ACT]), st.just(BOUNDS), active=st.none() | st.booleans(),
    archived=st.booleans(), runtime_changed=st.none() | st.booleans(), git_changed=st.none() | st.booleans(),
    was_in_runtime=st.none() | st.booleans(), was_in_git=st.none() | st.booleans(), updated_at=st.none() | times,
    versions=st.lists(st.builds(Version, st.just("v"), times, st.none() | st.just("Ada"))).map(tuple),
    publish_events=st.lists(st.builds(PublishEvent, st.booleans(), times)).map(tuple),
    commit=st.none() | st.builds(FileCommit, st.just("abc"), st.just("Bob"), times, st.just("s"))))
def test_a_cause_never_leaves_its_bounds_and_what_is_unknown_names_nobody(facts: DriftFacts) -> None:
    cause = cause_of(facts)
    assert cause.earliest is not None and TEN <= cause.earliest <= cause.latest <= BOUNDS.first_with
    assert (cause.kind is CauseKind.UNKNOWN) is (cause.confidence is Confidence.UNKNOWN)
    assert cause.kind is not CauseKind.UNKNOWN or cause.who is None
    assert cause.words() and json.dumps(cause.as_json())
