"""Which canonical workflow a workflow of n8n is (§5.2, §4.7, §4.9)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import update

from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.services import linking, rehash, sync_environment, sync_repository
from wfops_pipelines.store.tables.mappings import canonical_workflows, workflow_hash_registry
from wfops_pipelines_tests.services.fleet import (
    Environment,
    FleetUnderTest,
    NewFleet,
    calling,
    file_bytes,
    with_credential,
    workflow,
)


def reasons(environment: Environment) -> dict[str, str | None]:
    return {row.name: row.unlinked_reason for row in environment.mappings().values()}


def hashes(environment: Environment) -> dict[str, str]:
    return {row.workflow_id: row.portable_hash for row in environment.mappings().values()}


def test_a_file_that_names_the_n8n_id_is_that_workflow_whatever_the_content(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A", text="in n8n"))
    prod.push_workflow("a.json", workflow("Other name", text="in Git", id=one))
    prod.read_git()
    assert prod.sync().linked == 1
    assert prod.mapping(one).canonical_id == prod.git_states()["a.json"].canonical_id
    (event,) = fleet.events("mapping.linked")
    assert (event.subject_id, event.details["by"]) == (one, "file")


def test_an_untracked_workflow_is_tried_again_after_the_repository_was_read(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    assert prod.sync().untracked == 1
    assert reasons(prod) == {"A": "no_match"}
    prod.push_workflow("a.json", workflow("A"))
    result = prod.read_git()
    assert (result.added, result.linked) == (1, 1)
    assert (prod.mapping(one).status, prod.mapping(one).unlinked_reason) == ("linked", None)


def test_a_workflow_of_another_environment_is_found_by_its_portable_hash(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    fleet["dev"].in_sync(workflow("A"))
    (there,) = fleet["staging"].create_in_n8n(workflow("A"))
    assert fleet["staging"].sync().linked == 1
    (here,) = fleet["dev"].mappings().values()
    assert fleet["staging"].mapping(there).canonical_id == here.canonical_id
    assert fleet.events("mapping.linked")[-1].details["by"] == "hash"


def test_ids_and_credential_names_of_environments_do_not_stand_in_the_way(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"), credentials=[{
        "key": "stripe", "type": "httpBasicAuth",
        "environments": {"dev": {"name": "stripe"}, "staging": {"name": "stripe-stg"}}}])
    fleet["dev"].in_sync(with_credential("A", "stripe", "id-in-dev"))
    fleet["staging"].create_in_n8n(with_credential("A", "stripe-stg", "id-in-staging"), with_credential("B", "else"))
    assert fleet["staging"].sync().linked == 1
    assert reasons(fleet["staging"]) == {"A": None, "B": "no_match"}


def test_the_same_hash_of_two_canonical_workflows_is_ambiguous(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    fleet["dev"].push_files({"a.json": file_bytes(workflow("Same")), "b.json": file_bytes(workflow("Same"), key=uuid.uuid4())})
    fleet["dev"].read_git()
    fleet["staging"].create_in_n8n(workflow("Same"))
    assert fleet["staging"].sync().linked == 0
    assert reasons(fleet["staging"]) == {"Same": "ambiguous"}


def test_a_copy_in_n8n_stays_untracked_because_its_canonical_workflow_is_mapped(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    (copy,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    assert prod.mapping(copy).unlinked_reason == "already_mapped"


def test_of_two_equal_new_workflows_one_is_linked(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("A"))
    prod.read_git()
    prod.create_in_n8n(workflow("A"), workflow("A"))
    result = prod.sync()
    assert (result.linked, result.untracked) == (1, 1)


def test_a_file_speaks_before_a_hash_so_that_none_takes_the_other_ones_place(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("A", id="zz"))
    prod.read_git()
    prod.create_in_n8n(workflow("A", id="aa"), workflow("A", text="edited", id="zz"))
    prod.sync()
    assert prod.mapping("zz").status == "linked"
    assert prod.mapping("aa").unlinked_reason == "already_mapped"


def test_a_deleted_canonical_workflow_is_linked_by_nothing(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    dev = fleet["dev"]
    dev.push_workflow("a.json", workflow("A"))
    dev.read_git()
    canonical = dev.git_states()["a.json"].canonical_id
    delete(fleet, canonical)
    (one,) = fleet["staging"].create_in_n8n(workflow("A"))
    fleet["staging"].sync()
    assert fleet["staging"].mapping(one).unlinked_reason == "canonical_deleted"


def delete(fleet: FleetUnderTest, canonical_id: uuid.UUID) -> None:
    fleet.writing(lambda work: work.connection.execute(update(canonical_workflows).where(
        canonical_workflows.c.id == canonical_id).values(deleted_at=fleet.clock.now())))


def test_a_collision_stops_the_link_and_is_an_event(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    fleet["dev"].push_workflow("a.json", workflow("A"))
    fleet["dev"].read_git()
    state = fleet["dev"].git_states()["a.json"]
    other = uuid.uuid4()
    fleet.writing(lambda work: (
        work.mappings.save_canonicals({other: "A"}, fleet.clock.now()),
        work.mappings.register([(state.portable_hash, "another content's proof", other)], NORMALIZER_VERSION,
                               fleet.clock.now())))
    (one,) = fleet["staging"].create_in_n8n(workflow("A"))
    fleet["staging"].sync()
    assert fleet["staging"].mapping(one).unlinked_reason == "collision"
    (event,) = fleet.events("hash.collision")
    assert (event.subject_id, event.environment) == (one, "staging")
    fleet["staging"].sync()
    assert len(fleet.events("hash.collision")) == 1


def test_a_file_whose_hash_collides_is_a_workflow_of_its_own(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    fleet["dev"].push_workflow("a.json", workflow("A"))
    fleet["dev"].read_git()
    state = fleet["dev"].git_states()["a.json"]
    fleet.writing(lambda work: work.connection.execute(update(workflow_hash_registry).values(proof="another content's")))
    fleet["staging"].push_workflow("a.json", workflow("A"))
    fleet["staging"].read_git()
    assert fleet["staging"].git_states()["a.json"].canonical_id != state.canonical_id
    assert [e.subject_id for e in fleet.events("hash.collision")] == ["staging/a.json"]


# -- references --------------------------------------------------------------------------------------------------------


def test_a_caller_is_linked_after_the_workflow_it_calls(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    fleet["dev"].in_sync(workflow("Callee", id="c-dev"), calling("Caller", "c-dev", id="b-dev"),
                         calling("Caller of caller", "b-dev", id="a-dev"))
    fleet["staging"].create_in_n8n(workflow("Callee", id="c-stg"), calling("Caller", "c-stg", id="b-stg"),
                                   calling("Caller of caller", "b-stg", id="a-stg"))
    assert fleet["staging"].sync().linked == 3
    dev, staging = hashes(fleet["dev"]), hashes(fleet["staging"])
    assert [dev[f"{x}-dev"] for x in "abc"] == [staging[f"{x}-stg"] for x in "abc"]


def test_callers_that_differ_only_in_what_they_call_are_told_apart(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    fleet["dev"].in_sync(workflow("One", id="one"), workflow("Two", id="two"), calling("Call", "one", id="call-one"),
                         calling("Call", "two", id="call-two"))
    dev = {i: row.canonical_id for i, row in fleet["dev"].mappings().items()}
    fleet["staging"].create_in_n8n(workflow("One", id="1"), workflow("Two", id="2"), calling("Call", "1", id="c1"),
                                   calling("Call", "2", id="c2"))
    assert fleet["staging"].sync().linked == 4
    staging = {i: row.canonical_id for i, row in fleet["staging"].mappings().items()}
    assert (staging["c1"], staging["c2"]) == (dev["call-one"], dev["call-two"])


def test_a_workflow_that_calls_itself_is_the_same_everywhere(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    fleet["dev"].in_sync(calling("Loop", "mine-dev", id="mine-dev"))
    fleet["staging"].create_in_n8n(calling("Loop", "mine-stg", id="mine-stg"))
    assert fleet["staging"].sync().linked == 1
    assert set(hashes(fleet["dev"]).values()) == set(hashes(fleet["staging"]).values())


def test_two_workflows_that_call_each_other_are_linked(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    fleet["dev"].in_sync(calling("Ping", "d2", id="d1"), calling("Pong", "d1", id="d2"))
    fleet["staging"].create_in_n8n(calling("Ping", "s2", id="s1"), calling("Pong", "s1", id="s2"))
    fleet["staging"].sync()
    assert {row.status for row in fleet["staging"].mappings().values()} == {"linked"}
    assert set(hashes(fleet["dev"]).values()) == set(hashes(fleet["staging"]).values())


# -- hashing anew ------------------------------------------------------------------------------------------------------


def test_a_change_of_the_credential_table_hashes_both_sides_anew_and_is_no_drift(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    for slug, name in (("dev", "stripe"), ("prod", "stripe-live")):
        fleet[slug].in_sync(with_credential("A", name))
    before = hashes(fleet["prod"]), {p: s.portable_hash for p, s in fleet["prod"].git_states().items()}
    checks = len(fleet.events("drift.changed"))
    fleet.tenant["credentials"] = [{"key": "stripe", "type": "httpBasicAuth", "environments": {
        "dev": {"name": "stripe"}, "prod": {"name": "stripe-live"}}}]
    fleet.apply()
    assert fleet["prod"].check().status == "IN_SYNC"
    assert len(fleet.events("drift.changed")) == checks
    after = hashes(fleet["prod"]), {p: s.portable_hash for p, s in fleet["prod"].git_states().items()}
    assert set(before[0].values()) != set(after[0].values())
    assert set(after[0].values()) == set(after[1].values())
    fleet["dev"].sync()
    assert set(hashes(fleet["dev"]).values()) == set(after[0].values())


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call: from now on the normaliser has another version."""
    def change() -> None:
        for module in (linking, rehash, sync_environment, sync_repository):
            monkeypatch.setattr(module, "NORMALIZER_VERSION", NORMALIZER_VERSION + 1)
    return change


