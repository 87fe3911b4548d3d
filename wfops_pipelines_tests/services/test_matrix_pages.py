"""Pages of the matrix are the matrix: each row once, whatever the names, with the same cells (§15, §19.4)."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.services.canonical_deletion import delete_canonical
from wfops_pipelines.services.matrix import MatrixRow, matrix_page, workflow_matrix
from wfops_pipelines.store.tables.drift import workflow_drift
from wfops_pipelines.store.tables.git_states import canonical_workflow_git_state as git_states
from wfops_pipelines.store.tables.mappings import canonical_workflows, workflow_env_map
from wfops_pipelines.store.unit_of_work import UnitOfWork
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, run, workflow

NAMES = st.sampled_from(["", "a", "A", "a b", "ab", "Z", "é", "e\u0301", "🚀", "\uffff", "\U00010000", "lone \ud800", "nul \x00",
                         "x" * 200, "x" * 201, "x" * 199 + "y", "x" * 3000]) | st.text(max_size=5)
STATUSES = st.sampled_from(["linked", "untracked", "ignored", "missing", "deleted"])
PLACES = st.lists(st.tuples(STATUSES, st.booleans(), st.booleans()), max_size=3)  # for each environment: drifts, has a file
WORKFLOWS = st.lists(st.tuples(NAMES, st.sampled_from(["canonical", "deleted", "none"]), PLACES), max_size=25)


@pytest.fixture
def three(new_fleet: NewFleet) -> FleetUnderTest:
    return new_fleet(("dev", "staging", "prod"))


def pages(fleet: FleetUnderTest, limit: int) -> list[MatrixRow]:
    """All rows, by pages of a size."""
    found: list[MatrixRow] = []
    cursor: str | None = None
    while True:
        page = matrix_page(fleet.services, fleet.context, limit=limit, after=cursor)
        found += page.rows
        assert len(page.rows) <= limit
        if page.next_cursor is None:
            return found
        assert len(page.rows) == limit
        cursor = page.next_cursor


def counted(rows: list[MatrixRow]) -> Counter[str]:
    return Counter(str((row.canonical_id, row.name, sorted(row.environments.items()))) for row in rows)


def store(fleet: FleetUnderTest, workflows: list[Any]) -> None:
    """Make these the tenant's workflows, straight in the store."""
    environments = [fleet[slug].row.id for slug in ("dev", "staging", "prod")]

    def write(work: UnitOfWork) -> None:
        tenant = {"tenant_id": work.context.tenant_id}
        for table in (workflow_drift, git_states, workflow_env_map, canonical_workflows):
            work.connection.execute(delete(table))
        work.payloads.save({"d": b"{}"})
        for number, (name, kind, places) in enumerate(workflows):
            canonical = None if kind == "none" else UUID(int=number)  # of equal names, the order of ids decides
            if canonical is not None:
                work.connection.execute(insert(canonical_workflows).values(
                    **tenant, id=canonical, name=name, deleted_at=fleet.clock.now() if kind == "deleted" else None))
            for environment, (status, drifts, has_file) in zip(environments, places, strict=False):
                linked = "untracked" if canonical is None and status == "linked" else status
                common = {**tenant, "environment_id": environment, "normalizer_version": 1, "portable_hash": "h"}
                work.connection.execute(insert(workflow_env_map).values(
                    **common, id=uuid4() if canonical is not None else UUID(int=number), workflow_id=f"w{number}",
                    canonical_id=canonical, status=linked, name=name[:1000], active=False, draft_digest="d",
                    live_digest="d", draft_hash="h", live_hash="h"))
                if canonical is not None and has_file:
                    work.connection.execute(insert(git_states).values(
                        **common, path=f"f{number}", canonical_id=canonical, blob="b", commit="c", name=name, digest="d",
                        content_hash="g"))
                if drifts:
                    work.connection.execute(insert(workflow_drift).values(
                        **tenant, environment_id=environment, subject=f"f{number}" if status == "deleted" else f"w{number}",
                        name=name, kind="modified", kinds=["modified"]))
                if canonical is None:
                    break  # a mapping alone is of one environment

    fleet.writing(write)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(workflows=WORKFLOWS, limit=st.sampled_from([1, 2, 3, 7, 100]))
def test_all_pages_together_are_the_matrix(three: FleetUnderTest, workflows: list[Any], limit: int) -> None:
    store(three, workflows)
    assert counted(pages(three, limit)) == counted(workflow_matrix(three.services, three.context))


def test_of_equal_names_each_row_comes_once_wherever_a_page_ends(three: FleetUnderTest) -> None:
    places = [("linked", True, True)]
    store(three, [("same", kind, places) for kind in ("canonical", "none", "deleted") for _ in range(5)])
    whole = workflow_matrix(three.services, three.context)
    assert len(whole) == 15
    for limit in range(1, 17):
        assert counted(pages(three, limit)) == counted(whole), limit


def test_a_page_is_in_the_order_of_the_characters_of_names(three: FleetUnderTest) -> None:
    names = ["", "A", "Z", "a", "é", "\uffff", "\U00010000", "🚀"]
    store(three, [(name, kind, [("linked", False, False)]) for name in reversed(names) for kind in ("none", "canonical")])
    assert [row.name for row in pages(three, 3)] == [name for name in names for _ in range(2)]


def test_a_row_that_was_deleted_ends_no_listing(three: FleetUnderTest) -> None:
    """The cursor is a place: what came before it and what comes behind stay what they were."""
    three["prod"].in_sync(workflow("A"), workflow("B"), workflow("C"))
    first = matrix_page(three.services, three.context, limit=2)
    assert [row.name for row in first.rows] == ["A", "B"]
    run(delete_canonical(three.services, three.context, "B"))
    three["prod"].in_sync(workflow("AA"))
    second = matrix_page(three.services, three.context, limit=2, after=first.next_cursor)
    assert ([row.name for row in second.rows], second.next_cursor) == (["C"], None)


def test_an_environment_that_is_declared_no_more_has_no_rows(three: FleetUnderTest) -> None:
    three["dev"].create_in_n8n(workflow("Loose"))
    three["dev"].sync()
    assert [row.name for row in pages(three, 10)] == ["Loose"]
    three.tenant["environments"] = three.tenant["environments"][1:]
    three.apply(prune=True)
    assert pages(three, 10) == []


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("cursor", [
    "", "x", "é", "a b", "====", encoded("no JSON"), encoded("{}"), encoded('["a", false]'), encoded('["a", false, "1"]'),
    encoded(f'["a", 1, "{UUID(int=1)}"]'), encoded(f'[1, true, "{UUID(int=1)}"]'), encoded("[" * 100_000),
    encoded(f'["\\ud800", true, "{UUID(int=1)}"]'), encoded(f'["\\u0000", true, "{UUID(int=1)}"]'),
    base64.urlsafe_b64encode(b"\xff").decode()])
def test_a_cursor_that_no_page_ended_with_is_refused(cursor: str, three: FleetUnderTest) -> None:
    with pytest.raises(UsageError, match="no cursor of the matrix"):
        matrix_page(three.services, three.context, limit=1, after=cursor)
