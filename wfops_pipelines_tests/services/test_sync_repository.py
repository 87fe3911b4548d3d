"""Repository sync, Git → store (§7): what changed, which file is which workflow, and every odd file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import MalformedFile, NotFound, Refused, Unreachable
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.git_http import GitHttpServer
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, file_bytes, workflow


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitHttpServer]:
    with GitHttpServer(tmp_path) as server:
        yield server


def test_an_unchanged_head_is_one_request_and_nothing_else(new_fleet: NewFleet, git_server: GitHttpServer) -> None:
    fleet = new_fleet(repository_url=git_server.url("acme.git"))
    fleet["prod"].push_workflow("a.json", workflow("A"))
    assert fleet["prod"].read_git().added == 1
    events = len(fleet.events())
    with git_server.counting() as requests:
        result = fleet["prod"].read_git()
    assert len(requests) == 1
    assert (result.unchanged_head, result.files, result.added, result.changed) == (True, 1, 0, 0)
    assert len(fleet.events()) == events


def test_files_that_are_added_changed_and_removed(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    head = prod.push_files({f"{n}.json": file_bytes(workflow(n)) for n in "abc"})
    first = prod.read_git()
    assert (first.head, first.files, first.added, first.changed, first.removed) == (head, 3, 3, 0, 0)
    before = prod.git_states()
    head = prod.push_files({"a.json": file_bytes(workflow("a", text="new")), "b.json": None,
                            "d.json": file_bytes(workflow("d"))})
    second = prod.read_git()
    assert (second.head, second.files, second.added, second.changed, second.removed) == (head, 3, 1, 1, 1)
    after = prod.git_states()
    assert after["a.json"].canonical_id == before["a.json"].canonical_id
    assert after["a.json"].content_hash != before["a.json"].content_hash
    assert (after["c.json"].commit, after["d.json"].commit) == (before["c.json"].commit, head)
    (event,) = fleet.events("git.file_removed")
    assert event.subject_id == "prod/b.json"
    assert fleet.chain_verifies()


def test_what_a_file_wants_is_stored(fleet: FleetUnderTest) -> None:
    fleet["prod"].push_workflow("a.json", workflow("A", id="n8n-id"), key=uuid.uuid4(), active=True, tags=["b", "a"])
    fleet["prod"].read_git()
    state = fleet["prod"].git_states()["a.json"]
    assert (state.wants_active, state.tags, state.workflow_id, state.name) == (True, ["a", "b"], "n8n-id", "A")


def test_the_key_in_the_file_is_the_workflow_wherever_the_file_goes(fleet: FleetUnderTest) -> None:
    prod, key = fleet["prod"], uuid.uuid4()
    prod.push_workflow("a.json", workflow("A"), key=key)
    prod.read_git()
    prod.push_files({"a.json": None, "deep/er/b.json": file_bytes(workflow("B", text="all new"), key=key)})
    prod.read_git()
    assert prod.canonical("deep/er/b.json") == key
    assert list(prod.git_states()) == ["deep/er/b.json"]


def test_the_same_key_in_two_environments_is_the_same_workflow(new_fleet: NewFleet) -> None:
    fleet, key = new_fleet(("staging", "prod")), uuid.uuid4()
    for slug in ("staging", "prod"):
        fleet[slug].push_workflow("a.json", workflow("A", text=slug), key=key)
        fleet[slug].read_git()
        assert fleet[slug].canonical("a.json") == key


def test_without_a_key_the_path_is_the_workflow(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("A"))
    prod.read_git()
    before = prod.canonical("a.json")
    prod.push_workflow("a.json", workflow("Other", text="all new"))
    prod.read_git()
    assert prod.canonical("a.json") == before


def test_a_renamed_file_is_known_by_its_content(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({"a.json": file_bytes(workflow("A")), "b.json": file_bytes(workflow("B"))})
    prod.read_git()
    before = prod.canonical("a.json")
    prod.push_files({"a.json": None, "renamed.json": file_bytes(workflow("A"))})
    result = prod.read_git()
    assert (result.added, result.removed, result.files) == (1, 1, 2)
    assert prod.canonical("renamed.json") == before
    assert fleet.events("git.batch_synced")[-1].details["files"]["prod/renamed.json"]["by"] == "rename"


def test_a_file_that_comes_back_to_its_path_is_what_it_was(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("A"))
    prod.read_git()
    before = prod.canonical("a.json")
    prod.push_files({"a.json": None})
    prod.read_git()
    prod.push_workflow("a.json", workflow("A", text="rewritten meanwhile"))
    prod.read_git()
    assert prod.canonical("a.json") == before


def test_a_new_file_at_a_path_that_was_renamed_away_does_not_take_the_workflow_back(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("A"))
    prod.read_git()
    before = prod.canonical("a.json")
    prod.push_files({"a.json": None, "b.json": file_bytes(workflow("A"))})
    prod.read_git()
    prod.push_files({"a.json": file_bytes(workflow("New")), "b.json": file_bytes(workflow("A", text="changed too"))})
    prod.read_git()
    assert prod.canonical("b.json") == before
    assert prod.canonical("a.json") != before


def test_a_file_of_another_environment_is_known_by_its_hash(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    for slug in ("staging", "prod"):
        fleet[slug].push_workflow("a.json", workflow("A"))
        fleet[slug].read_git()
    assert fleet["staging"].canonical("a.json") == fleet["prod"].canonical("a.json")


def test_one_file_that_two_environments_meet_at_once_is_one_workflow(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet(("staging", "prod"))
    for slug in ("staging", "prod"):
        fleet[slug].push_workflow("a.json", workflow("A"))
    left = [1]

    def reach(name: str) -> None:
        if name == "repository.assigned" and left[0]:
            left[0] = 0
            fleet["prod"].read_git()
    monkeypatch.setattr(failpoints, "reach", reach)
    fleet["staging"].read_git()
    assert fleet["staging"].canonical("a.json") == fleet["prod"].canonical("a.json")
    assert len(fleet.reading(lambda work: work.mappings.canonicals())) == 1


def test_two_files_that_swap_their_keys_swap_their_workflows(fleet: FleetUnderTest) -> None:
    prod, one, two = fleet["prod"], uuid.uuid4(), uuid.uuid4()
    prod.push_files({"a.json": file_bytes(workflow("A"), key=one), "b.json": file_bytes(workflow("B"), key=two)})
    prod.read_git()
    prod.push_files({"a.json": file_bytes(workflow("A"), key=two), "b.json": file_bytes(workflow("B"), key=one)})
    result = prod.read_git()
    assert (result.changed, result.errors) == (2, 0)
    assert (prod.canonical("a.json"), prod.canonical("b.json")) == (two, one)


def test_keys_swap_across_batches_too(fleet: FleetUnderTest) -> None:
    fleet.with_limits(batch_size=1)
    prod, keys = fleet["prod"], [uuid.uuid4() for _ in range(3)]
    prod.push_files({f"{n}.json": file_bytes(workflow(f"W{n}"), key=keys[n]) for n in range(3)})
    prod.read_git()
    prod.push_files({f"{n}.json": file_bytes(workflow(f"W{n}"), key=keys[(n + 1) % 3]) for n in range(3)})
    assert prod.read_git().changed == 3
    assert [prod.canonical(f"{n}.json") for n in range(3)] == [keys[1], keys[2], keys[0]]


# -- one key twice -----------------------------------------------------------------------------------------------------


def test_of_a_copied_file_the_original_keeps_the_key_and_the_error_names_both(fleet: FleetUnderTest) -> None:
    prod, key = fleet["prod"], uuid.uuid4()
    prod.push_workflow("original.json", workflow("A"), key=key)
    prod.read_git()
    prod.push_files({"a-copy.json": file_bytes(workflow("A"), key=key)})
    result = prod.read_git()
    assert prod.canonical("original.json") == key != prod.canonical("a-copy.json")
    (problem,) = result.problems
    assert (problem["path"], problem["reason"]) == ("prod/a-copy.json", "duplicate_id")
    assert "prod/original.json" in problem["message"] and "prod/a-copy.json" in problem["message"]
    (event,) = fleet.events("git.file_unreadable")
    assert event.details["reason"] == "duplicate_id"


def test_a_copied_file_stays_an_error_until_its_key_is_gone_and_keeps_its_workflow(fleet: FleetUnderTest) -> None:
    prod, key = fleet["prod"], uuid.uuid4()
    prod.push_files({"b.json": file_bytes(workflow("A"), key=key), "c.json": file_bytes(workflow("A"), key=key)})
    prod.read_git()
    copy = prod.canonical("c.json")
    prod.push_files({"d.json": file_bytes(workflow("D"))})
    assert prod.read_git().errors == 1
    assert prod.canonical("c.json") == copy
    assert len(fleet.events("git.file_unreadable")) == 1
    prod.push_files({"c.json": file_bytes(workflow("A"))})
    assert prod.read_git().errors == 0
    assert prod.canonical("c.json") == copy


def test_when_the_original_goes_the_copy_becomes_it(fleet: FleetUnderTest) -> None:
    prod, key = fleet["prod"], uuid.uuid4()
    prod.push_files({"b.json": file_bytes(workflow("A"), key=key), "c.json": file_bytes(workflow("A"), key=key)})
    prod.read_git()
    prod.push_files({"b.json": None})
    result = prod.read_git()
    assert (prod.canonical("c.json"), result.errors) == (key, 0)


# -- branches, repositories, folders -------------------------------------------------------------------------------------


def test_an_empty_repository_is_a_folder_without_files(fleet: FleetUnderTest) -> None:
    result = fleet["prod"].read_git()
    assert (result.configured, result.reason, result.head, result.files) == (True, "branch_missing", None, 0)
    events = len(fleet.events())
    assert fleet["prod"].read_git().reason == "branch_missing"
    assert len(fleet.events()) == events
    fleet["prod"].push_workflow("a.json", workflow("A"))
    assert fleet["prod"].read_git().added == 1


def test_an_absent_folder_has_no_files(fleet: FleetUnderTest) -> None:
    fleet.repository.commit({"README.md": b"hello"})
    assert fleet["prod"].read_git().files == 0


def test_a_folder_that_is_a_file_is_an_error_that_says_so(fleet: FleetUnderTest) -> None:
    fleet.repository.commit({"prod": b"I am a file"})
    with pytest.raises(MalformedFile, match="prod"):
        fleet["prod"].read_git()


def test_a_branch_that_was_there_and_is_gone_is_an_error_that_changes_nothing_and_is_told_once(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    head = prod.push_workflow("a.json", workflow("A"))
    prod.read_git()
    states = prod.git_states()
    fleet.repository.git("update-ref", "-d", "refs/heads/main")
    for _ in range(2):
        with pytest.raises(NotFound, match=f"branch main is gone .*{head[:12]}"):
            prod.read_git()
    assert prod.git_states() == states
    (event,) = fleet.events("repository.branch_deleted")
    assert event.before_hash == head
    fleet.repository.git("update-ref", "refs/heads/main", head)
    result = prod.read_git()
    assert (result.unchanged_head, result.files) == (False, 1)
    fleet.repository.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(NotFound):
        prod.read_git()
    assert len(fleet.events("repository.branch_deleted")) == 2


def test_a_forced_push_is_read_and_audited(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    old = prod.push_workflow("a.json", workflow("A"))
    prod.read_git()
    new = fleet.repository.commit({"prod/b.json": file_bytes(workflow("B"))}, orphan=True)
    result = prod.read_git()
    assert (result.force_pushed, result.added, result.removed) == (True, 1, 1)
    (event,) = fleet.events("repository.force_pushed")
    assert (event.before_hash, event.after_hash) == (old, new)
    prod.push_workflow("c.json", workflow("C"))
    assert not prod.read_git().force_pushed


def test_environments_of_one_repository_read_their_own_folders(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    fleet["staging"].push_workflow("a.json", workflow("A"))
    fleet["prod"].push_workflow("b.json", workflow("B"))
    assert [fleet[slug].read_git().files for slug in ("staging", "prod")] == [1, 1]
    fleet["staging"].push_files({"a.json": None})
    fleet["staging"].read_git()
    assert list(fleet["prod"].git_states()) == ["b.json"]
    names = {row.name for row in fleet.reading(lambda work: work.mappings.canonicals()).values() if row.deleted_at is None}
    assert names == {"A", "B"}  # never the canonical workflow


def test_another_folder_in_fleet_yaml_is_read_anew_and_knows_its_workflows(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({"a.json": file_bytes(workflow("A")), "b.json": file_bytes(workflow("B"))})
    prod.read_git()
    before = {name: state.canonical_id for name, state in prod.git_states().items()}
    fleet.repository.commit({"prod/a.json": None, "prod/b.json": None, "moved/a.json": file_bytes(workflow("A")),
                             "moved/b.json": file_bytes(workflow("B"))})
    fleet.declared("prod")["folder"] = "moved"
    fleet.apply()
    result = prod.read_git()
    assert (result.files, result.added, result.removed, result.force_pushed) == (2, 2, 2, False)
    assert {name: state.canonical_id for name, state in prod.git_states().items()} == before


def test_another_branch_that_is_not_there_yet_leaves_nothing_of_the_old_one(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({"a.json": file_bytes(workflow("A")), "b.json": b"{"})
    prod.read_git()
    fleet.declared("prod")["branch"] = "release"
    fleet.apply()
    result = prod.read_git()
    assert (result.reason, result.files, result.errors) == ("branch_missing", 0, 0)
    (event,) = fleet.events("repository.source_changed")
    assert event.details["removed"] == ["prod/a.json"]
    prod.push_files({"a.json": file_bytes(workflow("A"))}, branch="release")
    assert prod.read_git().added == 1


def test_an_environment_without_a_repository_has_nothing_to_read(new_fleet: NewFleet) -> None:
    result = new_fleet(git=False)["prod"].read_git()
    assert (result.configured, result.reason) == (False, "not_configured")


def test_a_repository_that_is_not_there_is_an_error_that_names_it(new_fleet: NewFleet, tmp_path: Path) -> None:
    fleet = new_fleet(repository_url=(tmp_path / "nowhere.git").as_uri())
    with pytest.raises(NotFound, match=r"nowhere\.git"):
        fleet["prod"].read_git()


def test_a_token_that_is_refused_is_an_error_without_the_token(new_fleet: NewFleet, tmp_path: Path) -> None:
    with GitHttpServer(tmp_path, tokens={"the-right-one": "rw"}) as server:
        make_bare(tmp_path / "acme.git")
        fleet = new_fleet(git=False)
        fleet.secrets["GIT_TOKEN"] = "the-wr0ng-one"
        fleet.tenant["repository"] = {"url": server.url("acme.git"), "token": "env:GIT_TOKEN"}
        fleet.declared("prod")["folder"] = "prod"
        fleet.apply()
        with pytest.raises(Refused) as refused:
            fleet["prod"].read_git()
        assert "the-wr0ng-one" not in str(refused.value)
        server.faults.status = 503
        with pytest.raises(Unreachable):
            fleet["prod"].read_git()


def test_n8ns_own_layout_is_read_and_marked_read_only(fleet: FleetUnderTest) -> None:
    own = {**workflow("A", id="n8n-id"), "versionId": str(uuid.uuid4()), "owner": {"type": "team", "teamId": "t"},
           "isArchived": False, "triggerCount": 0, "parentFolderId": None}
    fleet["prod"].push_files({"workflows/n8n-id.json": file_bytes(own), "tags.json": b'{"tags": []}',
                              "credential_stubs/c.json": b'{"id": "c"}'})
    result = fleet["prod"].read_git()
    assert (result.files, result.errors) == (1, 0)
    state = fleet["prod"].git_states()["workflows/n8n-id.json"]
    assert (state.read_only, state.workflow_id) == (True, "n8n-id")


# -- crashes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failpoint", [
    "repository.payloads.after_commit=raise", "repository.batch.before_commit=raise@2", "repository.batch.after_commit=raise",
    "repository.batch.after_commit=raise@2", "repository.removed.before_commit=raise", "repository.removed.after_commit=raise",
    "repository.errors.before_commit=raise", "repository.finish.before_commit=raise", "repository.finish.after_commit=raise"])
def test_a_sync_that_dies_anywhere_is_ended_by_the_next_without_losing_who_is_who(fleet: FleetUnderTest, failpoint: str) -> None:
    """Renames without keys, in batches of one: only the old files and the new ones together tell which is which."""
    fleet.with_limits(batch_size=1)
    prod, key = fleet["prod"], uuid.uuid4()
    prod.push_files({**{f"{n}.json": file_bytes(workflow(f"W{n}")) for n in range(3)}, "gone.json": file_bytes(workflow("G"))})
    prod.read_git()
    before = {state.name: state.canonical_id for state in prod.git_states().values()}
    prod.push_files({**{f"{n}.json": None for n in range(3)}, **{f"new-{n}.json": file_bytes(workflow(f"W{n}")) for n in range(3)},
                     "gone.json": None, "x.json": file_bytes(workflow("X"), key=key),
                     "y.json": file_bytes(workflow("Y"), key=key), "broken.json": b"{"})
    failpoints.arm(failpoint)
    with pytest.raises(failpoints.FailpointReached):
        prod.read_git()
    failpoints.disarm()
    result = prod.read_git()
    assert (result.files, result.errors) == (5, 2)
    after = prod.git_states()
    assert {path: state.canonical_id for path, state in after.items() if path.startswith("new")} == {
        f"new-{n}.json": before[f"W{n}"] for n in range(3)}
    assert after["x.json"].canonical_id == key
    assert prod.problems() == {"y.json": "duplicate_id", "broken.json": "invalid_json"}
    assert fleet.actions()["git.file_removed"] == 4 and fleet.actions()["git.file_unreadable"] == 2
    assert fleet.chain_verifies()
