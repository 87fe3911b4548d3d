"""The same change across environments and tenants is one group (§10)."""

from __future__ import annotations

import copy
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.diff import as_json, diff, from_json
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.same_change import ChangeGroup, ChangeRow, fingerprint, group_same_change


def content(url: str = "https://example.com/a", credential: str = "bot", called: str = "w1", more: Any = None) -> dict[str, Any]:
    return {"name": "Report", "connections": {}, "settings": {}, "nodes": [
        {"name": "Get", "type": "n8n-nodes-base.httpRequest", "typeVersion": 4, "position": [0, 0],
         "parameters": {"url": url, **(more or {})}, "credentials": {"slackApi": {"id": "1", "name": credential}}},
        {"name": "Call", "type": "n8n-nodes-base.executeWorkflow", "typeVersion": 1, "position": [0, 0],
         "parameters": {"workflowId": called}},
    ]}


def row(environment: str, before: Any = None, after: Any = None, *, tenant: str = "acme", live_hash: str | None = None,
        kind: DriftKind = DriftKind.MODIFIED, **more: Any) -> ChangeRow:
    found = diff(before, after) if before or after else None
    return ChangeRow(tenant, environment, more.pop("subject", "w"), "Report", kind, live_hash, found, **more)


def sizes(groups: tuple[ChangeGroup, ...]) -> list[int]:
    return [len(group.rows) for group in groups]


def test_the_same_edit_in_two_tenants_is_one_group() -> None:
    groups = group_same_change([row("prod", content(), content("https://example.com/b")),
                                row("prod", content(), content("https://example.com/b"), tenant="globex"),
                                row("staging", content(), content("https://example.com/c"))])
    assert sizes(groups) == [2, 1]
    assert groups[0].environments == (("acme", "prod"), ("globex", "prod"))
    assert groups[0].certain


def test_the_same_edit_of_workflows_that_differ_otherwise_is_one_group() -> None:
    other = {"method": "POST"}
    assert sizes(group_same_change([
        row("prod", content(), content("https://example.com/b")),
        row("staging", content(more=other), content("https://example.com/b", more=other))])) == [2]


def test_names_of_credentials_and_ids_of_workflows_belong_to_one_environment() -> None:
    groups = group_same_change([row("prod", content(), content("u", "live", "x1")),
                                row("staging", content(), content("u", "test", "y2"))])
    assert sizes(groups) == [2] and not groups[0].certain


def test_changes_of_secrets_are_the_same_only_probably() -> None:
    groups = group_same_change([row(env, content(), content(more={"apiKey": secret})) for env, secret in
                                (("prod", "aaaaaaaaaaaaaaaa1"), ("staging", "bbbbbbbbbbbbbbbb2"))])
    assert sizes(groups) == [2] and not groups[0].certain


def test_a_stored_diff_has_the_fingerprint_of_the_one_it_was_made_from() -> None:
    fresh = diff(content(), content(more={"password": "hunter2hunter2", "body": "x"}))
    assert fingerprint(fresh) == fingerprint(from_json(as_json(fresh))) is not None


def test_equal_live_hashes_are_one_group_without_a_diff() -> None:
    assert sizes(group_same_change([row("prod", live_hash="h"), row("staging", live_hash="h"), row("qa", live_hash="i")])) == [2, 1]


def test_another_kind_of_drift_is_another_change() -> None:
    assert sizes(group_same_change([row("prod", live_hash="h"),
                                    row("staging", live_hash="h", kind=DriftKind.ADDED_IN_RUNTIME)])) == [1, 1]
    assert sizes(group_same_change([row("prod", live_hash="h", kind=DriftKind.ACTIVATION, active=True),
                                    row("staging", live_hash="h", kind=DriftKind.ACTIVATION, active=False)])) == [1, 1]


def test_one_workflow_deleted_in_two_environments_is_one_group() -> None:
    gone: dict[str, Any] = {"kind": DriftKind.MISSING_IN_RUNTIME, "canonical_id": UUID(int=1)}
    assert sizes(group_same_change([row("prod", content(), None, **gone), row("staging", content(), None, **gone),
                                    row("prod", content(), None, tenant="globex", **gone)])) == [2, 1]


def test_deletions_of_different_workflows_are_not_the_same_change() -> None:
    assert sizes(group_same_change([
        row(env, content(), None, kind=DriftKind.MISSING_IN_RUNTIME, canonical_id=UUID(int=number))
        for number, env in enumerate(["prod", "staging"])])) == [1, 1]


rows = st.lists(st.builds(
    ChangeRow, st.sampled_from("ab"), st.sampled_from("pq"), st.sampled_from("xyz"), st.just("n"),
    st.sampled_from([DriftKind.MODIFIED, DriftKind.ADDED_IN_RUNTIME]), st.sampled_from([None, "h", "i"]),
    st.sampled_from([None, *(diff(content(), content(url)) for url in ("b", "c"))])), max_size=12)


@given(rows, st.randoms(use_true_random=False))
def test_every_row_is_in_one_group_whatever_the_order(found: list[ChangeRow], random: Random) -> None:
    shuffled = copy.copy(found)
    random.shuffle(shuffled)
    groups = group_same_change(shuffled)
    assert sum(sizes(groups)) == len(found)
    assert sorted(sizes(groups)) == sorted(sizes(group_same_change(found)))
