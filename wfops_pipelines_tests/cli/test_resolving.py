"""``wfops conflicts``, ``resolve``, ``delete``, ``undelete`` (§5.3, §5.4) as people and scripts call them."""

from __future__ import annotations

import json

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet, workflow

pytestmark = pytest.mark.xdist_group("cli-resolving")


@pytest.fixture(scope="module")
def exported(fleet: Fleet) -> Fleet:
    """prod is in Git, and linked."""
    assert fleet.wfops("apply", "-f", fleet.document).code == 0
    assert fleet.wfops("export", "acme", "prod").code == 0
    return fleet


def path_of(fleet: Fleet, name: str) -> str:
    return next(path for path, data in fleet.repository.files().items() if json.loads(data)["name"] == name)


def test_a_conflict_is_listed_and_resolved(exported: Fleet) -> None:
    assert exported.wfops("conflicts", "acme").out == "no conflicts\n"
    refused = exported.wfops("resolve", "acme", "prod", "Orders", "--keep", "git", "--yes")
    assert refused.code == 2 and "is in no conflict" in refused.err and "wfops conflicts acme prod" in refused.err
    path, held = path_of(exported, "Orders"), exported.workflow_id("prod", "Orders")
    (claimed,) = exported.sandboxes["prod"].state.seed_workflows([workflow("Orders 2", url="https://two.example")])
    document = json.loads(exported.repository.files()[path]) | {"id": claimed}
    exported.repository.commit({path: json.dumps(document).encode()})
    assert exported.wfops("sync", "acme", "prod").code == 0
    (row,) = exported.wfops("conflicts", "acme", "prod", "--json").json
    assert (row["workflow_id"], row["kind"], row["holders"]) == (claimed, "claimed_by_file", [held])
    assert row["fix"] == f"wfops resolve acme prod {claimed} --keep git|runtime|split"
    assert row["fix"] in exported.wfops("conflicts", "acme").out
    taken = exported.wfops("link", "acme", "prod", claimed, document["wfops"]["canonical_id"])
    assert taken.code == 4 and f"fix: {row['fix']}" in taken.err

    shown = exported.wfops("resolve", "acme", "prod", claimed, "--keep", "git", "--dry-run", "--json").json
    assert (shown["changed"], shown["dry_run"]) == (True, True)
    unasked = exported.wfops("resolve", "acme", "prod", claimed, "--keep", "git")
    assert unasked.code == 2 and "--yes" in unasked.err
    assert len(exported.wfops("conflicts", "acme", "--json").json) == 1
    done = exported.wfops("resolve", "acme", "prod", claimed, "--keep", "git", "--yes")
    assert done.code == 0 and done.out.startswith(f"resolved (git): Orders 2 ({claimed}) in acme/prod")
    assert exported.wfops("conflicts", "acme", "--json").json == []
    assert "nothing to change" in exported.wfops("resolve", "acme", "prod", claimed, "--keep", "git", "--yes").out
    assert "mapping.resolved" in {e["action"] for e in exported.wfops("audit", "list", "acme", "--json").json}


def test_a_workflow_is_deleted_and_taken_back(exported: Fleet) -> None:
    unasked = exported.wfops("delete", "acme", "Invoices")
    assert unasked.code == 2 and "--yes" in unasked.err and "n8n and Git stay as they are" in unasked.err
    assert exported.wfops("delete", "acme", "Invoices", "--dry-run").out.startswith("would be deleted: Invoices (")
    done = exported.wfops("delete", "acme", "Invoices", "--yes", "--json").json
    assert (done["changed"], done["deleted"]) == (True, True)
    assert [(m["environment"], m["before"], m["after"]) for m in done["mappings"]] == [("prod", "linked", "deleted")]
    assert [f["path"] for f in done["files"]] == [path_of(exported, "Invoices")]
    assert exported.wfops("sync", "acme", "prod").code == 0
    assert "Invoices" not in exported.wfops("matrix", "acme").out
    assert exported.wfops("delete", "acme", "Invoices", "--yes").out.startswith("nothing to change")
    nobody = exported.wfops("delete", "acme", "Nobody", "--yes")
    assert nobody.code == 2 and "no canonical workflow 'Nobody'" in nobody.err
    assert exported.wfops("undelete", "acme", done["canonical_id"]).out.startswith("taken back: Invoices (")
    assert "Invoices" in exported.wfops("matrix", "acme").out


@pytest.mark.parametrize("command", ["conflicts", "resolve", "delete", "undelete"])
def test_each_tells_how_it_is_used(exported: Fleet, command: str) -> None:
    said = exported.wfops(command, "--help")
    assert said.code == 0 and f"wfops {command} acme" in said.out
