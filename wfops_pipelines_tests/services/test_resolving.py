"""Ending conflicts in favour of Git, of the runtime, or by splitting (§5.3): what was decided lasts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.conflicts import Keep
from wfops_pipelines.domain.errors import Blocked, UsageError
from wfops_pipelines.services.mapping_commands import link
from wfops_pipelines.services.resolving import Resolution, resolve
from wfops_pipelines.services.standing_conflicts import conflicts_of_tenant
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, run, workflow

Given = Callable[[Environment], tuple[str, str]]


def resolving(environment: Environment, name: str, keep: str, **options: Any) -> Resolution:
    return run(resolve(environment.fleet.services, environment.fleet.context, environment.slug, name, Keep(keep), **options))


def conflicts(environment: Environment) -> dict[str, str]:
    """Kind by n8n id."""
    found = conflicts_of_tenant(environment.fleet.services, environment.fleet.context, environment.slug)
    return {row["workflow_id"]: row["kind"] for row in found}


def keys(environment: Environment) -> dict[str, tuple[str | None, str | None]]:
    """Key and n8n id by path, as the files themselves say."""
    documents = {path: json.loads(data) for path, data in environment.files().items() if path.endswith(".json")}
    return {path: (d.get("wfops", {}).get("canonical_id"), d.get("id")) for path, d in documents.items()}


def canonicals(environment: Environment) -> dict[str, uuid.UUID | None]:
    return {i: row.canonical_id for i, row in environment.mappings().items()}


def statuses(environment: Environment) -> dict[str, tuple[str, str | None]]:
    return {i: (row.status, row.unlinked_reason) for i, row in environment.mappings().items()}


def outlasts(environment: Environment, *ids: str) -> None:
    """What holds for these workflows now holds after Git and n8n were read twice, with commits in between, and exports."""
    before = {i: (canonicals(environment)[i], statuses(environment)[i]) for i in ids}
    for n in (1, 2):
        environment.push_files({"README.md": b"%d" % n})
        environment.read_git()
        environment.sync()
        environment.check()
        assert conflicts(environment) == {}
        assert {i: (canonicals(environment)[i], statuses(environment)[i]) for i in ids} == before
    environment.export()
    assert environment.export().files == []
    assert environment.check().status == "IN_SYNC" and conflicts(environment) == {}
    assert {i: canonicals(environment)[i] for i in ids if before[i][0] is not None} == {
        i: held for i, (held, _) in before.items() if held is not None}
    assert environment.fleet.chain_verifies()


def claimed_by_file(prod: Environment) -> tuple[str, str]:
    """``held`` is linked to the canonical workflow of ``a.json``, which somebody rewrote to say that it is ``claimed``."""
    (held,) = prod.in_sync(workflow("Orders"))
    (claimed,) = prod.create_in_n8n(workflow("Orders, new", text="new"))
    (path,) = prod.files()
    prod.push_workflow(path, workflow("Orders, new", text="from Git", id=claimed), key=prod.canonical(path))
    prod.check()
    assert conflicts(prod) == {claimed: "claimed_by_file"}
    return held, claimed


def test_claimed_by_a_file_git(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    held, claimed = claimed_by_file(prod)
    canonical = prod.mapping(held).canonical_id
    done = resolving(prod, claimed, "git")
    assert [(w["workflow_id"], w["after"]["status"]) for w in done.workflows] == [(claimed, "linked"), (held, "untracked")]
    assert canonicals(prod) == {claimed: canonical, held: None}
    assert statuses(prod)[held] == ("untracked", "by_hand")
    outlasts(prod, held, claimed)


def test_claimed_by_a_file_runtime_overrules_the_file_and_the_next_export_mends_it(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    held, claimed = claimed_by_file(prod)
    canonical = prod.mapping(held).canonical_id
    (path,) = prod.files()
    assert resolving(prod, held, "runtime").files[0]["after"] == {"canonical_id": str(canonical), "workflow_id": None}
    assert canonicals(prod) == {held: canonical, claimed: None}
    prod.push_workflow(path, workflow("Orders, new", text="changed in Git", id=claimed), key=canonical)  # the same claim
    outlasts(prod, held)
    assert keys(prod)[path] == (str(canonical), held)
    assert prod.mapping(claimed).canonical_id not in (None, canonical)


def test_claimed_by_a_file_split(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    held, claimed = claimed_by_file(prod)
    canonical = prod.mapping(held).canonical_id
    done = resolving(prod, claimed, "split")
    assert canonicals(prod) == {held: canonical, claimed: uuid.UUID(done.canonical_id)}
    outlasts(prod, held, claimed)
    assert set(keys(prod).values()) == {(str(canonical), held), (done.canonical_id, claimed)}


def test_splitting_the_holder_off_leaves_the_other_what_the_file_says(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    held, claimed = claimed_by_file(prod)
    canonical = prod.mapping(held).canonical_id
    done = resolving(prod, held, "split")
    assert canonicals(prod) == {held: uuid.UUID(done.canonical_id), claimed: canonical}
    outlasts(prod, held, claimed)


def test_a_file_that_claims_something_else_is_heard_again(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    held, claimed = claimed_by_file(prod)
    (path,) = prod.files()
    resolving(prod, held, "runtime")
    prod.push_workflow(path, workflow("Orders, new", id=claimed), key=(other := uuid.uuid4()))
    prod.read_git()
    assert prod.mapping(claimed).canonical_id == other


def linked_otherwise(prod: Environment) -> tuple[str, str]:
    """A workflow that is linked to the canonical workflow of a file which is gone, and whose own file has another key."""
    (one,) = prod.in_sync(workflow("Orders"))
    (path,) = prod.files()
    prod.push_files({path: None})
    prod.push_workflow("other.json", workflow("Orders", text="rewritten", id=one), key=uuid.uuid4())
    prod.check()
    assert conflicts(prod) == {one: "linked_otherwise"}
    return one, "other.json"


def test_linked_otherwise_git(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    one, path = linked_otherwise(prod)
    resolving(prod, one, "git")
    assert canonicals(prod)[one] == prod.canonical(path)
    outlasts(prod, one)


def test_linked_otherwise_runtime_makes_the_file_that_of_the_workflow(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    one, path = linked_otherwise(prod)
    canonical, key = prod.mapping(one).canonical_id, keys(prod)[path][0]
    resolving(prod, one, "runtime")
    assert (prod.mapping(one).canonical_id, prod.canonical(path)) == (canonical, canonical)
    prod.push_files({path: None})
    prod.push_workflow("moved.json", workflow("Orders", text="and moved", id=one), key=key)  # the same claim elsewhere
    outlasts(prod, one)
    assert keys(prod) == {"moved.json": (str(canonical), one)}


def test_linked_otherwise_split(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    one, path = linked_otherwise(prod)
    before, key = prod.mapping(one).canonical_id, prod.canonical(path)
    done = resolving(prod, one, "split")
    assert prod.mapping(one).canonical_id == uuid.UUID(done.canonical_id) not in (before, key)
    prod.push_files({"README.md": b"!"})
    prod.read_git()
    prod.sync()
    assert prod.mapping(one).canonical_id == uuid.UUID(done.canonical_id) and conflicts(prod) == {}
    prod.export(prune=True)
    assert list(keys(prod).values()) == [(done.canonical_id, one)]
    outlasts(prod, one)


def same_content(prod: Environment) -> tuple[str, str]:
    """Two workflows of one content; the second one is untracked because the first is the canonical workflow."""
    (held,) = prod.in_sync(workflow("Orders"))
    (twin,) = prod.create_in_n8n(workflow("Orders"))
    prod.sync()
    assert conflicts(prod) == {twin: "already_mapped"}
    return held, twin


@pytest.mark.parametrize(("who", "keep", "left"), [
    (1, "runtime", 0), (0, "runtime", 1), (1, "git", 1), (0, "git", 1)])
def test_of_one_content_one_has_it(fleet: FleetUnderTest, who: int, keep: str, left: int) -> None:
    prod = fleet["prod"]
    both = same_content(prod)
    canonical = prod.mapping(both[0]).canonical_id
    resolving(prod, both[who], keep)
    assert canonicals(prod) == {both[left]: None, both[1 - left]: canonical}
    assert statuses(prod)[both[left]] == ("untracked", "by_hand")
    outlasts(prod, *both)


@pytest.mark.parametrize("who", [0, 1])
def test_of_one_content_each_is_its_own(fleet: FleetUnderTest, who: int) -> None:
    prod = fleet["prod"]
    both = same_content(prod)
    canonical = prod.mapping(both[0]).canonical_id
    done = resolving(prod, both[who], "split")
    assert canonicals(prod) == {both[who]: uuid.UUID(done.canonical_id), both[1 - who]: canonical}
    outlasts(prod, *both)


def several_files(prod: Environment) -> str:
    """A copy of its file names the same n8n id (and carries the same key, which is an error of its own)."""
    (one,) = prod.in_sync(workflow("Orders"))
    (path,) = prod.files()
    prod.push_files({"zz-copy.json": prod.files()[path]})
    prod.check()
    assert conflicts(prod) == {one: "several_files"}
    return one


def test_several_files_runtime(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    one = several_files(prod)
    canonical = prod.mapping(one).canonical_id
    resolving(prod, one, "runtime")
    for n in (1, 2):
        prod.push_files({"README.md": b"%d" % n})
        prod.check()
        assert conflicts(prod) == {} and prod.mapping(one).canonical_id == canonical
        prod.export()


def test_several_files_git_asks_which_one(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    one = several_files(prod)
    with pytest.raises(UsageError, match="2 files") as refused:
        resolving(prod, one, "git")
    assert "--file" in str(refused.value.fix)
    resolving(prod, one, "git", path=prod.path("zz-copy.json"))
    wanted = prod.canonical("zz-copy.json")
    for n in (1, 2):
        prod.push_files({"README.md": b"%d" % n})
        prod.check()
        assert conflicts(prod) == {} and prod.mapping(one).canonical_id == wanted
        prod.export()


def test_several_files_split(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    one = several_files(prod)
    done = resolving(prod, one, "split")
    for n in (1, 2):
        prod.push_files({"README.md": b"%d" % n})
        prod.check()
        assert conflicts(prod) == {} and prod.mapping(one).canonical_id == uuid.UUID(done.canonical_id)
        prod.export()
    assert (done.canonical_id, one) in keys(prod).values()


def test_ambiguous_is_told_by_a_split_or_a_link(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    fleet["dev"].push_workflow("a.json", workflow("Orders"), key=uuid.uuid4())
    fleet["dev"].push_workflow("b.json", workflow("Orders"), key=uuid.uuid4())
    fleet["dev"].read_git()
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("Orders"))
    prod.sync()
    assert conflicts(prod) == {one: "ambiguous"}
    with pytest.raises(Blocked, match="cannot be told"):
        resolving(prod, one, "runtime")
    with pytest.raises(Blocked, match="no file of the folder"):
        resolving(prod, one, "git")
    resolving(prod, one, "split")
    outlasts(prod, one)


# -- refusals, dry runs, the record ----------------------------------------------------------------------------------


def test_no_conflict_is_refused_and_a_second_time_changes_nothing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    held, claimed = claimed_by_file(prod)
    resolving(prod, claimed, "git")
    events = len(fleet.events())
    assert not resolving(prod, claimed, "git").changed
    assert len(fleet.events()) == events
    with pytest.raises(UsageError, match="in no conflict"):
        resolving(prod, claimed, "runtime")
    with pytest.raises(UsageError, match="in no conflict"):
        resolving(prod, held, "git")


def test_a_dry_run_shows_the_change_and_makes_none(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    _, claimed = claimed_by_file(prod)
    before = prod.mappings(), prod.git_states(), len(fleet.events()), len(fleet.operations())
    shown = resolving(prod, claimed, "split", dry_run=True)
    assert shown.changed and shown.dry_run and len(shown.workflows) == len(shown.files) == 1
    assert (prod.mappings(), prod.git_states(), len(fleet.events()), len(fleet.operations())) == before


def test_each_change_is_an_event_with_before_and_after(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    held, claimed = claimed_by_file(prod)
    resolving(prod, claimed, "git")
    (resolved,), (unlinked,) = fleet.events("mapping.resolved"), fleet.events("mapping.unlinked")
    assert (resolved.subject_id, resolved.details["keep"]) == (claimed, "git")
    assert [w["workflow_id"] for w in resolved.details["workflows"]] == [claimed, held]
    assert (unlinked.subject_id, unlinked.details["was"]["status"], unlinked.details["status"]) == (held, "linked", "untracked")


def test_a_folder_that_n8n_writes_cannot_be_overruled(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (held, claimed) = prod.create_in_n8n(workflow("Orders"), workflow("Orders, new", text="new"))
    prod.push_workflow("workflows/1.json", workflow("Orders", id=held, versionId="v", owner={}))
    prod.check()
    prod.push_workflow("workflows/1.json", workflow("Orders", id=claimed, versionId="v", owner={}))
    prod.check()
    assert conflicts(prod) == {claimed: "claimed_by_file"}
    for name, keep in ((held, "runtime"), (claimed, "split")):
        with pytest.raises(Blocked, match="Source Control"):
            resolving(prod, name, keep)
    assert resolving(prod, claimed, "git").changed


def test_link_and_drift_name_resolve_as_the_way_out(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    held, claimed = claimed_by_file(prod)
    way_out = f"wfops resolve acme prod {claimed} --keep git|runtime|split"
    with pytest.raises(Blocked) as refused:
        run(link(fleet.services, fleet.context, "prod", claimed, str(prod.mapping(held).canonical_id)))
    assert refused.value.fix == way_out
    (problem,) = prod.check().problems
    assert (problem["workflow_id"], problem["reason"]) == (claimed, "conflict") and way_out in problem["message"]


def test_a_failure_in_the_middle_leaves_nothing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    held, claimed = claimed_by_file(prod)
    before = canonicals(prod), statuses(prod), prod.git_states()
    failpoints.arm("mapping.resolve.before_commit=raise")
    with pytest.raises(failpoints.FailpointReached):
        resolving(prod, claimed, "split")
    assert (canonicals(prod), statuses(prod), prod.git_states()) == before
    failpoints.disarm()
    resolving(prod, claimed, "split")
    outlasts(prod, held, claimed)
