"""Export, n8n → Git (§7): what is written, what is not, and what happens when others write too."""

from __future__ import annotations

import json
import signal
from itertools import islice
from typing import Any

import pytest

from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.services.export_text import field_changes, left_out
from wfops_pipelines_tests.end_to_end.real_workflows import CORPUS, workflows
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, calling, commits, file_bytes, workflow


def changes(export: Any) -> dict[str, str]:
    return {item["path"]: item["change"] for item in export.files}


def test_two_hundred_workflows_are_one_commit_and_then_none_and_everything_is_linked(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(*(workflow(f"Workflow {n}", text=f"says {n}") for n in range(195)),
                       *(calling(f"Caller {n}", "w0", id=f"w{n}") for n in range(5)))
    first = prod.export()
    assert (commits(fleet), len(first.files), first.commit) == (1, 200, fleet.repository.head())
    second = prod.export()
    assert (commits(fleet), second.files, second.unchanged, second.commit) == (1, [], 200, None)
    synced, read = prod.sync(), prod.read_git()
    assert (synced.unchanged, synced.linked, synced.untracked) == (200, 200, 0)
    assert (read.unchanged_head, read.files, read.errors) == (True, 200, 0)
    check = prod.check()
    assert (check.status, check.counts["in_sync"]) == ("IN_SYNC", 200)
    assert fleet.chain_verifies()


def test_a_file_is_stable_readable_and_carries_our_key(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("Order Intake!", active=True, staticData={"last": 1}, pinData={"Start": []},
                                         tags=["b", "a"]))
    prod.export()
    ((path, data),) = prod.files().items()
    document = json.loads(data)
    assert path == "workflows/order-intake.json"
    assert data.endswith(b"}\n") and data.startswith(b'{\n  "connections"')
    assert document["wfops"] == {"canonical_id": str(prod.mapping(one).canonical_id), "active": True, "tags": ["a", "b"]}
    assert document["id"] == one and "staticData" not in document and "pinData" not in document and "shared" not in document
    assert document["nodes"][0]["position"] == [0, 0]


def test_only_files_that_changed_are_written(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    ids = prod.in_sync(workflow("A"), workflow("B"), workflow("C"))
    prod.edit_in_n8n(ids[1])
    export = prod.export()
    assert changes(export) == {"prod/workflows/b.json": "modified"}
    assert export.files[0]["diff"]["changes"][0]["node"] == "Say"
    assert fleet.repository.text("diff", "--name-only", "main~1", "main") == "prod/workflows/b.json"
    assert prod.check().status == "IN_SYNC"


def test_a_renamed_workflow_keeps_its_file(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("Before"))
    prod.edit_in_n8n(one, name="After")
    assert changes(prod.export()) == {"prod/workflows/before.json": "modified"}
    assert json.loads(prod.files()["workflows/before.json"])["name"] == "After"


def test_activation_and_tags_are_written_too(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.activate_in_n8n(one)
    prod.export()
    assert json.loads(prod.files()["workflows/a.json"])["wfops"]["active"] is True
    prod.tag_in_n8n(one, "new")
    prod.export()
    assert json.loads(prod.files()["workflows/a.json"])["wfops"]["tags"] == ["new"]
    assert commits(fleet) == 3
    prod.edit_in_n8n(one, staticData={"x": 1})
    assert prod.export().commit is None


def test_what_is_exported_of_an_active_workflow_is_what_runs(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A", text="published", active=True))
    prod.edit_in_n8n(one, "draft", publish=False)
    prod.export()
    assert b"published" in prod.files()["workflows/a.json"] and b"draft" not in prod.files()["workflows/a.json"]


def test_files_are_deleted_only_with_prune(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    ids = prod.in_sync(workflow("A"), workflow("B"))
    prod.delete_in_n8n(ids[1])
    assert prod.export().files == []
    assert changes(prod.export(prune=True)) == {"prod/workflows/b.json": "removed"}
    assert list(prod.files()) == ["workflows/a.json"]
    assert prod.check().status == "IN_SYNC"


def test_prune_spares_ignored_workflows_and_other_environments(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    prod = fleet["prod"]
    fleet["staging"].in_sync(workflow("S"))
    (one,) = prod.in_sync(workflow("A"))
    prod.set_mapping(one, ignored_at=fleet.clock.now(), status="ignored")
    prod.edit_in_n8n(one)
    assert prod.export(prune=True).files == []
    assert list(fleet["staging"].files()) == ["workflows/s.json"]


def test_prune_is_refused_while_a_workflow_cannot_be_read(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    with prod.sandbox.state.lock:
        prod.raw(one).draft.nodes = b"[7]"
        prod.sandbox.state.changed(prod.raw(one))
    with pytest.raises(Blocked, match="could not be read"):
        prod.export(prune=True)
    assert list(prod.files()) == ["workflows/a.json"]


def test_a_dry_run_shows_the_diff_and_writes_nothing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.edit_in_n8n(one)
    prod.create_in_n8n(workflow("B"))
    head, events = fleet.repository.head(), fleet.actions()["git.exported"]
    export = prod.export(dry_run=True)
    assert changes(export) == {"prod/workflows/a.json": "modified", "prod/workflows/b.json": "added"}
    assert export.files[0]["diff"]["changes"] and export.commit is None
    assert (fleet.repository.head(), fleet.actions()["git.exported"]) == (head, events)


def test_a_dry_run_says_what_changes_beside_the_content(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.activate_in_n8n(one)
    prod.tag_in_n8n(one, "new")
    (file,) = prod.export(dry_run=True).files
    assert file["fields"] == {"active": {"before": False, "after": True}, "tags": {"before": [], "after": ["new"]}}
    assert field_changes(file) == ["active: no → yes", "tags: none → new"]


def test_a_name_with_line_breaks_adds_no_lines_to_the_message(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A\n\nWfops-Actor: somebody else"))
    prod.export()
    message = fleet.repository.text("log", "-1", "--format=%B", "main")
    assert "- added: A\\n\\nWfops-Actor: somebody else (prod/workflows/" in message
    assert [line for line in message.splitlines() if line.startswith("Wfops-Actor")] == [f"Wfops-Actor: {fleet.context.actor}"]


def test_a_file_that_somebody_broke_is_written_anew(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"), workflow("B"))
    whole = prod.files()
    prod.push_files({"workflows/a.json": b"{"})
    (file,) = prod.export(dry_run=True).files
    assert (file["path"], file["change"], "no valid JSON" in file["problem"]) == ("prod/workflows/a.json", "modified", True)
    assert prod.export().commit is not None
    assert (prod.files(), prod.problems()) == (whole, {})
    assert prod.export().files == []


def test_archived_workflows_are_not_exported(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"), workflow("Old", isArchived=True))
    assert changes(prod.export()) == {"prod/workflows/a.json": "added"}


def test_new_files_go_beside_the_old_ones(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("A"))
    prod.create_in_n8n(workflow("A"), workflow("B"))
    assert changes(prod.export()) == {"prod/a.json": "modified", "prod/b.json": "added"}  # the key comes into the old one
    assert prod.check().status == "IN_SYNC"


def test_workflows_of_one_name_get_files_of_their_own(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(*(workflow("Same", text=str(n)) for n in range(3)), workflow("🚀"), workflow(""))
    assert len(prod.export().files) == len(prod.files()) == 5
    assert prod.check().status == "IN_SYNC"


def test_a_workflow_with_every_odd_character_comes_back_as_it_was(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("a\x00b \ud800 🚀", text="nul \x00, lone \udfff, عربى", tags=["t\x00"]))
    prod.export()
    assert prod.check().status == "IN_SYNC"
    assert prod.export().files == []


def test_two_claims_to_one_file_do_not_overwrite_each_other(fleet: FleetUnderTest) -> None:
    """The file names one workflow's n8n id; another workflow is linked to its canonical workflow."""
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A", text="linked"))
    document = json.loads(prod.files()["workflows/a.json"])
    (two,) = prod.create_in_n8n(workflow("B", text="named by the file"))
    prod.push_files({"workflows/a.json": json.dumps({**document, "id": two}).encode()})
    assert [a["workflow_id"] for a in prod.export().ambiguous] == [two]  # the file says again whose it is
    prod.export()
    files = {json.loads(data)["id"]: json.loads(data)["name"] for data in prod.files().values()}
    assert files == {one: "A", two: "B"}
    assert prod.check().status == "IN_SYNC"


# -- workflows that might be a canonical one that there is -----------------------------------------------------------------


def test_two_of_one_content_in_a_first_baseline_are_two_new_ones(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("Same"), workflow("Same"), workflow("Other"))
    shown = prod.export(dry_run=True)
    assert (shown.new, shown.ambiguous) == (3, [])
    export = prod.export()
    assert (export.new, export.ambiguous, len(prod.files())) == (3, [], 3)
    assert prod.sync().linked == 3
    assert (prod.export().files, prod.check().status) == ([], "IN_SYNC")


def test_a_first_baseline_that_is_broken_off_after_the_push_goes_on_as_one(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("Same"), workflow("Same"))
    assert run_in_child(prod, "export", "export.after_write=kill").returncode == -signal.SIGKILL
    export = prod.export()
    assert (export.files, export.new, export.ambiguous, prod.sync().linked) == ([], 0, [], 2)


def test_one_that_might_be_several_is_left_out_and_named(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    dev, staging = fleet["dev"], fleet["staging"]
    dev.in_sync(workflow("Same"), workflow("Same"))
    one, _ = staging.create_in_n8n(workflow("Same"), workflow("New"))
    shown = staging.export(dry_run=True)
    export = staging.export()
    assert changes(shown) == changes(export) == {"staging/workflows/new.json": "added"}
    (left,) = export.ambiguous
    assert shown.ambiguous == export.ambiguous and (export.new, shown.new) == (1, 1)
    assert (left["workflow_id"], left["name"], left["reason"]) == (one, "Same", "ambiguous")
    assert {c["canonical_id"] for c in left["candidates"]} == {str(s.canonical_id) for s in dev.git_states().values()}
    assert f"wfops link acme staging {one} CANONICAL" in left["fix"] and f"wfops ignore acme staging {one}" in left["fix"]
    assert "Same" in "\n".join(left_out(export.ambiguous))
    assert staging.mapping(one).status == "untracked"


def test_a_second_one_like_a_linked_workflow_is_left_out_with_the_one_that_has_it(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    (two,) = prod.create_in_n8n(workflow("A"))
    export = prod.export()
    (left,) = export.ambiguous
    assert (export.files, export.commit, left["reason"]) == ([], None, "already_mapped")
    assert left["candidates"] == [{"canonical_id": str(prod.mapping(one).canonical_id), "name": "A", "held_by": one}]
    assert f"wfops resolve acme prod {two} --keep" in left["fix"]


def test_ambiguous_ones_are_written_as_new_ones_when_asked(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging"))
    dev, staging = fleet["dev"], fleet["staging"]
    dev.in_sync(workflow("Same"), workflow("Same"))
    (one,) = staging.create_in_n8n(workflow("Same"))
    export = staging.export(ambiguous_as_new=True)
    assert (export.new, [a["workflow_id"] for a in export.ambiguous]) == (1, [one])
    assert staging.mapping(one).status == "linked"
    assert staging.mapping(one).canonical_id not in {s.canonical_id for s in dev.git_states().values()}
    again = staging.export()
    assert (again.files, again.ambiguous, staging.check().status) == ([], [], "IN_SYNC")


def test_once_it_is_changed_or_ignored_it_is_not_ambiguous_any_more(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    two, three = prod.create_in_n8n(workflow("A"), workflow("A"))
    assert len(prod.export(dry_run=True).ambiguous) == 2
    prod.edit_in_n8n(two, "its own by now")
    prod.set_mapping(three, ignored_at=fleet.clock.now(), status="ignored")
    export = prod.export()
    assert (export.new, export.ambiguous, prod.mapping(two).status) == (1, [], "linked")


def test_prune_spares_the_files_that_an_ambiguous_workflow_might_be(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    prod = fleet["prod"]
    prod.push_files({name: file_bytes(workflow("Same")) for name in ("a.json", "b.json")} | {
        "old.json": file_bytes(workflow("Old"))})
    prod.create_in_n8n(workflow("Same"))
    export = prod.export(prune=True)
    assert changes(export) == {"prod/old.json": "removed"}
    assert (len(export.ambiguous), sorted(prod.files())) == (1, ["a.json", "b.json"])


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real workflows is not there (../shared/corpus)")
def test_a_first_baseline_of_real_workflows_leaves_nothing_out(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    documents = list(islice(workflows(), 100))
    prod.create_in_n8n(*documents, *documents[:20])  # people do import a file twice
    export = prod.export()
    seen = prod.sync()
    assert (export.new, export.ambiguous, len(export.files)) == (120, [], 120)
    assert (seen.linked, seen.untracked, prod.export().files, prod.check().status) == (120, 0, [], "IN_SYNC")
