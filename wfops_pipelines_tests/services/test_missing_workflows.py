"""Workflows that vanish and come back (§5.5)."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.domain.errors import Unreachable
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, workflow


def hidden_from_listings(environment: Environment, workflow_id: str) -> Any:
    """A page that shifts while people work: the listing passes over a workflow that is there. Call to undo."""
    order = environment.sandbox.state.ordered_ids()
    order.remove(workflow_id)

    def undo() -> None:
        environment.sandbox.state._order = None
    return undo


def test_a_deleted_workflow_is_missing_and_is_confirmed_by_asking_for_it(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    ids = prod.create_in_n8n(workflow("A"), workflow("B"))
    prod.sync()
    prod.delete_in_n8n(ids[0])
    requests = fleet.host.requests[prod.url.rpartition("/")[2]]
    requests.clear()
    result = prod.sync()
    assert (result.seen, result.missing, result.untracked) == (1, 1, 1)
    assert f"GET /api/v1/workflows/{ids[0]}" in requests
    row = prod.mapping(ids[0])
    assert row.status == "missing" and row.missing_at is not None
    (event,) = fleet.events("mapping.missing")
    assert event.subject_id == ids[0] and event.details["name"] == "A"


def test_a_missing_workflow_is_not_asked_for_again(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    prod.delete_in_n8n(one)
    prod.sync()
    requests = fleet.host.requests[prod.url.rpartition("/")[2]]
    requests.clear()
    assert prod.sync().missing == 0  # told once: nobody expects it
    assert f"GET /api/v1/workflows/{one}" not in requests
    assert len(fleet.events("mapping.missing")) == 1


def test_a_workflow_that_a_shifting_page_hid_is_not_missing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    ids = prod.create_in_n8n(workflow("A"), workflow("B"))
    prod.sync()
    hidden_from_listings(prod, ids[1])
    prod.edit_in_n8n(ids[1])
    result = prod.sync()
    assert (result.seen, result.updated, result.missing) == (2, 1, 0)
    assert prod.mapping(ids[1]).status == "untracked"


def test_a_workflow_that_shows_on_two_pages_is_counted_once(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    fleet.with_limits(page_size=2)
    ids = prod.create_in_n8n(*(workflow(f"W{n}") for n in range(3)))
    order = prod.sandbox.state.ordered_ids()
    order.insert(2, order[1])
    result = prod.sync()
    assert (result.seen, result.created) == (3, 3)
    assert set(prod.mappings()) == set(ids)


def test_nothing_is_missing_when_it_cannot_be_confirmed(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    prod.delete_in_n8n(one)
    prod.sandbox.faults.add("status", status=503, path=f"/workflows/{one}")
    with pytest.raises(Unreachable):
        prod.sync()
    assert prod.mapping(one).missing_at is None


def test_a_linked_workflow_that_comes_back_is_linked_again(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A", id="kept-id"))
    canonical = prod.mapping(one).canonical_id
    prod.delete_in_n8n(one)
    assert prod.sync().missing == 1
    prod.create_in_n8n(workflow("A", id="kept-id"))
    result = prod.sync()
    assert (result.missing, result.linked, result.updated) == (0, 1, 1)
    row = prod.mapping(one)
    assert (row.status, row.canonical_id, row.missing_at) == ("linked", canonical, None)


def test_an_ignored_workflow_stays_ignored_while_it_is_gone_and_when_it_comes_back(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A", id="kept-id"))
    prod.sync()
    prod.set_mapping(one, ignored_at=fleet.clock.now(), status="ignored")
    prod.delete_in_n8n(one)
    result = prod.sync()
    assert (result.ignored, result.missing) == (1, 0)
    assert prod.mapping(one).missing_at is not None
    prod.create_in_n8n(workflow("A", text="other", id="kept-id"))
    prod.sync()
    assert (prod.mapping(one).status, prod.mapping(one).missing_at) == ("ignored", None)


def test_a_canonical_workflow_that_was_taken_meanwhile_is_not_taken_back(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A", id="first-id"))
    canonical = prod.mapping(one).canonical_id
    prod.delete_in_n8n(one)
    prod.sync()
    (two,) = prod.create_in_n8n(workflow("A", id="second-id"))
    assert prod.sync().linked == 1  # by its hash
    prod.create_in_n8n(workflow("A", id="first-id"))
    result = prod.sync()
    assert (result.linked, result.untracked, result.missing) == (1, 1, 0)
    assert prod.mapping(two).canonical_id == canonical
    assert (prod.mapping(one).status, prod.mapping(one).unlinked_reason) == ("untracked", "already_mapped")


def test_of_a_workflow_that_comes_back_and_a_copy_of_it_the_first_is_itself_again(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A", id="zz-original"))
    canonical = prod.mapping(one).canonical_id
    prod.delete_in_n8n(one)
    prod.sync()
    prod.create_in_n8n(workflow("A", id="aa-copy"), workflow("A", id="zz-original"))
    result = prod.sync()
    assert (result.linked, result.untracked) == (1, 1)
    assert prod.mapping(one).canonical_id == canonical
    assert prod.mapping("aa-copy").unlinked_reason == "already_mapped"


def test_two_that_were_the_same_canonical_workflow_and_come_back_together(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A", id="aa"))
    prod.delete_in_n8n(one)
    prod.sync()
    prod.create_in_n8n(workflow("A", id="bb"))
    prod.sync()
    prod.delete_in_n8n("bb")
    prod.sync()
    prod.create_in_n8n(workflow("A", id="aa"), workflow("A", id="bb"))
    result = prod.sync()
    assert (result.linked, result.untracked, result.missing) == (1, 1, 0)


def test_what_git_still_has_is_missing_until_git_has_it_no_more(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.delete_in_n8n(one)
    assert [prod.sync().missing for _ in range(3)] == [1, 1, 1]
    prod.export(prune=True)
    assert (prod.sync().missing, prod.mapping(one).status) == (0, "missing")


def test_what_a_file_names_is_missing_also_where_it_was_never_linked(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    prod.delete_in_n8n(one)
    prod.sync()
    assert prod.sync().missing == 0
    prod.push_workflow("a.json", workflow("A", id=one))
    prod.read_git()
    assert prod.sync().missing == 1


def test_a_linked_workflow_that_git_never_had_here_is_missing_until_it_is_ended(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    fleet["dev"].in_sync(workflow("A"))
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    assert prod.sync().linked == 1
    prod.delete_in_n8n(one)
    assert [prod.sync().missing for _ in range(2)] == [1, 1]
    prod.set_mapping(one, ignored_at=fleet.clock.now(), status="ignored")
    assert prod.sync().missing == 0