def test_a_new_version_of_the_normaliser_hashes_from_what_is_stored_and_reports_no_drift(
        fleet: FleetUnderTest, next_version: Any) -> None:
    prod = fleet["prod"]
    ids = prod.in_sync(workflow("A"), calling("B", "none"))
    next_version()
    requests = fleet.host.requests[prod.url.rpartition("/")[2]]
    requests.clear()
    check = prod.compare()
    assert requests == []
    assert (check.status, check.changed) == ("IN_SYNC", False)
    assert {row.normalizer_version for row in prod.mappings().values()} == {NORMALIZER_VERSION + 1}
    assert {row.normalizer_version for row in prod.git_states().values()} == {NORMALIZER_VERSION + 1}
    assert len(fleet.events("environment.rehashed")) == 2  # workflows and files
    result = prod.sync()
    assert (result.unchanged, result.linked) == (2, 2)
    assert prod.mapping(ids[0]).in_sync_hash == prod.mapping(ids[0]).portable_hash


def test_workflows_are_linked_by_hashes_of_the_new_version(new_fleet: NewFleet, next_version: Any) -> None:
    fleet = new_fleet(("dev", "staging"))
    fleet["dev"].in_sync(workflow("A"))
    next_version()
    fleet["staging"].create_in_n8n(workflow("A"))
    assert fleet["staging"].sync().linked == 0  # dev is hashed anew when it is its turn
    fleet["dev"].sync()
    assert fleet["staging"].sync().linked == 1
