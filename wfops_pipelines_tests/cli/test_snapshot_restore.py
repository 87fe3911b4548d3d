"""``wfops snapshot restore`` (§13)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet

pytestmark = pytest.mark.xdist_group("cli-snapshots")


@pytest.fixture(scope="module")
def applied(fleet: Fleet) -> Fleet:
    text = fleet.document.read_text().replace("class: production,", "class: production, allow_production: true,")
    fleet.document.write_text(text)
    assert fleet.wfops("apply", "-f", fleet.document).code == 0
    return fleet


def node(fleet: Fleet, name: str) -> str:
    """What runs in production calls this address."""
    record = fleet.sandboxes["prod"].state.workflows[fleet.workflow_id("prod", name)]
    url: str = next(n["parameters"]["url"] for n in (record.live or record.draft).node_list if n["name"] == "Call")
    return url


def test_the_story_of_a_restore(applied: Fleet) -> None:
    wfops = applied.wfops
    assert wfops("export", "acme", "prod").code == 0
    first = wfops("snapshot", "create", "acme", "prod", "--json").json["snapshot_id"]
    moment = datetime.now(UTC).isoformat()
    applied.edit("prod", "Orders", node=("Call", {"url": "https://elsewhere.example"}))
    applied.edit("prod", "Reports", node=("Call", {"url": "https://elsewhere.example"}))
    applied.delete("prod", "Invoices")
    assert wfops("snapshot", "create", "acme", "prod").code == 0

    unsaid = wfops("snapshot", "restore", "acme", "prod", "--yes")
    assert unsaid.code == 2 and "which snapshot" in unsaid.err
    nobody = wfops("snapshot", "restore", "acme", "prod", first[:8])
    assert nobody.code == 2 and "nobody can be asked" in nobody.err and "https://elsewhere.example" in nobody.err
    planned = wfops("snapshot", "restore", "acme", "prod", first[:8], "--dry-run")
    assert planned.code == 0 and "Invoices" in planned.out and "could be carried out now" in planned.out
    assert node(applied, "Orders") == "https://elsewhere.example"

    part = wfops("snapshot", "restore", "acme", "prod", first, "--workflow", "Orders", "--yes", "--json")
    assert part.code == 3, part  # the rest has drifted still
    assert [(each["name"], each["action"]) for each in part.json["workflows"] if each["status"] == "success"] == [
        ("Orders", "update")]
    assert part.json["name"] == "acme/p1" and part.json["kind"] == "restore"
    assert (node(applied, "Orders"), node(applied, "Reports")) == ("https://example.com", "https://elsewhere.example")

    rest = wfops("snapshot", "restore", "acme", "prod", "--at", moment, "--reason", "OPS-12", "--yes")
    assert rest.code == 0, rest
    assert "create Invoices" in rest.out and "acme/prod is IN_SYNC" in rest.out
    assert f"snapshot {first}" in rest.out and "wfops rollback acme/p2" in rest.out
    assert wfops("snapshot", "restore", "acme", "prod", "--at", moment, "--yes").code == 0
    assert "acme/p3" not in wfops("promotion", "list", "acme").out
    back = wfops("rollback", "acme/p2", "--reason", "not yet", "--yes")
    assert back.code in (0, 3), back
    assert node(applied, "Reports") == "https://elsewhere.example"


def test_what_cannot_be_restored_is_refused_with_the_way_out(applied: Fleet) -> None:
    for arguments, message in [
            (["prod", "00000000"], "acme/prod has no snapshot"),
            (["prod", "latest", "--workflow", "Nothing"], "nothing in it is called Nothing"),
            (["prod", "latest", "--at", "2020-01-01"], "not by both"),
            (["nowhere", "latest"], "no environment 'nowhere'")]:
        done = applied.wfops("snapshot", "restore", "acme", *arguments, "--yes")
        assert done.code == 2 and message in done.err and "fix:" in done.err, (arguments, done)
